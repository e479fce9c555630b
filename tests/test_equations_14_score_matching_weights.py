"""DDPM from K: one squared error under many names and weights, and the variance of the step back."""

import math
from pathlib import Path

import pytest
import torch
from problems import blobs, close, exact_model, gaussian, randn, random_schedule, rng
from test_loss_weights import gaussian_bound

from dpm_lib.diffusion import reverse_variances, schedules
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.loss_weights import TABLE, on_schedule, over_bound
from dpm_lib.information import mmse
from dpm_lib.probability.mixtures import Mixture


@pytest.mark.equation("eq-sm-epsilon-mean")
def test_the_mean_of_the_step_back_by_the_guess_of_the_noise():
    """DDPM's formula, beside the kernel's own posterior with the guess of x_0 that the noise leaves."""
    schedule = random_schedule(6)
    kernel, xt, guess = GaussianKernel(3, schedule), randn(4, 3), randn(4, 3, seed=1)
    for t in range(2, 7):
        beta, alpha_bar = schedule.beta[t], schedule.alpha_bar[t]
        mean = (xt - beta / (1 - alpha_bar).sqrt() * guess) / (1 - beta).sqrt()
        x0_hat = (xt - (1 - alpha_bar).sqrt() * guess) / alpha_bar.sqrt()
        close(kernel.posterior(x0_hat, xt, t).mean, mean, rtol=1e-9)


@pytest.mark.equation("eq-sm-simple-ratio")
def test_simple_over_the_bound_is_told_by_the_step_in_log_tau():
    schedule = random_schedule(8)
    steps = [math.log(float(schedule.tau[t] / schedule.tau[t - 1])) for t in range(2, 9)]
    expected = [2 / (7 * (math.exp(step) - 1)) for step in steps]
    close(over_bound(on_schedule("simple", schedule).share, schedule)[2:], expected, rtol=1e-9)


def data_bound(schedule, S: float, c) -> tuple[float, float]:
    """K, and E log p(x_0), in closed form: data N(0, S) on the line, the guesses c_t x_t, variance "small"."""
    beta, alpha_bar = schedule.beta.tolist(), schedule.alpha_bar.tolist()
    edge, first = beta[1], alpha_bar[1] * S + 1 - alpha_bar[1]
    square = S - 2 * alpha_bar[1] * S + alpha_bar[1] * first  # E (x_0 - sqrt(1 - beta_1) x_1)^2
    K = gaussian_bound(schedule, S, c, 1) - 0.5 * (math.log(2 * math.pi * edge) + square / edge)
    K += 0.5 * math.log(2 * math.pi * math.e * edge)
    variance = 1.0
    for t in range(schedule.T, 1, -1):
        before, now = alpha_bar[t - 1], alpha_bar[t]
        gain = math.sqrt(1 - beta[t]) * (1 - before) / (1 - now) + math.sqrt(before) * beta[t] / (1 - now) * float(c[t])
        variance = gain**2 * variance + beta[t] * (1 - before) / (1 - now)
    variance = (1 - edge) * variance + edge
    return K, -0.5 * (math.log(2 * math.pi * variance) + S / variance)


@pytest.mark.equation("eq-sm-simple-loose")
def test_simple_is_no_bound_and_a_large_multiple_of_it_is():
    """On Gaussian data, in closed form. Met where the one error is at the step that decides the factor."""
    schedule, S = schedules.linear(30, 1e-3, 0.3), 1.5
    total = schedule.alpha_bar * S + 1 - schedule.alpha_bar
    best = schedule.alpha_bar.sqrt() * S / total
    steps, share = on_schedule("bound", schedule).share, on_schedule("simple", schedule).share

    def cost(c, weights):
        error = S - 2 * c * schedule.alpha_bar.sqrt() * S + c**2 * total
        return float((weights * error)[2:].sum())

    C = data_bound(schedule, S, best)[0] + cost(best, steps)
    factor = 1 / float(over_bound(share, schedule)[2:].min())
    assert factor == pytest.approx(29 * float((schedule.log_tau.diff()[1:].max()).expm1()) / 2, rel=1e-9)
    for seed in range(5):
        c = best * (1 + 0.3 * torch.randn(31, generator=rng(seed), dtype=torch.float64))
        K, log_p = data_bound(schedule, S, c)
        assert K == pytest.approx(C - cost(c, steps), rel=1e-9)
        assert C - factor * cost(c, share) < K < log_p
    wrong = best.clone()
    wrong[2] *= 1.5  # the first step down from the data decides the factor
    K, log_p = data_bound(schedule, S, wrong)
    lost = [data_bound(schedule, S, best)[0] - K, factor * (cost(wrong, share) - cost(best, share))]
    assert lost[0] == pytest.approx(lost[1], rel=1e-9)
    assert log_p < C - cost(wrong, share) < C


@pytest.mark.equation("eq-sm-variance-ends")
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_the_reverse_variance_lies_between_ddpms_two_where_data_are_no_larger_than_noise(scale):
    """For E|x_0|^2 <= d, by the exact moments of x_{t-1} given x_t; met by a point at 0 and by N(0, I)."""
    schedule, law = random_schedule(6), blobs()
    centers = law.centers - law.weights @ law.centers
    unit = float((law.weights @ centers.square()).sum() + 2 * law.variance) / 2
    target = Mixture(centers * scale / math.sqrt(unit), law.weights, law.variance * scale**2 / unit)  # given
    for target_, ends in ((target, scale == 0), (gaussian(torch.zeros(2), 1.0), False)):
        for t in range(2, 7):
            error = torch.zeros(7, dtype=torch.float64)
            error[t] = mmse.mmse(target_, float(schedule.tau[t]), 0.25) if not ends else 0.0
            exact = float(reverse_variances.best(schedule, error, 2)[t])
            low, high = float(reverse_variances.small(schedule)[t]), float(reverse_variances.large(schedule)[t])
            assert low - 1e-12 <= exact <= high * (1 + 1e-9)
            if ends:
                assert exact == pytest.approx(low, rel=1e-12)
    assert exact == pytest.approx(high, rel=1e-6)  # the last of them: standard normal data


@pytest.mark.equation("eq-sm-variance-ends")
def test_larger_data_have_larger_steps():
    """N(0, 4 I) is beyond beta_t: the upper end needs E|x_0|^2 <= d."""
    schedule = random_schedule(6)
    model = exact_model(gaussian(torch.zeros(2), 4.0), schedule, "full")
    for t in range(2, 7):
        exact = float(model.reverse_step(torch.zeros(1, 2), t).scale[0, 0, 0]) ** 2
        assert exact > float(schedule.beta[t])


def test_the_table_names_papers_of_the_bibliography():
    keys = (Path(__file__).parents[1] / "book" / "references.bib").read_text(encoding="utf-8")
    assert all(f"{{{row.paper},\n" in keys for row in TABLE.values())
