"""The energy distance from all pairs, and its jackknife; what asks for blocks is in ``test_markovian_vae``."""

import pytest
import torch
from problems import randn

from dpm_lib.probability import energy_distance


def test_all_pairs_and_their_jackknife():
    """By loops over rows, for samples of different sizes; and the error is that of repetitions."""
    x, y = randn(7, 2), 0.5 + 2 * randn(5, 2, seed=1)

    def plain(x, y):
        within = [(a - a[:, None]).norm(dim=-1).sum() / (len(a) * (len(a) - 1)) for a in (x, y)]
        return float(2 * (x[:, None] - y).norm(dim=-1).mean() - sum(within))

    def without(a, i):
        return torch.cat([a[:i], a[i + 1 :]])

    value, error = energy_distance.of_all_pairs(x, y)
    assert value == pytest.approx(plain(x, y), rel=1e-12)
    left = [[plain(without(x, i), y) for i in range(7)], [plain(x, without(y, i)) for i in range(5)]]
    variance = sum((len(row) - 1) * torch.tensor(row, dtype=torch.float64).var(correction=0) for row in left)
    assert error == pytest.approx(float(variance.sqrt()), rel=1e-10)
    found = torch.tensor([energy_distance.of_all_pairs(randn(60, 2, seed=s), 1 + randn(40, 2, seed=s + 900))
                          for s in range(300)], dtype=torch.float64)  # fmt: skip
    assert 0.8 < float(found[:, 1].square().mean().sqrt() / found[:, 0].std()) < 1.25


def test_all_pairs_need_rows_of_one_width():
    for x, y in ((randn(2, 2), randn(5, 2)), (randn(5, 2), randn(5, 3))):
        with pytest.raises(ValueError, match="x, y: need rows of one width, 3 at least"):
            energy_distance.of_all_pairs(x, y)
