"""Couplings, budgets and jumps: what the equations' tests leave out, and bad input."""

from itertools import permutations

import pytest
import torch
from problems import blobs, close, randn, rng

from dpm_lib.diffusion.consistency import ExactJump, LearnedJump
from dpm_lib.diffusion.interpolants import LINEAR, exploding
from dpm_lib.diffusion.mixture_flow import MixtureFlow
from dpm_lib.diffusion.reflow import assignment, cost, line_budget, minibatch, normal_bend
from dpm_lib.diffusion.samplers import jumps
from dpm_lib.diffusion.schedules import geometric
from dpm_lib.probability.mixtures import Mixture, finite_set

LINE = Mixture([[-1.5], [0.3], [1.2]], [0.3, 0.5, 0.2], 0.04)
NEAR = Mixture([[-1.2], [0.9]], [0.35, 0.65], 0.1)
CHAIN = geometric(12, beta_1=1e-3, tau_T=100.0)


@pytest.mark.parametrize("dim", [1, 2])
def test_an_assignment_is_the_best_of_all_permutations(dim):
    y, e = randn(6, dim, seed=1), randn(6, dim, seed=2)
    best = min(permutations(range(6)), key=lambda p: float(cost(y, e[list(p)]).sum()))
    assert assignment(y, e).tolist() == list(best)


def test_a_minibatch_keeps_every_row():
    y, e = randn(24, 2, seed=3), randn(24, 2, seed=4)
    for batch in (1, 4, 24):
        paired = minibatch(y, e, batch)
        close(paired.reshape(-1, batch, 2).sum(1), e.reshape(-1, batch, 2).sum(1))
        close(paired[:, 0].sort().values, e[:, 0].sort().values)
    assert torch.equal(minibatch(y, e, 1), e)
    costs = [float(cost(y, minibatch(y, e, batch)).sum()) for batch in (1, 4, 12, 24)]
    assert costs == sorted(costs, reverse=True)


def test_jumps_ask_once_a_step_and_forget_all_noise():
    model, kicks, seen = ExactJump(LINE, CHAIN), [], []
    x = randn(7, 1)

    def noise(mean, width):
        kicks.append((mean, width))
        return mean

    end = jumps(model, x, [12, 5, 0], noise, lambda i, t, s, x, guess: seen.append(guess))
    close(end, model.denoise(CHAIN.alpha_bar[5].sqrt() * model.denoise(x, 12), 5))
    close(kicks[0][0], CHAIN.alpha_bar[5].sqrt() * seen[0])
    close(kicks[0][1], (1 - CHAIN.alpha_bar[5]).sqrt())
    close(jumps(model, x, [12, 0]), model.denoise(x, 12))


def test_tables_are_fine_enough():
    """Twice the places and more nodes change nothing that is quoted."""
    x = torch.linspace(-2, 2, 41, dtype=torch.float64).unsqueeze(1)
    for way in ("distillation", "training"):
        coarse, fine = LearnedJump(NEAR, CHAIN, way), LearnedJump(NEAR, CHAIN, way, 3201, 40)
        assert float((coarse.denoise(x, 12) - fine.denoise(x, 12)).abs().mean()) < 2e-4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: cost(randn(3, 2), randn(4, 2)), r"e: need shape \(3, 2\), that of y, got \(4, 2\)"),
        (lambda: assignment(randn(3, 2), randn(3, 1)), "e: need shape"),
        (lambda: minibatch(randn(6, 2), randn(6, 2), 4), "batch: 4: need a divisor of the 6 rows"),
        (lambda: minibatch(randn(6, 2), randn(6, 2), 0), "batch: 0: need at least 1"),
        (lambda: line_budget(MixtureFlow(blobs())), "flow: need one on the line, and this one has 2"),
        (lambda: line_budget(MixtureFlow(LINE), places=10), "places: 10: need at least 100"),
        (lambda: normal_bend(LINEAR, 0.0), "variance: 0.0: need a positive"),
        (lambda: ExactJump(blobs(), CHAIN), "target: need one on the line, and this one has 2"),
        (lambda: ExactJump(finite_set(randn(2, 1)), CHAIN), "target, variance: 0.0: need a positive"),
        (lambda: ExactJump(LINE, CHAIN).denoise(randn(2, 1), 13), "t: 13: need 1 <= t <= T = 12"),
        (lambda: LearnedJump(LINE, CHAIN, "progressive"), "way: 'progressive': need one of"),
        (lambda: LearnedJump(LINE, LINEAR.schedule(4)), "schedule: need some signal at the last level"),
        (lambda: LearnedJump(LINE, CHAIN, places=20), "places: 20: need at least 100"),
        (lambda: LearnedJump(LINE, CHAIN, nodes=2), "nodes: 2: need at least 4"),
        (lambda: jumps(ExactJump(LINE, CHAIN), randn(2, 1), [12, 5, 0]), "generator: None: need one"),
        (lambda: exploding(float("inf")), "sigma: inf: need a positive"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_noise_of_jumps_comes_from_the_generator():
    model, x = ExactJump(LINE, CHAIN), randn(5, 1)
    assert torch.equal(jumps(model, x, [12, 4, 0], rng(1)), jumps(model, x, [12, 4, 0], rng(1)))
    assert not torch.equal(jumps(model, x, [12, 4, 0], rng(1)), jumps(model, x, [12, 4, 0], rng(2)))
