"""The law of an argmax with uniforms of few bits: against all grids enumerated, and against PyTorch's own draws."""

import itertools
import math

import numpy as np
import pytest
import torch

from dpm_lib.core.random import seeded
from dpm_lib.probability.finite_gumbel import argmax_law, kept


def enumerated(p, bits):
    n = 2**bits
    law = np.zeros(len(p))
    for j in itertools.product(range(1, n + 1), repeat=len(p)):
        arrivals = [-math.log1p(-k / n) / q if k < n else math.inf for k, q in zip(j, p, strict=True)]
        law[min(range(len(p)), key=lambda i: round(arrivals[i], 9))] += 1 / n ** len(p)  # ties: the first
    return law


def test_all_of_the_grid_enumerated():
    for p in ([0.6, 0.3, 0.1], [0.5, 0.25, 0.25], [0.02, 0.97, 0.01]):
        assert np.allclose(argmax_law(np.array(p), bits=4), enumerated(p, 4), atol=1e-12)


def test_groups_are_outcomes_side_by_side():
    p, m = np.array([0.7, 0.08, 0.02]), np.array([1, 3, 3])
    apart = argmax_law(np.repeat(p, m), bits=7)
    together = argmax_law(p, m, bits=7)
    assert np.allclose(together, [apart[0], apart[1:4].sum(), apart[4:].sum()], atol=1e-12)
    assert np.allclose(argmax_law(p, m, bits=20), p * m, atol=1e-4)


def test_a_small_chance_keeps_its_planck_factor():
    p, m = np.array([3.0, 1.0, 0.3]) * 2.0**-20, 1000  # beside a chance of 0.996 to stay as it is
    found = argmax_law(np.append(p, 1 - m * p.sum()), np.array([m, m, m, 1]), bits=20)[:-1]
    assert np.allclose(found / (m * p), kept(p, 20), rtol=0.015)
    assert kept(np.array([1e-3]), 24)[0] == pytest.approx(1 - 2**-25 / 1e-3, abs=1e-9)


def test_pytorch_draws_float32_on_this_grid():
    u = torch.rand(1_000_000, generator=seeded(0), dtype=torch.float32)
    assert float((u.double() * 2**24 % 1).abs().max()) == 0 and float((u.double() * 2**23 % 1).abs().max()) > 0


def test_draws_have_the_law():
    """Uniforms cut to 8 bits: the same race, coarse enough to be seen in a few draws."""
    p = np.array([0.9481, 0.0313, 0.0107, 0.0079, 0.002])
    n, law = 400_000, argmax_law(p, bits=8)
    u = (torch.rand(n, 5, generator=seeded(1), dtype=torch.float32) * 256).floor().double() / 256
    won = (torch.from_numpy(p).log() - (-u.log()).log()).argmax(-1)
    seen = torch.bincount(won, minlength=5).double().numpy() / n
    assert float(np.abs((seen - law) / np.sqrt(law * (1 - law) / n + 1e-12)).max()) < 4
    assert abs(seen[4] - p[4]) > 10 * math.sqrt(p[4] / n)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: argmax_law(np.array([0.5, 0.4])), "p: need a sum of 1"),
        (lambda: argmax_law(np.array([1.0]), bits=0), "bits: 0: need"),
        (lambda: kept(np.array([0.0])), "p: 0: need positive chances"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(ValueError, match=words):
        make()
