"""The variance of the step back: what a choice costs, the best one, and DDPM's two, each against the model itself."""

import pytest
import torch
from problems import blobs, close, close_mean, exact_model, gaussian, model_of, randn, random_schedule, rng
from test_reverse_kernels import Wavy

from dpm_lib.diffusion import bound, reverse_variances
from dpm_lib.diffusion.reverse_kernels import GaussianReverse

SCHEDULE = random_schedule(6)


@pytest.mark.equation("eq-sm-best-variance")
def test_what_a_step_costs_is_its_divergence():
    """For a network that is wrong, with both of DDPM's variances and another for every step."""
    for form in ("posterior", "fixed_large", "constant"):
        model = model_of(Wavy(2), SCHEDULE, form, 2)
        variance = {
            "posterior": reverse_variances.small(SCHEDULE),
            "fixed_large": reverse_variances.large(SCHEDULE),
        }.get(form)
        if form == "constant":
            with torch.no_grad():
                model.reverse.log_std.copy_(torch.linspace(-1, 1, 7).unsqueeze(1))
            b, v = reverse_variances.bridge(SCHEDULE)
            variance = v + (b * model.reverse.log_std[:, 0].double().exp()).square() * (1 - SCHEDULE.alpha_bar)
        x0 = randn(5, 2)
        with torch.no_grad():
            K = bound.terms(model, x0, rng(1))
            errors = reverse_variances.squared_errors(model, x0, rng(1))
        close(reverse_variances.cost(SCHEDULE, errors, 2, variance), K.kl, rtol=1e-9, atol=1e-11)
        close(reverse_variances.cost(SCHEDULE, errors[:, 0], 2, variance), K.kl[:, 0], rtol=1e-9, atol=1e-11)


def test_the_bridge_is_that_of_the_kernel():
    kernel = exact_model(blobs(), SCHEDULE).kernel
    b, v = reverse_variances.bridge(SCHEDULE)
    for t in range(2, 7):
        _, from_x0, variance = kernel.bridge(t)
        close(torch.stack([b[t], v[t]]), torch.cat([from_x0, variance]))


@pytest.mark.equation("eq-sm-best-variance")
def test_no_other_variance_costs_less():
    """The minimum, by a search: the slope changes its sign there, and the value is half of log(s^2 / v) a dimension."""
    errors = 0.3 + torch.rand(7, generator=rng(), dtype=torch.float64)
    best = reverse_variances.best(SCHEDULE, errors, 2)
    least = reverse_variances.cost(SCHEDULE, errors, 2, best)
    for factor in (0.9, 0.999, 1.001, 1.1):
        other = factor * best  # given
        assert bool((reverse_variances.cost(SCHEDULE, errors, 2, other)[2:] > least[2:]).all())
    close(least[2:], (best / reverse_variances.small(SCHEDULE))[2:].log())


@pytest.mark.equation("eq-sm-variance-ends")
def test_small_is_right_for_a_point_and_large_for_normal_data():
    """And every variance between them for some law of data: the best one is linear in the error."""
    zero = torch.zeros(7, dtype=torch.float64)
    close(reverse_variances.best(SCHEDULE, zero, 2)[2:], reverse_variances.small(SCHEDULE)[2:])
    normal = 2 * (1 - SCHEDULE.alpha_bar)  # d / (1 + 1 / tau): the least error for N(0, I)
    model = exact_model(gaussian(torch.zeros(2), 1.0), SCHEDULE, "posterior")
    measured = reverse_variances.squared_errors(model, randn(20_000, 2), rng(2))
    for t in range(2, 7):
        close_mean(measured[t], normal[t])
    close(reverse_variances.best(SCHEDULE, normal, 2)[2:], reverse_variances.large(SCHEDULE)[2:], rtol=1e-9)


def test_the_constant_form_carries_the_best_variance():
    errors = 0.3 + torch.rand(7, generator=rng(), dtype=torch.float64)
    model = model_of(Wavy(2), SCHEDULE, "constant", 2)
    with torch.no_grad():
        model.reverse.log_std.copy_((0.5 * (errors / 2 / (1 - SCHEDULE.alpha_bar)).log()).unsqueeze(1))
    best = reverse_variances.best(SCHEDULE, errors, 2)
    for t in range(2, 7):
        close(model.reverse_step(randn(3, 2), t).scale.square(), best[t], rtol=1e-6)
    assert isinstance(model.reverse, GaussianReverse)


def test_a_dimension_that_is_none_is_refused():
    with pytest.raises(ValueError, match="dim: 0: need at least 1"):
        reverse_variances.best(SCHEDULE, torch.ones(7), 0)
