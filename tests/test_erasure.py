"""The curve of erased strings, and what steps of many tokens lose, against sums over all sets."""

import itertools
import math

import numpy as np
import pytest
import torch

from dpm_lib.core.random import seeded
from dpm_lib.diffusion import parallel_decoding
from dpm_lib.information import erasure
from dpm_lib.probability.strings import StringLaw, chain_mean_entropies

START = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
P = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.4, 0.3, 0.3]], dtype=torch.float64)
COIN = torch.tensor([0.5, 0.5], dtype=torch.float64)


def sticky(d, stay=0.9):
    return chain_mean_entropies(COIN, torch.tensor([[stay, 1 - stay], [1 - stay, stay]], dtype=torch.float64), d)


def table():
    joint = torch.rand((3,) * 4, generator=seeded(0), dtype=torch.float64) ** 3
    return StringLaw(joint / joint.sum())


def by_sets(law, u):
    """sum_i E H(x_i | what is shown of the others), one set at a time."""
    H, d, total = law.subset_entropies(), law.length, 0.0
    for i in range(d):
        for A in itertools.product((0, 1), repeat=d - 1):
            without, with_i = ((*A[:i], b, *A[i:]) for b in (0, 1))
            total += u ** sum(A) * (1 - u) ** (d - 1 - sum(A)) * float(H[with_i] - H[without])
    return total


def test_the_curve_and_its_area():
    law = table()
    h = law.mean_entropies()
    u = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    curve = erasure.masked_cross_entropy(h, u)
    for at, value in zip(u.tolist(), curve.tolist(), strict=True):
        assert value == pytest.approx(by_sets(law, at), abs=1e-12)
    c = erasure.coefficients(h)
    assert torch.allclose(curve, sum(c[n] * u**n for n in range(4)), atol=1e-12)
    assert float((c / torch.arange(1, 5)).sum()) == pytest.approx(float(h[-1]), abs=1e-12)
    e = 1e-5
    slope = (erasure.revealed(h, 0.3 + e) - erasure.revealed(h, 0.3 - e)) / (2 * e)
    assert float(slope) == pytest.approx(float(curve[1]), abs=1e-8)
    fall = (erasure.masked_cross_entropy(h, 0.3 - e) - erasure.masked_cross_entropy(h, 0.3 + e)) / (2 * e)
    assert float(fall) == pytest.approx(float(erasure.pair_information(h, 0.3)), abs=1e-7)


def test_independent_tokens_have_a_flat_curve_and_nothing_to_lose():
    law = StringLaw(torch.einsum("a,b,c->abc", START, P[0], P[1]))
    h = law.mean_entropies()
    flat = erasure.masked_cross_entropy(h, torch.linspace(0, 1, 5, dtype=torch.float64))
    assert torch.allclose(flat, h[-1].expand(5), atol=1e-13)
    assert abs(parallel_decoding.loss_of_sizes(h, [3])) < 1e-13 and parallel_decoding.length(h) < 1e-6


def test_the_loss_of_sizes_is_the_mean_multi_information():
    law = table()
    mean = 0.0
    for order in itertools.permutations(range(4)):
        mean += law.total_correlation(order[1:3], order[:1]) / 24  # sizes 1, 2, 1
    assert parallel_decoding.loss_of_sizes(law.mean_entropies(), [1, 2, 1]) == pytest.approx(mean, abs=1e-13)
    assert abs(parallel_decoding.loss_of_sizes(law.mean_entropies(), [1] * 4)) < 1e-13


def test_the_loss_of_levels_averages_over_what_happens_to_be_unmasked():
    law, (u, v) = table(), (0.3, 0.8)
    levels, lost = torch.tensor([0.0, u, v, 1.0], dtype=torch.float64), 0.0
    for when in itertools.product(range(3), repeat=4):  # the step in which each token comes
        weight = math.prod((u, v - u, 1 - v)[k] for k in when)
        for k in range(3):
            at, before = ([i for i in range(4) if when[i] in steps] for steps in ([k], range(k)))
            lost += weight * law.total_correlation(at, before)
    assert parallel_decoding.loss_of_levels(law.mean_entropies(), levels) == pytest.approx(lost, abs=1e-12)


def test_no_composition_is_better_than_that_of_dynamic_programming():
    h = chain_mean_entropies(START, P, 9)
    for n in (1, 2, 3, 4, 9):
        cuts = itertools.combinations(range(1, 9), n - 1)
        all_sizes = [np.diff([0, *cut, 9]).tolist() for cut in cuts]
        least = min(parallel_decoding.loss_of_sizes(h, sizes) for sizes in all_sizes)
        sizes, loss = parallel_decoding.best_sizes(h, n)
        assert loss == pytest.approx(least, abs=1e-12)
        assert parallel_decoding.loss_of_sizes(h, sizes) == pytest.approx(least, abs=1e-12)


def test_the_floor_is_that_of_many_steps():
    h = sticky(256)
    for n, within in ((16, 0.05), (64, 0.02)):
        levels = parallel_decoding.best_levels(h, n)
        assert parallel_decoding.loss_of_levels(h, levels) == pytest.approx(parallel_decoding.floor(h, n), rel=within)
        best = parallel_decoding.best_sizes(h, n)[1]
        assert best == pytest.approx(parallel_decoding.floor(h, n, whole=True), rel=within)
    even = parallel_decoding.loss_of_levels(h, torch.linspace(0, 1, 1001, dtype=torch.float64))
    slopes = erasure.increments(h)
    assert 1000 * even == pytest.approx(float(slopes[0] - slopes[-1]) * 256 / 2, rel=0.01)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: erasure.increments(torch.ones(3)), "h: need mean entropies"),
        (lambda: erasure.revealed(sticky(3), 1.5), "u: .*need shares from 0 to 1"),
        (lambda: parallel_decoding.loss_of_sizes(sticky(3), [2, 2]), r"sizes: \[2, 2\]: need"),
        (lambda: parallel_decoding.loss_of_sizes(sticky(3), [3, 0]), r"sizes: \[3, 0\]: need"),
        (lambda: parallel_decoding.best_sizes(sticky(3), 4), "steps: 4: need 1 <= steps <= d = 3"),
        (lambda: parallel_decoding.loss_of_levels(sticky(3), torch.tensor([0.0, 0.5])), "levels: need shares"),
        (lambda: parallel_decoding.loss_of_levels(sticky(3), torch.tensor([0.0, 0.5, 0.5, 1.0])), "times: need all"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(ValueError, match=words):
        make()
