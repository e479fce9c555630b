"""Entropy bounds, the closed-form Gaussian lines, and the solved schedule: cases beside those of the book's claims."""

import math

import numpy as np
import pytest
import torch
from problems import AffineNetwork, close_mean, gaussian, model_of, randn, rng

from dpm_lib import entropy, gaussian_schedule, ledger, schedules
from dpm_lib.kernels import BinomialKernel, GaussianKernel


def test_normal_data_of_unit_variance_reach_the_upper_bound():
    kernel = GaussianKernel(2, schedules.geometric(8, 0.01, 30.0))
    limits = entropy.step_bounds(kernel, 0.0)
    exact = entropy.reverse_entropies(gaussian(torch.zeros(2), 1.0), kernel)
    torch.testing.assert_close(exact[1:], limits.upper[1:], atol=1e-10, rtol=0)
    assert limits.lower[1] == -math.inf and bool((limits.lower[2:] < limits.printed[2:]).all())
    assert torch.isnan(limits.lower[0]) and torch.isnan(exact[0])


def test_certain_bits_reach_the_lower_bound():
    kernel = BinomialKernel(2, schedules.from_beta(torch.tensor([0.0, 0.2, 0.5])))
    assert entropy.step_bounds(kernel, 0.0).lower[1] == pytest.approx(0.0, abs=1e-12)


def test_excess_must_be_finite():
    with pytest.raises(ValueError, match="excess: nan"):
        entropy.step_bounds(GaussianKernel(1, schedules.geometric(3)), math.nan)


@pytest.mark.parametrize("variance", [0.5, 2.0])
def test_every_gaussian_term_by_trajectories(variance):
    schedule = schedules.from_beta(torch.tensor([0.0, 0.1, 0.3, 0.6], dtype=torch.float64))
    model = model_of(
        AffineNetwork(torch.tensor([[0.3], [0.0]]).double(), torch.tensor([0.0, -0.2]).double()),
        schedule,
        "isotropic",
        1,
    )
    model.requires_grad_(False)
    back = [model.reverse_step(torch.ones(1, 1, dtype=torch.float64), t) for t in (2, 3)]
    exact = ledger.gaussian(
        schedule, variance, [0, 0, *(float(b.mean) for b in back)], [0, 0, *(float(b.scale) ** 2 for b in back)]
    )
    drawn = ledger.sampled(model, math.sqrt(variance) * randn(40_000, 1, seed=3), rng(13))
    for number in range(3, 11):
        for name, values in drawn[number].items():
            close_mean(values, exact[number][name])
    x0 = torch.tensor([[0.4]], dtype=torch.float64)  # line 1: the model's law
    law = model.trajectory_weights(x0, 40_000, rng(3)).log_weights.exp()
    spread = 1.0
    for m, v in [(float(b.mean), float(b.scale) ** 2) for b in back[::-1]] + [(math.sqrt(0.9), 0.1)]:
        spread = m * m * spread + v
    close_mean(law[0], math.exp(-0.5 * (math.log(2 * math.pi * spread) + 0.16 / spread)))
    assert exact[1]["log p"] == pytest.approx(-0.5 * (math.log(2 * math.pi * spread) + variance / spread))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gaussian_schedule.bound([0.1, 1.0], 0.3), "beta_2 = 1.0 is outside"),
        (lambda: gaussian_schedule.ratios([0.1], 0.3), r"T >= 2, got \(1,\)"),
        (lambda: gaussian_schedule.best(0.0, 4, 0.3), "0 < beta_1 < 1"),
        (lambda: gaussian_schedule.best(0.1, 4, -1.0), "s2 > 0"),
    ],
)
def test_bad_rates_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unit_variance_needs_no_diffusion():
    """Data that are pi already: the best schedule hardly moves, and K is their negative entropy."""
    top, beta = gaussian_schedule.best(0.1, 4, 1.0)
    assert top == pytest.approx(-0.5 * math.log(2 * math.pi * math.e), abs=1e-5)
    assert (np.array(beta[1:]) < 0.01).all()
