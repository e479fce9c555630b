"""The exact limit of K under a mask: against tables of all strings, sums over every x_t, and what training nears."""

import math

import pytest
import torch
from problems import close, rng

from dpm_lib.data.dataset import Data
from dpm_lib.diffusion import schedules
from dpm_lib.diffusion.best_bound_bits import ExactReverse
from dpm_lib.diffusion.best_bound_mask import MaskBound
from dpm_lib.diffusion.categorical_kernel import CategoricalKernel, Forget, mask, uniform
from dpm_lib.diffusion.exact_tokens import ExactTokens
from dpm_lib.diffusion.forward_kernels import BinomialKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import Schedule, cosine
from dpm_lib.exact import enumerated_bound
from dpm_lib.probability.codebooks import Codebook, heartbeat
from dpm_lib.probability.strings import StringLaw
from dpm_lib.training import costs, evaluation, loop
from dpm_lib.training.build import build
from dpm_lib.training.catalogue import get
from dpm_lib.training.trainer import Run

ROWS = torch.tensor([[0.0, 1, 2, 0], [1, 1, 0, 1], [2, 0, 2, 2], [0, 0, 0, 0]], dtype=torch.float64)
BOOK = Codebook(ROWS, torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64), tokens=3)
UNEVEN = Schedule(torch.tensor([1.0, 0.9, 0.4, 0.3, 0.0], dtype=torch.float64).log())


def test_mean_entropies_by_groups_are_those_of_the_table():
    for book in (heartbeat(6, 3), heartbeat(6, 2), BOOK):
        table = StringLaw.from_strings(book.rows, book.tokens, book.weights)
        close(MaskBound(book).h, table.mean_entropies(), atol=1e-12)
    close(MaskBound(heartbeat()).h[-1], math.log(5))


@pytest.mark.parametrize("schedule", [UNEVEN, schedules.even(5)], ids=["uneven", "even"])
def test_the_limit_is_reached_by_the_exact_denoiser(schedule):
    for book in (heartbeat(4, 2), BOOK):
        kernel = CategoricalKernel(4, schedule, mask(book.tokens))
        model = DiffusionModel(kernel, ExactTokens(book, kernel))
        K = book.weights @ enumerated_bound.stepwise(model, book.rows)
        close(MaskBound(book).best_bound(schedule), K)
        assert float(K) < -book.entropy() == pytest.approx(MaskBound(book).ceiling(schedule))


def test_what_it_fits_and_refuses():
    assert MaskBound.fits(CategoricalKernel(4, UNEVEN, mask(2)))
    assert not MaskBound.fits(CategoricalKernel(4, UNEVEN, uniform(2)))
    assert not MaskBound.fits(BinomialKernel(4, UNEVEN))
    many = Codebook(torch.eye(15, dtype=torch.float64))
    assert not MaskBound.countable(many) and MaskBound.countable(heartbeat())
    with pytest.raises(ValueError, match="rows: 15 groups of like columns: need 14 at most"):
        MaskBound(many)


def test_a_model_is_trained_and_judged_beside_it():
    recipe = get("heartbeat-mask").override(T=8, beta_1=1 / 8, steps=60, batch=256, width=24, ema=0.8)
    run = Run(recipe, 0, "cpu")
    while run.step < recipe.steps:
        run.advance()
    model = run.averaged_model()
    metrics = evaluation.evaluate(model, run.data, 2000)
    best = float(MaskBound(heartbeat()).best_bound(model.schedule)) / math.log(2)
    assert metrics["exact_limit_bits"] == pytest.approx(best)
    assert metrics["ceiling_bits"] == metrics["entropy_limit_bits"] == pytest.approx(-math.log2(5))
    short = best - metrics["bound_bits_paired"]
    assert 0 < short < 13, short  # guesses of nothing lack 16.7
    error = math.hypot(metrics["bound_bits_stderr"], metrics["gap_bits_stderr"])
    assert abs(metrics["bound_bits"] - metrics["bound_bits_paired"]) < 4 * error
    assert error < 0.1
    x = model.sample(50, rng())
    assert bool(((x == 0) | (x == 1)).all())


def test_the_excess_of_the_exact_denoiser_is_none_and_other_kinds_of_token_are_told(tmp_path):
    kernel = CategoricalKernel(4, UNEVEN, mask(3))
    model = DiffusionModel(kernel, ExactTokens(BOOK, kernel))
    close(evaluation.excess(model, BOOK, ROWS, rng()), 0.0)
    recipe = get("heartbeat-mask").override(T=4, beta_1=0.25, steps=1, batch=8, width=8)
    with pytest.raises(ValueError, match="tokens: 2: need 3, of which"):
        loop.fit(recipe, 0, tmp_path / "a", "cpu", False, data=BOOK)
    forgets = recipe.override(kernel="uniform", tokens=3)
    _, metrics = loop.fit(forgets, 0, tmp_path / "b", "cpu", False, data=BOOK)
    assert "exact_limit_bits" not in metrics and math.isfinite(metrics["gap_bits"])


def test_recipes_of_strings():
    model = build(get("heartbeat-mask"), dim=20)
    assert model.first == get("heartbeat-mask").first == 1 and model.kernel.tokens == 3 and model.kernel.timeless
    small = get("heartbeat-mask").override(T=4, beta_1=0.25, batch=8, width=8)
    assert costs.count(small).flop_per_row > 0
    for settings, message in (
        ({"schedule": "cosine"}, "kernel: 'mask': need schedule=even"),
        ({"learn_schedule": True}, "kernel: 'mask': need schedule=even"),
        ({"tokens": 1}, "tokens: 1 is less than 2"),
        ({"batch": 99}, "batch: 99 is less than T = 100"),
        ({"kernel": "binomial", "tokens": 3}, "tokens: 3 does nothing here"),
    ):
        with pytest.raises(ValueError, match=message):
            get("heartbeat-mask").override(**settings)


def test_bits_that_are_forgotten_have_the_limit_of_bits_that_flip():
    """The exact denoiser of two tokens reaches it, by trajectories, and the gap of it is the exact one."""
    schedule = cosine(8, 0.01, 50.0)
    kernel = CategoricalKernel(20, schedule, uniform(2))
    data = Data("heartbeat", heartbeat())
    metrics = evaluation.evaluate(DiffusionModel(kernel, ExactTokens(heartbeat(), kernel)), data, n=2000)
    flips = BinomialKernel(20, schedule)
    other = evaluation.evaluate(DiffusionModel(flips, ExactReverse(heartbeat(), flips)), data, n=50)
    close(metrics["exact_limit_bits"], other["exact_limit_bits"])
    close(metrics["gap_bits"], metrics["entropy_limit_bits"] - metrics["exact_limit_bits"], atol=1e-9)
    assert abs(metrics["bound_bits"] - metrics["exact_limit_bits"]) < 4 * metrics["bound_bits_stderr"] < 0.6
    uneven = CategoricalKernel(20, schedule, Forget([0.4, 0.6]))
    none = evaluation.evaluate(DiffusionModel(uneven, ExactTokens(heartbeat(), uneven)), data, n=50)
    assert "exact_limit_bits" not in none
