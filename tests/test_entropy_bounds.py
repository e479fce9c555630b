"""Entropy bounds, and the solved schedule: cases beside those of the book's claims."""

import math

import numpy as np
import pytest
import torch
from problems import gaussian

from dpm_lib.diffusion import optimal_schedule_gaussian, schedules
from dpm_lib.diffusion.forward_kernels import BinomialKernel, GaussianKernel
from dpm_lib.exact import entropy_bounds


def test_normal_data_of_unit_variance_reach_the_upper_bound():
    kernel = GaussianKernel(2, schedules.geometric(8, 0.01, 30.0))
    limits = entropy_bounds.step_bounds(kernel, 0.0)
    exact = entropy_bounds.reverse_entropies(gaussian(torch.zeros(2), 1.0), kernel)
    torch.testing.assert_close(exact[1:], limits.upper[1:], atol=1e-10, rtol=0)
    assert limits.lower[1] == -math.inf and bool((limits.lower[2:] < limits.printed[2:]).all())
    assert torch.isnan(limits.lower[0]) and torch.isnan(exact[0])


@pytest.mark.equation("eq-kolm-entropy-repaired")
@pytest.mark.parametrize("variance", [0.5, 1.0, 1.001, 4.0])
def test_the_repaired_bound_does_not_see_where_the_data_stand(variance):
    """With the excess of the centred data, tr Cov - d; E|x|^2 - d would give away (1/2) beta |mean|^2 a step."""
    kernel = GaussianKernel(2, schedules.geometric(8, 0.01, 30.0))
    exact = entropy_bounds.reverse_entropies(gaussian(torch.tensor([3.0, -1.0], dtype=torch.float64), variance), kernel)
    upper = entropy_bounds.step_bounds(kernel, 0.5 * (2 * variance - 2)).upper
    assert bool((exact[1:] <= upper[1:] + 1e-9).all())
    if variance == 1.0:
        torch.testing.assert_close(exact[1:], upper[1:], atol=1e-9, rtol=0)
    loose = entropy_bounds.step_bounds(kernel, 0.5 * (2 * variance + 10 - 2)).upper
    drop = -kernel.schedule.alpha_bar.diff()
    torch.testing.assert_close((loose - upper)[1:], 5 * drop)


def test_certain_bits_reach_the_lower_bound():
    kernel = BinomialKernel(2, schedules.from_beta(torch.tensor([0.0, 0.2, 0.5])))
    assert entropy_bounds.step_bounds(kernel, 0.0).lower[1] == pytest.approx(0.0, abs=1e-12)


def test_excess_must_be_finite():
    with pytest.raises(ValueError, match="excess: nan"):
        entropy_bounds.step_bounds(GaussianKernel(1, schedules.geometric(3)), math.nan)


def test_after_full_erasure_the_state_is_pi():
    beta = torch.tensor([0.0, 0.2, 0.5, 1.0], dtype=torch.float64)
    found = entropy_bounds.reverse_entropies(
        gaussian(torch.zeros(2), 4.0), GaussianKernel(2, schedules.from_beta(beta))
    )
    before = 1 + 0.4 * 3.0  # of x_2; x_3 knows nothing of it
    assert float(found[3]) == pytest.approx(math.log(2 * math.pi * math.e * before), abs=1e-9)


@pytest.mark.parametrize(("beta_1", "T", "s2"), [(0.02, 4, 10.0), (0.001, 6, 0.1), (1e-4, 3, 0.01), (0.02, 6, 0.2)])
def test_the_best_schedule_is_best_on_all_of_its_line(beta_1, T, s2):
    top, beta = optimal_schedule_gaussian.best(beta_1, T, s2)
    assert optimal_schedule_gaussian.bound(beta, s2) == top
    first = s2 * (1 - beta_1) / beta_1
    for last in first * np.exp(-np.linspace(0.01, 25, 3000)):
        u = np.geomspace(1 + first, 1 + last, T)
        kept = (u - 1) / (u - 1 + s2)
        rates = np.append(beta_1, 1 - kept[1:] / kept[:-1])
        if (rates < 1).all():
            assert optimal_schedule_gaussian.bound(rates, s2) <= top + 1e-12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimal_schedule_gaussian.bound([0.1, 0.2], -5), "s2: -5: need a positive"),
        (lambda: optimal_schedule_gaussian.bound([0.1, 0.2], math.nan), "s2: nan: need a positive"),
        (lambda: optimal_schedule_gaussian.gradient([0.1, 0.2], 0.0), "s2: 0.0: need a positive"),
        (lambda: optimal_schedule_gaussian.best(0.1, 4, math.inf), "s2 < inf, got 0.1, 4, inf"),
        (
            lambda: entropy_bounds.reverse_entropies(
                gaussian(torch.zeros(2), 1.0), GaussianKernel(1, schedules.geometric(3))
            ),
            "GaussianKernel of dimension 2, got GaussianKernel 1",
        ),
        (
            lambda: entropy_bounds.reverse_entropies(
                gaussian(torch.zeros(1), 1.0), BinomialKernel(1, schedules.geometric(3))
            ),
            "GaussianKernel of dimension 1, got BinomialKernel 1",
        ),
        (lambda: optimal_schedule_gaussian.bound([0.1, 1.0], 0.3), "beta_2 = 1.0 is outside"),
        (lambda: optimal_schedule_gaussian.ratios([0.1], 0.3), r"T >= 2, got \(1,\)"),
        (lambda: optimal_schedule_gaussian.best(0.0, 4, 0.3), "0 < beta_1 < 1"),
        (lambda: optimal_schedule_gaussian.best(0.1, 4, -1.0), "0 < s2 < inf"),
    ],
)
def test_bad_rates_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unit_variance_needs_no_diffusion():
    """Data that are pi already: the best schedule hardly moves, and K is their negative entropy."""
    top, beta = optimal_schedule_gaussian.best(0.1, 4, 1.0)
    assert top == pytest.approx(-0.5 * math.log(2 * math.pi * math.e), abs=1e-5)
    assert (np.array(beta[1:]) < 0.01).all()
