"""The bound against naive averages of log ratios, and closed forms."""

import math
from dataclasses import replace

import pytest
import torch
from problems import (
    MEAN,
    AffineNetwork,
    affine_model,
    close,
    close_mean,
    exact_model,
    gaussian,
    gaussian_bound,
    model_of,
    randn,
    random_schedule,
    rng,
    short_schedule,
)

from dpm_lib.diffusion import bound
from dpm_lib.diffusion.schedules import LearnedSchedule, from_beta, from_tau, geometric


def printed_bound(model, x0: torch.Tensor) -> torch.Tensor:
    """K as the 2015 paper prints it: -H_p(X_T) in place of the prior and edge terms, from draws."""
    terms = bound.terms(model, x0, rng(3))
    return -model.kernel.prior.entropy + terms.entropy_T - terms.entropy_1 - terms.kl.sum(0)


# Term by term


def test_every_term_is_an_average_over_forward_trajectories():
    """E log pi(x_T), E log pi(x_0)/pi(x_1), the entropies, and each KL as E log q(x_{t-1}|x_t,x_0)/p(x_{t-1}|x_t)."""
    model, n = affine_model(short_schedule(), 2), 20_000
    x0 = torch.tensor([0.8, -0.5], dtype=torch.float64).expand(n, 2)
    terms = bound.terms(model, x0, rng(1))
    path, kernel = model.forward_trajectory(x0, rng(2)), model.kernel
    close_mean(kernel.prior.log_prob(path[-1]), terms.prior[0])
    close_mean(kernel.prior.log_prob(x0) - kernel.prior.log_prob(path[1]), terms.edge[0])
    close_mean(-kernel.marginal(x0, model.T).log_prob(path[-1]), terms.entropy_T)
    close_mean(-kernel.marginal(x0, 1).log_prob(path[1]), terms.entropy_1)
    assert terms.kl.shape == (5, n) and not terms.kl[:2].any() and bool((terms.kl[2:] > 0).all())
    for t in range(2, 5):
        with torch.no_grad():
            q = kernel.posterior(x0, path[t], t).log_prob(path[t - 1])
            ratio = q - model.reverse_step(path[t], t).log_prob(path[t - 1])
        error = math.hypot(float(ratio.std()), float(terms.kl[t].std())) / math.sqrt(n)
        assert abs(float(ratio.mean() - terms.kl[t].mean())) < 4 * error


def test_k_is_the_sum_of_its_terms():
    terms = bound.terms(affine_model(short_schedule()), randn(5, 2), rng())
    K = terms.prior + terms.edge + terms.entropy_T - terms.entropy_1 - terms.kl[2] - terms.kl[3] - terms.kl[4]
    close(terms.K, K)
    assert terms.K.shape == (5,)
    close(replace(terms, kl=0 * terms.kl).K - terms.K, terms.kl.sum(0))


def test_k_of_a_gaussian_in_closed_form():
    for variance, mean in ((0.5, MEAN), (1.0, 0 * MEAN), (4.0, 0 * MEAN)):
        for schedule in (short_schedule(), geometric(20, 1e-6, 50.0)):
            x0 = mean + math.sqrt(variance) * randn(8000, 2)
            K = bound.terms(exact_model(gaussian(mean, variance), schedule), x0, rng(1)).K
            square = float(mean.square().sum()) + 2 * variance
            close_mean(K, gaussian_bound(variance, square, 2, schedule))


@pytest.mark.parametrize("covariance", ["full", "diagonal", "isotropic", "constant", "posterior"])
def test_the_estimate_of_training_is_unbiased(covariance):
    """One time per row, drawn evenly from 2..T, against the sum over all times."""
    model, n = affine_model(random_schedule(6), 2, covariance=covariance), 20_000
    x0 = torch.tensor([0.8, -0.5], dtype=torch.float64).expand(n, 2)
    K = bound.terms(model, x0, rng(1)).K
    t = 2 + torch.arange(n) % 5
    with torch.no_grad():
        estimate = bound.estimate(model, x0, t, randn(n, 2, seed=4))
    by_time = estimate.reshape(-1, 5)  # a stratified mean: its error is that of whole rows
    close_mean(by_time.mean(1), K.mean(), errors=4 * math.hypot(1, float(K.std() / estimate.std())))


def test_the_estimate_at_one_time_is_that_kl():
    model, x0, noise = affine_model(short_schedule()), randn(6, 2), randn(6, 2, seed=1)
    prior, edge, entropy_T, entropy_1 = bound.ends(model.kernel, x0)
    for t in (2, 3, 4):
        kl = bound.step_kl(model, x0, t, noise)
        close(bound.step_kl(model, x0, torch.full((6,), t), noise), kl)
        expected = prior + edge + entropy_T - entropy_1 - 3 * kl
        close(bound.estimate(model, x0, torch.full((6,), t), noise), expected)


def test_k_has_a_gradient_in_everything_that_is_learned():
    schedule = LearnedSchedule(short_schedule())
    model = model_of(AffineNetwork(0.1 * randn(5, 2), 0.1 * randn(5)), schedule, "full", 2)
    x0, t, noise = randn(12, 2), 2 + torch.arange(12) % 3, randn(12, 2, seed=1)

    def loss() -> torch.Tensor:
        return bound.estimate(model, x0, t, noise).mean()

    loss().backward()
    for parameter in model.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(len(flat)):
            with torch.no_grad():
                value, h = float(flat[i]), 1e-6
                flat[i] = value + h
                up = float(loss())
                flat[i] = value - h
                down = float(loss())
                flat[i] = value
            assert float(gradient[i]) == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-7)


# What the paper prints, and when it holds


def test_the_printed_k_holds_for_data_of_unit_variance():
    schedule = short_schedule()
    x0 = randn(20_000, 2)
    x0 = x0 * math.sqrt(2 / float(x0.square().sum(-1).mean()))  # E|x_0|^2 = d exactly
    model = exact_model(gaussian(0 * MEAN, 1.0), schedule)
    close(printed_bound(model, x0).mean(), bound.terms(model, x0, rng(3)).K.mean(), rtol=1e-9)


def test_the_printed_k_is_no_bound_at_variance_4():
    """K_true - K_printed = (1/2)(d - E|x0|^2)(beta_1 + alpha_bar_T); here the printed one exceeds log p itself."""
    schedule = geometric(20, 0.05, 20.0)
    x0 = 2 * randn(20_000, 1)
    target = gaussian(torch.zeros(1), 4.0)
    model = exact_model(target, schedule)
    K, printed = bound.terms(model, x0, rng(3)).K, printed_bound(model, x0)
    difference = 0.5 * (1 - float(x0.square().mean())) * float(schedule.beta[1] + schedule.alpha_bar[-1])
    close(K.mean() - printed.mean(), difference, rtol=1e-9)
    likelihood = target.log_prob(x0)
    stderr = float((printed - likelihood).std()) / math.sqrt(20_000)
    assert float((printed - likelihood).mean()) > 4 * stderr
    assert float((K - likelihood).mean()) < -4 * float((K - likelihood).std()) / math.sqrt(20_000)


def test_pure_noise_at_the_end_is_no_trouble():
    """alpha_bar_T = 0: nothing is lost at the prior."""
    target = gaussian(MEAN, 0.5)
    x0 = target.sample(4000, rng())
    ends = [bound.ends(model_of(None, s, "posterior", 2).kernel, x0) for s in (
        from_beta(torch.tensor([0.0, 0.1, 1.0])), from_tau(torch.tensor([0.0, 1 / 9, 1e12], dtype=torch.float64))
    )]  # fmt: skip
    for exactly, nearly in zip(*ends, strict=True):
        close(exactly, nearly, rtol=1e-6)
        assert bool(torch.isfinite(exactly).all())
