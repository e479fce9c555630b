"""The limits of the bound against closed forms, brute force, enumeration, and the roll's known figures."""

import itertools
import math

import pytest
import torch
from problems import (
    MEAN,
    affine_model,
    blobs,
    close,
    exact_model,
    gaussian,
    gaussian_bound,
    rng,
    roll,
    roll_entropy,
    short_schedule,
)

from dpm_lib.core.constants import LN2, LOG_2PI
from dpm_lib.diffusion import best_bound, bound
from dpm_lib.diffusion.best_bound import BestReverse
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.schedules import even, from_beta, geometric
from dpm_lib.probability.distributions import Gaussian


@pytest.mark.equation("eq-ceiling")
def test_the_ceiling_is_the_law_of_x1_and_the_edge():
    """By hand for a Gaussian: -H(X_1) + beta_1 (d - E|x_0|^2) / 2."""
    schedule = short_schedule()
    beta = float(schedule.beta[1])
    width = (1 - beta) * 0.5 + beta
    square = float(MEAN.square().sum()) + 1.0
    expected = -math.log(2 * math.pi * math.e * width) + 0.5 * beta * (2 - square)
    close(best_bound.ceiling(gaussian(MEAN, 0.5), schedule), expected)


@pytest.mark.parametrize("T", [2, 5, 40])
def test_k_of_a_gaussian_misses_its_ceiling_by_the_prior_only(T):
    """Its reverse steps are Gaussian at any T, so K = ceiling - D_KL(q(x_T) || pi), with nothing else lost."""
    target, schedule = gaussian(MEAN, 0.5), geometric(T, 1e-3, 20.0)
    last = float(schedule.alpha_bar[-1])
    width = torch.tensor([math.sqrt(0.5 * last + 1 - last)], dtype=torch.float64)
    mismatch = Gaussian(math.sqrt(last) * MEAN, width).kl(GaussianKernel(2, schedule).prior)
    K = gaussian_bound(0.5, target.mean_square, 2, schedule)
    close(best_bound.ceiling(target, schedule) - K, mismatch, rtol=1e-9)
    assert float(mismatch) > 1e-3


def test_k_of_a_mixture_approaches_its_ceiling_from_below():
    """The same with a network, paired with log q_0, whose mean is known."""
    target, gaps = blobs(), []
    for T in (8, 24, 72):
        schedule = geometric(T, 1e-3, 1e4)
        x0 = target.sample(3000, rng())
        gap = target.log_prob(x0) - bound.terms(exact_model(target, schedule), x0, rng(1)).K
        ceiling_gap = -target.entropy() - best_bound.ceiling(target, schedule)
        stderr = float(gap.std()) / math.sqrt(3000)
        assert float(gap.mean()) > ceiling_gap - 3 * stderr
        gaps.append(float(gap.mean()) - ceiling_gap)
    assert gaps[0] > 2 * gaps[1] > 2 * gaps[2]
    assert abs(gaps[2]) < 0.05


def test_an_untrained_model_stays_below_the_ceiling():
    target, schedule = blobs(), short_schedule()
    for seed in range(5):
        K = bound.terms(affine_model(schedule, seed), target.sample(4000, rng()), rng(seed)).K
        assert float(K.mean()) <= best_bound.ceiling(target, schedule) + 3 * float(K.std()) / math.sqrt(4000)


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
    cost = (-roll_entropy(0.25) - best_bound.ceiling(target, schedule)) / LN2
    assert cost == pytest.approx(0.5 * math.log2(1 + 1e-4 / target.variance), rel=0.05)
    assert cost == pytest.approx(0.051, abs=0.001)


@pytest.mark.parametrize("covariance", BestReverse.FORMS)
def test_the_best_bound_of_any_schedule(covariance):
    """On the levels of a table it is the table's; and data that are normal lose nothing by a chain that forgets all."""
    best = BestReverse(blobs(), 1e-3, 50.0, levels=9, n=64)
    path = torch.tensor([0, 2, 3, 5, 8])
    expected = best.bound(path, best.step_costs(covariance))
    assert best_bound.best_bound(blobs(), best.schedule(path), covariance, n=64) == pytest.approx(expected, abs=1e-10)
    normal, forgets = gaussian(MEAN, 0.5), even(7, 0.02)
    assert math.isinf(float(forgets.tau[-1]))
    assert best_bound.best_bound(normal, forgets, covariance, n=4) == pytest.approx(
        best_bound.ceiling(normal, forgets), abs=1e-10
    )


def test_an_unknown_form_has_no_best_bound():
    with pytest.raises(ValueError, match="covariance: 'posterior' is not one of full, diagonal"):
        best_bound.best_bound(blobs(), short_schedule(), "posterior")
