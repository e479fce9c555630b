"""The bound against naive averages of log ratios, closed forms, enumeration, and the limits it can never pass."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from problems import (
    AffineNetwork,
    affine_model,
    blobs,
    close,
    close_mean,
    exact_model,
    gaussian,
    model_of,
    randn,
    random_schedule,
    rng,
    roll,
    roll_entropy,
    short_schedule,
)

from dpm_lib import bound
from dpm_lib.bound import LN2, BestReverse
from dpm_lib.kernels import LOG_2PI, Gaussian, GaussianKernel
from dpm_lib.schedules import LearnedSchedule, from_beta, from_tau, geometric

MEAN = torch.tensor([0.6, -0.9], dtype=torch.float64)


def gaussian_bound(variance: float, square: float, d: int, schedule) -> float:
    """K of the exact kernel for N(mean, variance I) with E|x_0|^2 = square: by hand.

    With the posterior variance c = variance tau / (variance + tau), a step costs (d/2) log(1 + c (1/tau' - 1/tau)).
    """
    tau, alpha_bar, beta = schedule.tau.tolist(), schedule.alpha_bar.tolist(), schedule.beta.tolist()
    steps = 0.0
    for t in range(2, schedule.T + 1):
        c = variance * tau[t] / (variance + tau[t])
        steps += 0.5 * d * math.log(1 + c * (1 / tau[t - 1] - 1 / tau[t]))
    log_prior = -0.5 * (d * LOG_2PI + alpha_bar[-1] * square + d * (1 - alpha_bar[-1]))
    edge = 0.5 * beta[1] * (d - square)
    return log_prior + edge + 0.5 * d * (math.log(1 - alpha_bar[-1]) - math.log(beta[1])) - steps


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


# Limits


def test_the_ceiling_is_the_law_of_x1_and_the_edge():
    """By hand for a Gaussian: -H(X_1) + beta_1 (d - E|x_0|^2) / 2."""
    schedule = short_schedule()
    beta = float(schedule.beta[1])
    width = (1 - beta) * 0.5 + beta
    square = float(MEAN.square().sum()) + 1.0
    expected = -math.log(2 * math.pi * math.e * width) + 0.5 * beta * (2 - square)
    close(bound.ceiling(gaussian(MEAN, 0.5), schedule), expected)


@pytest.mark.parametrize("T", [2, 5, 40])
def test_k_of_a_gaussian_misses_its_ceiling_by_the_prior_only(T):
    """Its reverse steps are Gaussian at any T, so K = ceiling - D_KL(q(x_T) || pi), with nothing else lost."""
    target, schedule = gaussian(MEAN, 0.5), geometric(T, 1e-3, 20.0)
    last = float(schedule.alpha_bar[-1])
    width = torch.tensor([math.sqrt(0.5 * last + 1 - last)], dtype=torch.float64)
    mismatch = Gaussian(math.sqrt(last) * MEAN, width).kl(GaussianKernel(2, schedule).prior)
    K = gaussian_bound(0.5, target.mean_square, 2, schedule)
    close(bound.ceiling(target, schedule) - K, mismatch, rtol=1e-9)
    assert float(mismatch) > 1e-3


def test_k_of_a_mixture_approaches_its_ceiling_from_below():
    """The same with a network, paired with log q_0, whose mean is known."""
    target, gaps = blobs(), []
    for T in (8, 24, 72):
        schedule = geometric(T, 1e-3, 1e4)
        x0 = target.sample(3000, rng())
        gap = target.log_prob(x0) - bound.terms(exact_model(target, schedule), x0, rng(1)).K
        ceiling_gap = -target.entropy() - bound.ceiling(target, schedule)
        stderr = float(gap.std()) / math.sqrt(3000)
        assert float(gap.mean()) > ceiling_gap - 3 * stderr
        gaps.append(float(gap.mean()) - ceiling_gap)
    assert gaps[0] > 2 * gaps[1] > 2 * gaps[2]
    assert abs(gaps[2]) < 0.05


def test_an_untrained_model_stays_below_the_ceiling():
    target, schedule = blobs(), short_schedule()
    for seed in range(5):
        K = bound.terms(affine_model(schedule, seed), target.sample(4000, rng()), rng(seed)).K
        assert float(K.mean()) <= bound.ceiling(target, schedule) + 3 * float(K.std()) / math.sqrt(4000)


def best_with_error(best: BestReverse, path: torch.Tensor, covariance: str) -> tuple[float, float]:
    """K of the best kernel along a path, and the standard error of its Monte Carlo part, by plain sums."""
    snr, total = (-best.log_tau).exp(), torch.zeros(best.variances["diagonal"].shape[1], dtype=torch.float64)
    for before, now in itertools.pairwise(path.tolist()):
        total = total + 0.5 * torch.log(1 + (snr[before] - snr[now]) * best.variances[covariance][now]).sum(-1)
    K = best.bound(path, best.step_costs(covariance))
    zero = gaussian_ends(best, path)
    close(K, zero - total.mean(), rtol=1e-9)
    return K, float(total.std()) / math.sqrt(len(total))


def gaussian_ends(best: BestReverse, path: torch.Tensor) -> float:
    alpha_bar = 1 / (1 + best.log_tau[path].exp())
    first, last, d, square = float(alpha_bar[0]), float(alpha_bar[-1]), best.target.dim, best.target.mean_square
    log_prior = -0.5 * (d * LOG_2PI + last * square + d * (1 - last))
    entropies = 0.5 * d * (math.log(1 - last) - math.log(1 - first))
    return log_prior + 0.5 * (1 - first) * (d - square) + entropies


@pytest.mark.parametrize("covariance", BestReverse.FORMS)
def test_the_best_kernel_is_the_exact_networks(covariance):
    """Its K, from tabulated variances, against ``bound.terms`` of the model that carries the exact moments."""
    target = blobs()
    best = BestReverse(target, 0.01, 8.0, levels=7, n=4096)
    path = torch.tensor([0, 2, 3, 5, 6])
    expected, error = best_with_error(best, path, covariance)
    model = exact_model(target, best.schedule(path), covariance)
    if covariance == "constant":
        trace = best.variances["constant"][path[1:], 0, 0]
        noise = 1 - model.schedule.alpha_bar[2:]
        with torch.no_grad():
            model.reverse.log_std[2:, 0] = 0.5 * (trace / noise).log()
    K = bound.terms(model, target.sample(20_000, rng(11)), rng(12)).K
    assert abs(float(K.mean()) - expected) < 4 * math.hypot(error, float(K.std()) / math.sqrt(20_000))


def test_the_forms_are_ordered():
    best = BestReverse(blobs(), 0.01, 8.0, levels=8, n=512)
    path = torch.tensor([0, 2, 4, 7])
    K = [best.bound(path, best.step_costs(form)) for form in ("full", "diagonal", "isotropic", "constant")]
    assert K == sorted(K, reverse=True) and len(set(K)) == 4


@pytest.mark.parametrize("covariance", ["full", "diagonal", "constant"])
@pytest.mark.parametrize("T", [2, 3, 4, 7])
def test_the_best_schedule_beats_every_other_on_its_grid(T, covariance):
    best = BestReverse(blobs(), 0.01, 8.0, levels=7, n=256)
    cost = best.step_costs(covariance)
    paths = [torch.tensor([0, *rest]) for rest in itertools.combinations(range(1, 7), T - 1)]
    bounds = [best.bound(path, cost) for path in paths]
    schedule, K = best.best_schedule(T, covariance)
    assert K == pytest.approx(max(bounds), rel=1e-12)
    close(schedule.tau, best.schedule(paths[bounds.index(max(bounds))]).tau)
    if len(bounds) > 1:
        assert min(bounds) < K - 0.01


def test_a_best_schedule_needs_enough_levels():
    best = BestReverse(blobs(), 0.01, 8.0, levels=5, n=64)
    with pytest.raises(ValueError, match="T: 6 steps do not fit on 5 levels"):
        best.best_schedule(6, "full")
    with pytest.raises(ValueError, match="covariance: 'banded'"):
        best.best_schedule(3, "banded")


def test_the_best_gaps_of_the_roll():
    """TARGETS.md, noise .25, T=40, bits; there by gradient on the schedule, here on a grid of 240 levels.

    K itself is off by some .005 bits at n = 1024. The same draws estimate half the integral of E tr Cov over the
    signal-to-noise ratio, which is known exactly from the entropies (I-MMSE): taking that error off leaves .001.
    """
    target = roll(0.25)
    best = BestReverse(target, 1e-6, 50.0, levels=240, n=1024)
    limit = -roll_entropy(0.25)
    mmse = best.variances["diagonal"].sum(-1).mean(1)
    drawn = torch.cumulative_trapezoid(0.5 * mmse * (-best.log_tau).exp(), best.log_tau)

    def information(tau: float) -> float:
        return target.entropy(tau) - math.log(2 * math.pi * math.e * tau)

    for covariance, gap in (("constant", 0.202), ("isotropic", 0.163), ("diagonal", 0.096), ("full", 0.014)):
        schedule, K = best.best_schedule(40, covariance)
        end = int((best.log_tau - schedule.log_tau[-1]).abs().argmin())
        error = float(drawn[end - 1]) - information(1e-6) + information(float(schedule.tau[-1]))
        assert abs(error) / LN2 < 4 * 0.006
        # never worse than the scout's schedule and beta_1, and not better by more than those two can be worth
        assert gap - 0.015 < (limit - K - error) / LN2 < gap + 0.003


def test_beta_1_costs_what_is_said():
    """(1/2) log2(1 + beta_1 / sigma^2) bits along a thin curve: .051 at noise .25 and beta_1 = 1e-4."""
    target = roll(0.25)
    schedule = from_beta(torch.tensor([0.0, 1e-4, 0.5], dtype=torch.float64))
    cost = (-roll_entropy(0.25) - bound.ceiling(target, schedule)) / LN2
    assert cost == pytest.approx(0.5 * math.log2(1 + 1e-4 / target.variance), rel=0.05)
    assert cost == pytest.approx(0.051, abs=0.001)


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
