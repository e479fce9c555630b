"""Evaluation where the answer is known: the exact kernel of a Gaussian, whose K is a closed form."""

import math

import pytest
import torch
from problems import (
    affine_model,
    bit_model,
    blob_data,
    blobs,
    close,
    exact_model,
    gaussian,
    model_law,
    randn,
    rng,
    short_schedule,
)

from dpm_lib.core.standard_error import stderr
from dpm_lib.data.dataset import Data
from dpm_lib.diffusion import bound
from dpm_lib.diffusion.best_bound_bits import BitBound
from dpm_lib.diffusion.schedules import even, geometric
from dpm_lib.probability.codebooks import Codebook
from dpm_lib.training.evaluation import evaluate

LN2 = math.log(2)


def test_every_number_of_a_gaussian():
    """With pi-distributed data p is q, so K is log q(x_0) at every point, and there is no gap at all."""
    data = Data("normal", gaussian(torch.zeros(2), 1.0))
    metrics = evaluate(exact_model(data.target, short_schedule()), data, n=3000)
    limit = -math.log2(2 * math.pi * math.e)
    close(metrics["entropy_limit_bits"], limit)
    close(metrics["gap_bits"], 0.0, atol=1e-9)
    assert metrics["gap_bits_stderr"] < 1e-9 and metrics["held_out"] == 3000
    close(metrics["bound_bits_paired"], limit)
    assert abs(metrics["bound_bits"] - limit) < 4 * metrics["bound_bits_stderr"]
    close(metrics["bound_bits_stderr"], 1 / LN2 / math.sqrt(3000), rtol=0.1)  # |x|^2 / 2 has variance 1
    close(metrics["ceiling_bits"], limit)
    close(metrics["beta_1"], short_schedule().beta[1])


def test_the_points_are_the_held_out_ones_of_the_seed():
    data = Data("normal", gaussian(torch.zeros(2), 1.0))
    for seed in (0, 3):
        metrics = evaluate(exact_model(data.target, short_schedule()), data, n=200, seed=seed)
        close(metrics["bound_bits"], data.target.log_prob(data.held_out(200, seed)).mean() / LN2)


def test_the_bound_is_that_of_terms():
    """Two estimates on the same held-out points, of a model with a large gap."""
    data, model = blob_data(), affine_model(short_schedule(), 2)
    metrics = evaluate(model, data, n=12_000)
    K = bound.terms(model, data.held_out(12_000), rng(5)).K / LN2
    assert abs(metrics["bound_bits"] - float(K.mean())) < 4 * math.hypot(metrics["bound_bits_stderr"], stderr(K))
    x0 = data.held_out(12_000)
    kl = (data.target.log_prob(x0) - model_law(model).log_prob(x0)).mean() / LN2
    assert metrics["gap_bits"] > float(kl)  # the gap is D_KL(q || p), and what Jensen loses
    assert metrics["gap_bits"] > 10 * metrics["gap_bits_stderr"]


def test_a_good_model_is_below_its_ceiling_and_near_it():
    data = blob_data()
    for T, most in ((8, 1.0), (60, 0.1)):
        model = exact_model(blobs(), geometric(T, 1e-3, 1e4))
        metrics = evaluate(model, data, n=4000)
        below = metrics["ceiling_bits"] - metrics["bound_bits_paired"]
        assert -3 * metrics["gap_bits_stderr"] < below < most
        assert metrics["bound_bits"] <= metrics["ceiling_bits"] + 3 * metrics["bound_bits_stderr"]
        assert metrics["ceiling_bits"] < metrics["entropy_limit_bits"]


def test_pairing_makes_the_error_smaller():
    metrics = evaluate(exact_model(blobs(), geometric(40, 1e-3, 1e4)), blob_data(), n=2000)
    assert metrics["gap_bits_stderr"] < 0.6 * metrics["bound_bits_stderr"]
    paired = metrics["entropy_limit_bits"] - metrics["gap_bits"]
    close(metrics["bound_bits_paired"], paired)


def test_the_seed_decides_and_parts_do_not_matter():
    data, model = blob_data(), affine_model(short_schedule())
    assert evaluate(model, data, n=300, seed=1) == evaluate(model, data, n=300, seed=1)
    assert evaluate(model, data, n=300, seed=1)["gap_bits"] != evaluate(model, data, n=300, seed=2)["gap_bits"]
    assert evaluate(model, data, n=5001)["held_out"] == 5001


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="n: 1: need at least 2 held-out points"):
        evaluate(affine_model(short_schedule()), blob_data(), n=1)


def test_stderr_is_that_of_the_mean():
    means = (3 * randn(4000, 25)).mean(1)
    close(stderr(3 * randn(25, seed=1)), means.std(), rtol=0.35)
    values = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    close(stderr(values), math.sqrt((16 + 1 + 25) / 9 / 2) / math.sqrt(3))


def test_every_number_of_bits():
    """The exact limit, and an untrained model's excess over it, against trajectories and the terms of K."""
    model = bit_model(even(6, 0.05), 4)
    book = Codebook(torch.eye(4, dtype=torch.float64))
    metrics = evaluate(model, Data("one of four", book), n=20_000)
    assert metrics["entropy_limit_bits"] == pytest.approx(-2)
    limit = float(BitBound(book).best_bound(model.schedule)) / LN2
    assert metrics["exact_limit_bits"] == pytest.approx(limit)
    assert metrics["bound_bits_paired"] < limit < metrics["ceiling_bits"] < -2
    error = math.hypot(metrics["bound_bits_stderr"], metrics["gap_bits_stderr"])
    assert abs(metrics["bound_bits"] - metrics["bound_bits_paired"]) < 4 * error
    K = bound.terms(model, book.sample(20_000, rng(3)), rng(4)).K / LN2
    assert abs(float(K.mean()) - metrics["bound_bits_paired"]) < 4 * math.hypot(stderr(K), metrics["gap_bits_stderr"])
