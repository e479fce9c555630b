"""One test per claim of the book: both sides of the equation, by different routes.

Where a side is an expectation under the model's chains, the targets are Gaussians or one-dimensional mixtures, so that
it can be had in closed form or by quadrature. Monte Carlo comparisons allow four standard errors, with fixed seeds.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from dpm_lib.diffusion import best_bound, bound, schedules
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.reverse_kernels import GaussianReverse, outputs
from dpm_lib.probability import mixtures, swiss_roll
from dpm_lib.probability.distributions import Gaussian
from dpm_lib.training import build, catalogue

LN2 = math.log(2)
CLUMPS = mixtures.Mixture(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.3, 0.7]), 0.05)
GRID = torch.linspace(-8, 8, 32_001, dtype=torch.float64).unsqueeze(1)
STEP = float(GRID[1] - GRID[0])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def integrate(values: torch.Tensor) -> float:
    """Trapezoidal rule on GRID, whose ends carry no mass."""
    return float(values.sum()) * STEP


def within(difference: torch.Tensor, errors: float = 4.0) -> bool:
    """Is the mean of independent ``difference`` zero within so many standard errors?"""
    return abs(float(difference.mean())) <= errors * float(difference.std()) / math.sqrt(len(difference))


class Crooked(torch.nn.Module):
    """A smooth network that is far from right, so that every term of the bound is put to use."""

    def __init__(self, dim: int, covariance: str = "full") -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(
            0.6 * torch.randn(dim, outputs(dim, covariance), generator=generator(3), dtype=torch.float64)
        )

    def forward(self, x: torch.Tensor, t: torch.Tensor, log_tau: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ self.weight + 0.1 * log_tau.unsqueeze(-1))


def crooked_model(dim: int = 2, T: int = 6, beta_1: float = 1e-2) -> DiffusionModel:
    kernel = GaussianKernel(dim, schedules.geometric(T, beta_1, 5.0))
    return DiffusionModel(kernel, GaussianReverse(Crooked(dim), kernel, "full")).requires_grad_(False)


def law_of_x(t: int, schedule: schedules.Schedule) -> torch.Tensor:
    """log q_t on GRID for the clumps, from the exact density of the unshrunk z = x / sqrt(alpha_bar)."""
    log_alpha_bar = float(schedule.log_alpha_bar[t])
    return CLUMPS.log_prob(GRID * math.exp(-log_alpha_bar / 2), float(schedule.tau[t])) - 0.5 * log_alpha_bar


@pytest.mark.equation("eq-roll-density")
@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_roll_density_is_the_integral_along_the_curve(noise):
    roll = swiss_roll.SwissRoll(noise)
    points = roll.sample(6, generator()).numpy() + 0.05  # given: off the curve
    for point in points:

        def integrand(phi, point=point):
            centre = roll.curve(torch.tensor([phi], dtype=torch.float64)).numpy()[0]
            square = ((point - centre) ** 2).sum()
            return math.exp(-square / (2 * roll.variance)) / (2 * math.pi * roll.variance)

        angles = np.linspace(1.5 * math.pi, 4.5 * math.pi, 401)
        pieces = [quad(integrand, a, b, epsabs=1e-13, epsrel=1e-11)[0] for a, b in pairwise(angles)]
        exact = math.log(sum(pieces) / (3 * math.pi))
        assert float(roll.log_prob(torch.tensor(point).unsqueeze(0))[0]) == pytest.approx(exact, abs=1e-8)


@pytest.mark.equation("eq-limit")
def test_no_density_scores_above_minus_the_entropy():
    roll = swiss_roll.SwissRoll(0.25)
    x = roll.sample(20_000, generator(1))
    own = roll.log_prob(x)
    assert within(own + roll.entropy())
    for other in (swiss_roll.SwissRoll(0.3), mixtures.Mixture(torch.zeros(1, 2), torch.ones(1), 1.0)):
        divergence = own - other.log_prob(x)
        assert divergence.mean() > 4 * divergence.std() / math.sqrt(len(x))


@pytest.mark.equation("eq-invariance")
@pytest.mark.parametrize("beta", [0.01, 0.5, 1.0])
def test_the_step_leaves_the_prior_as_it_is(beta):
    kernel = GaussianKernel(1, schedules.from_beta(torch.tensor([0.0, beta])))
    prior = kernel.prior.log_prob(GRID).exp()
    for y in (-1.3, 0.0, 2.1):
        arrive = kernel.step(GRID, 1).log_prob(torch.tensor([y], dtype=torch.float64)).exp()
        assert integrate(arrive * prior) == pytest.approx(math.exp(-(y**2) / 2) / math.sqrt(2 * math.pi), abs=1e-9)


@pytest.mark.equation("eq-marginal")
def test_many_steps_are_one_gaussian():
    kernel = GaussianKernel(1, schedules.linear(9, 0.01, 0.4))
    x0 = torch.tensor([0.8], dtype=torch.float64)
    grid = GRID[::10]  # a step of 0.005, where the narrowest law has a standard deviation of 0.1
    law = kernel.step(x0, 1).log_prob(grid).exp()
    for t in range(2, 10):
        beta = float(kernel.schedule.beta[t])
        centre = grid.T * math.sqrt(1 - beta)  # one step: law of x_t at each grid point, by the trapezoidal rule
        coarse = GRID[::40]
        spread = torch.exp(-((coarse - centre) ** 2) / (2 * beta)) / math.sqrt(2 * math.pi * beta)
        new = spread @ law * 10 * STEP
        assert torch.allclose(new, kernel.marginal(x0, t).log_prob(coarse).exp(), atol=1e-9)
        law = kernel.marginal(x0, t).log_prob(grid).exp()
    alpha_bar = torch.cumprod(1 - kernel.schedule.beta, 0)
    assert torch.allclose(kernel.schedule.alpha_bar, alpha_bar, rtol=1e-12)


@pytest.mark.equation("eq-bayes", "eq-posterior")
@pytest.mark.parametrize("t", [2, 5, 9])
def test_posterior_is_bayes_rule(t):
    kernel = GaussianKernel(1, schedules.linear(9, 0.01, 0.4))
    schedule = kernel.schedule
    x0, xt = torch.tensor([0.8], dtype=torch.float64), torch.tensor([-0.4], dtype=torch.float64)
    log = kernel.step(GRID, t).log_prob(xt) + kernel.marginal(x0, t - 1).log_prob(GRID)
    law = torch.exp(log - torch.logsumexp(log, 0)) / STEP
    assert torch.allclose(law, kernel.posterior(x0, xt, t).log_prob(GRID).exp(), atol=1e-8)
    beta, now, before = (float(a) for a in (schedule.beta[t], schedule.alpha_bar[t], schedule.alpha_bar[t - 1]))
    printed = (
        math.sqrt(1 - beta) * (1 - before) / (1 - now),
        math.sqrt(before) * beta / (1 - now),
        beta * (1 - before) / (1 - now),
    )
    assert [float(c) for c in kernel.bridge(t)] == pytest.approx(printed, rel=1e-10)


@pytest.mark.equation("eq-reverse-moments")
@pytest.mark.parametrize("t", [2, 6, 9])
def test_moments_of_the_step_back(t):
    kernel = GaussianKernel(1, schedules.linear(9, 0.01, 0.4))
    xt = torch.tensor([[0.35]], dtype=torch.float64)
    log = law_of_x(t - 1, kernel.schedule) + kernel.step(GRID, t).log_prob(xt[0])  # Bayes, on the grid
    law = torch.exp(log - torch.logsumexp(log, 0)) / STEP
    mean = integrate(law * GRID[:, 0])
    variance = integrate(law * (GRID[:, 0] - mean) ** 2)
    a, b, v = (float(c) for c in kernel.bridge(t))
    z, tau = xt / kernel.schedule.alpha_bar[t].sqrt(), float(kernel.schedule.tau[t])
    assert mean == pytest.approx(a * float(xt) + b * float(CLUMPS.posterior_mean(z, tau)), abs=1e-8)
    assert variance == pytest.approx(v + b**2 * float(CLUMPS.posterior_covariance(z, tau)), abs=1e-8)


@pytest.mark.equation("eq-small-step")
def test_a_small_step_back_is_gaussian_to_second_order():
    tau, xt = 0.3, 0.4  # the law q_t is the clumps at this noise; beta of the last step varies
    log_alpha_bar = -math.log1p(tau)
    shrink = math.exp(log_alpha_bar / 2)
    score = float(CLUMPS.score(torch.tensor([[xt / shrink]]), tau)) / shrink
    errors, divergences = [], []
    for beta in (0.02, 0.01, 0.005):
        before = log_alpha_bar - math.log1p(-beta)
        x = xt + torch.linspace(-12, 12, 48_001, dtype=torch.float64).unsqueeze(1) * math.sqrt(beta)
        dx = float(x[1] - x[0])
        log = CLUMPS.log_prob(x * math.exp(-before / 2), math.expm1(-before))
        log = log + Gaussian(math.sqrt(1 - beta) * x, torch.tensor([beta]).sqrt()).log_prob(torch.tensor([xt]))
        log = log - torch.logsumexp(log, 0) - math.log(dx)
        law = log.exp()
        mean = float((law * x[:, 0]).sum()) * dx
        variance = float((law * (x[:, 0] - mean) ** 2).sum()) * dx
        errors.append((abs(mean - xt - beta * (0.5 * xt + score)), abs(variance - beta)))
        best = Gaussian(torch.tensor([mean]), torch.tensor([variance], dtype=torch.float64).sqrt()).log_prob(x)
        divergences.append(float(law @ (log - best)) * dx)
    for bigger, smaller in pairwise(errors):
        assert [a / b for a, b in zip(bigger, smaller, strict=True)] == pytest.approx([4, 4], rel=0.15)  # O(beta^2)
    ratios = [a / b for a, b in pairwise(divergences)]
    assert ratios == pytest.approx([8, 8], rel=0.25)  # the text: the KL to the best Gaussian falls like beta^3


@pytest.mark.equation("eq-model-probability")
def test_mean_weight_is_the_models_probability():
    model = crooked_model(dim=1)
    x0 = torch.tensor([[-0.7], [0.2], [1.1]], dtype=torch.float64)
    coarse = torch.linspace(-7, 7, 1401, dtype=torch.float64).unsqueeze(1)
    dx = float(coarse[1] - coarse[0])
    law = model.kernel.prior.log_prob(coarse).exp()  # p(x_T) on the grid, then back step by step
    for t in range(model.T, 1, -1):
        step = model.reverse_step(coarse, t)
        law = law @ Gaussian(step.mean.unsqueeze(1), step.scale.unsqueeze(1), full=True).log_prob(coarse).exp() * dx
    edge = model.reverse_step(coarse, 1)
    exact = torch.stack([(law * edge.log_prob(point).exp()).sum() * dx for point in x0])
    weights = model.trajectory_weights(x0, 40_000, generator()).log_weights.exp()
    for i in range(3):
        assert within(weights[i] - exact[i])
        assert weights[i].std() > 0.05 * exact[i]  # or the comparison would be empty


@pytest.mark.equation("eq-jensen")
def test_mean_log_weight_is_below_the_log_of_the_mean():
    weights = crooked_model().trajectory_weights(torch.tensor([[0.5, -0.2]], dtype=torch.float64), 20_000, generator())
    assert weights.elbo < weights.log_z - 4 * weights.log_weights.std() / math.sqrt(weights.n)


@pytest.mark.equation("eq-log-weight", "eq-bound")
def test_the_terms_add_up_to_the_mean_log_weight():
    model = crooked_model(beta_1=0.3)
    x0 = 1.5 * torch.randn(20_000, 2, generator=generator(), dtype=torch.float64)  # not of unit variance, on purpose
    by_terms = bound.terms(model, x0, generator(1)).K
    by_trajectories = model.trajectory_weights(x0, 1, generator(2)).elbo
    assert within(by_terms - by_trajectories)
    path = model.forward_trajectory(x0[:50], generator(3))  # and the log weight, trajectory by trajectory
    kernel, T = model.kernel, model.T
    direct = kernel.prior.log_prob(path[T])
    turned = direct + kernel.prior.log_prob(path[0]) - kernel.prior.log_prob(path[1])
    turned = turned + kernel.marginal(path[0], 1).log_prob(path[1]) - kernel.marginal(path[0], T).log_prob(path[T])
    for t in range(1, T + 1):
        back = model.reverse_step(path[t], t).log_prob(path[t - 1])
        direct = direct + back - kernel.step(path[t - 1], t).log_prob(path[t])
        if t > 1:
            turned = turned + back - kernel.posterior(path[0], path[t], t).log_prob(path[t - 1])
    assert torch.allclose(direct, turned, atol=1e-9)


@pytest.mark.equation("eq-kl-step")
@pytest.mark.parametrize("t", [2, 4, 6])
def test_kl_of_a_step_in_signal_to_noise_ratios(t):
    model = crooked_model()
    kernel = model.kernel
    x0 = torch.randn(30, 2, generator=generator(), dtype=torch.float64)
    noise = torch.randn(30, 2, generator=generator(1), dtype=torch.float64)
    xt = kernel.marginal(x0, t).from_noise(noise)
    x0_hat, factor = model.reverse.moments(xt, t, kernel)
    k = 1 / kernel.schedule.tau[t - 1] - 1 / kernel.schedule.tau[t]
    inner = torch.eye(2, dtype=torch.float64) + k * factor @ factor.mT
    inverse = torch.linalg.inv(inner)
    error = (x0 - x0_hat).unsqueeze(-1)
    trace = inverse.diagonal(dim1=-2, dim2=-1).sum(-1)
    printed = 0.5 * (torch.logdet(inner) + trace - 2 + k * (error.mT @ inverse @ error).flatten())
    assert torch.allclose(printed, bound.step_kl(model, x0, t, noise), atol=1e-9)
    _, b, v = kernel.bridge(t)
    assert float(b**2 / v) == pytest.approx(float(k), rel=1e-10)


@pytest.mark.equation("eq-best-kl")
def test_the_exact_moments_leave_half_a_log_determinant():
    class Exact(torch.nn.Module):
        """The clumps' own moments, as the raw outputs that ``GaussianReverse`` expects; off by ``shift`` on purpose."""

        def __init__(self, shift: float) -> None:
            super().__init__()
            self.shift = torch.nn.Parameter(torch.tensor(shift, dtype=torch.float64))

        def forward(self, x, t, log_tau):
            tau = float(log_tau[0].exp())
            alpha_bar = 1 / (1 + tau)
            z = x / math.sqrt(alpha_bar)
            mean = CLUMPS.posterior_mean(z, tau)
            f = (mean - math.sqrt(alpha_bar) * x) / math.sqrt(1 - alpha_bar)
            log_std = 0.5 * torch.log(CLUMPS.posterior_covariance(z, tau)[:, 0] / (1 - alpha_bar))
            return torch.cat([f, log_std], 1) + self.shift  # given

    kernel = GaussianKernel(1, schedules.geometric(6, 1e-2, 5.0))
    x0 = CLUMPS.sample(40_000, generator())
    noise = torch.randn(x0.shape, generator=generator(1), dtype=torch.float64)
    t = 4
    k = float(1 / kernel.schedule.tau[t - 1] - 1 / kernel.schedule.tau[t])
    xt = kernel.marginal(x0, t).from_noise(noise)
    z = xt / kernel.schedule.alpha_bar[t].sqrt()
    spread = CLUMPS.posterior_covariance(z, float(kernel.schedule.tau[t]))[:, 0, 0]
    least = 0.5 * torch.log1p(k * spread)
    kl = {}
    for shift in (0.0, -0.3, 0.3):
        model = DiffusionModel(kernel, GaussianReverse(Exact(shift), kernel, "full")).requires_grad_(False)
        kl[shift] = bound.step_kl(model, x0, t, noise)
    assert within(kl[0.0] - least)
    assert float(kl[0.0].mean()) == pytest.approx(float(least.mean()), rel=0.05)  # whatever the spread
    _, b, v = kernel.bridge(t)
    for shift in (-0.3, 0.3):  # paired: any other moments cost their divergence from these
        model_variance = v + b**2 * spread * math.exp(2 * shift)
        ratio = (v + b**2 * spread) / model_variance
        moved = (b * shift).square() * (1 - kernel.schedule.alpha_bar[t])
        assert within(kl[shift] - kl[0.0] - 0.5 * (ratio - 1 - ratio.log() + moved / model_variance))


@pytest.mark.equation("eq-printed-bound")
@pytest.mark.parametrize("variance", [4.0, 0.25])
def test_what_the_printed_bound_is_off_by(variance):
    model = crooked_model()
    x0 = math.sqrt(variance) * torch.randn(1000, 2, generator=generator(), dtype=torch.float64)
    terms = bound.terms(model, x0, generator(1))
    minus_prior_entropy = -0.5 * 2 * (1 + math.log(2 * math.pi))
    printed = minus_prior_entropy + (terms.entropy_T - terms.entropy_1 - terms.kl.sum(0)).mean()
    schedule = model.schedule
    off = 0.5 * (x0.square().sum(1).mean() - 2) * (schedule.beta[1] + schedule.alpha_bar[-1])
    assert float(printed - terms.K.mean()) == pytest.approx(float(off), abs=1e-10)
    assert (float(off) > 0) == (variance > 1)


@pytest.mark.equation("eq-path-kl")
def test_the_gap_is_the_divergence_of_the_two_chains():
    # data N(0, s^2): all laws are Gaussian, so every divergence on the right has a closed form
    s, T = 0.6, 5
    kernel = GaussianKernel(1, schedules.geometric(T, 1e-2, 0.5))
    untrained = build.build(catalogue.get("swiss-roll"), dim=1).reverse.network  # f = 0, L = I: wrong for s != 1
    model = DiffusionModel(kernel, GaussianReverse(untrained, kernel, "full")).requires_grad_(False)
    variance = [float(s**2 * a + 1 - a) for a in kernel.schedule.alpha_bar]
    total = 0.5 * (variance[T] - 1 - math.log(variance[T]))  # KL(q(x_T) || pi)
    for t in range(1, T + 1):
        shrink = math.sqrt(1 - float(kernel.schedule.beta[t]))
        gain = shrink * variance[t - 1] / variance[t]  # q(x_{t-1} | x_t) = N(gain x_t, rest)
        rest = variance[t - 1] - gain**2 * variance[t]
        one = torch.ones(1, 1, dtype=torch.float64)
        step = model.reverse_step(one, t)  # linear in x_t, with constant variance
        slope, spread = float(step.mean), float(step.factor) ** 2
        total += 0.5 * (rest / spread - 1 - math.log(rest / spread) + (gain - slope) ** 2 * variance[t] / spread)
    x0 = s * torch.randn(100_000, 1, generator=generator(), dtype=torch.float64)
    log_q = -0.5 * (x0[:, 0] ** 2 / s**2 + math.log(2 * math.pi * s**2))
    gap = log_q - model.trajectory_weights(x0, 1, generator(1)).elbo
    assert within(gap - total)
    assert total > 0.05


@pytest.mark.equation("eq-ceiling")
@pytest.mark.parametrize("d", [1, 3])
def test_k_stays_below_the_ceiling_and_reaches_it(d):
    target = mixtures.Mixture(torch.zeros(1, d), torch.ones(1), 1.7)  # Gaussian: its best chain is exact
    for beta_1 in (0.3, 0.01):
        best = best_bound.BestReverse(target, beta_1 / (1 - beta_1), 1e6, levels=60, n=2)
        K = best.bound(torch.arange(60), best.step_costs("full"))
        ceiling = best_bound.ceiling(target, best.schedule(torch.arange(60)))
        assert K <= ceiling + 1e-12
        assert K == pytest.approx(ceiling, abs=1e-5)
        entropy_1 = 0.5 * d * math.log(2 * math.pi * math.e * (1.7 * (1 - beta_1) + beta_1))
        assert ceiling == pytest.approx(-entropy_1 + 0.5 * beta_1 * (d - 1.7 * d), abs=1e-9)


@pytest.mark.equation("eq-beta1-cost")
@pytest.mark.parametrize("beta_1", [1e-7, 1e-5, 1e-4])
def test_price_of_the_first_step_on_a_thin_curve(beta_1):
    roll = swiss_roll.SwissRoll(0.02)
    exact = -roll.entropy() - best_bound.ceiling(roll, schedules.geometric(2, beta_1))
    assert exact == pytest.approx(0.5 * math.log1p(beta_1 / roll.variance), rel=0.02)
