"""Gaussians against torch.distributions; the diffusion kernel against linear algebra and Bayes' rule."""

import math

import pytest
import torch
from problems import (
    close,
    close_covariance,
    condition,
    forward_moments,
    randn,
    random_schedule,
    rng,
    short_schedule,
)
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from dpm_lib.diffusion.forward_kernels import BinomialKernel, GaussianKernel
from dpm_lib.diffusion.schedules import from_beta, geometric, linear
from dpm_lib.probability.distributions import Bernoulli, Gaussian

FORMS = ("isotropic", "diagonal", "full")


def some(form: str, n: int = 6, d: int = 3, seed: int = 0) -> Gaussian:
    mean = randn(n, d, seed=seed)
    if form == "full":
        factor = torch.tril(randn(n, d, d, seed=seed + 1), -1) + torch.diag_embed(randn(n, d, seed=seed + 2).exp())
        return Gaussian(mean, factor, full=True)
    return Gaussian(mean, randn(n, 1 if form == "isotropic" else d, seed=seed + 3).exp())


def twin(gaussian: Gaussian) -> MultivariateNormal:
    if gaussian.full:
        return MultivariateNormal(gaussian.mean, scale_tril=gaussian.scale)
    scale = gaussian.scale.expand(gaussian.mean.shape)
    return MultivariateNormal(gaussian.mean, torch.diag_embed(scale.square()))


@pytest.mark.parametrize("form", FORMS)
def test_log_prob_and_entropy(form):
    gaussian = some(form)
    x = randn(6, 3, seed=9)
    close(gaussian.log_prob(x), twin(gaussian).log_prob(x))
    close(gaussian.entropy, twin(gaussian).entropy())
    assert gaussian.log_prob(x).shape == gaussian.entropy.shape == (6,)
    if form != "full":
        close(gaussian.log_prob(x), Independent(Normal(gaussian.mean, gaussian.scale), 1).log_prob(x))


@pytest.mark.parametrize("left", FORMS)
@pytest.mark.parametrize("right", FORMS)
def test_kl_of_any_two_forms(left, right):
    p, q = some(left), some(right, seed=20)
    close(p.kl(q), kl_divergence(twin(p), twin(q)))
    close(p.kl(p), 0.0)
    assert p.kl(q).shape == (6,)


@pytest.mark.parametrize("left", FORMS)
@pytest.mark.parametrize("right", FORMS)
def test_kl_broadcasts_either_way(left, right):
    """One Gaussian against many, whichever is the one."""
    many, one = some(left), some(right, n=1, seed=20)
    one = Gaussian(one.mean[0], one.scale[0], one.full)
    close(many.kl(one), torch.stack([pick(many, i).kl(one) for i in range(6)]))
    close(one.kl(many), torch.stack([one.kl(pick(many, i)) for i in range(6)]))


def pick(gaussian: Gaussian, i: int) -> Gaussian:
    return Gaussian(gaussian.mean[i], gaussian.scale[i], gaussian.full)


@pytest.mark.parametrize("form", FORMS)
def test_samples_have_the_moments(form):
    one = some(form, n=1)
    many = Gaussian(one.mean.expand(20_000, 3), one.scale, one.full)
    close_covariance(many.sample(rng(1)), one.mean[0], twin(one).covariance_matrix[0])


@pytest.mark.parametrize("form", FORMS)
def test_a_draw_is_a_map_of_its_noise(form):
    gaussian = some(form)
    noise = randn(6, 3, seed=5)
    close(gaussian.from_noise(noise), gaussian.mean + (gaussian.factor @ noise.unsqueeze(-1)).squeeze(-1))
    close(gaussian.from_noise(torch.zeros(6, 3, dtype=torch.float64)), gaussian.mean)
    drawn = gaussian.sample(rng(4))
    close(drawn, gaussian.from_noise(torch.randn(6, 3, generator=rng(4), dtype=torch.float64)))
    scale = gaussian.scale.clone().requires_grad_(True)
    Gaussian(gaussian.mean, scale, gaussian.full).from_noise(noise).sum().backward()
    assert bool(scale.grad.any())


# The kernel


SCHEDULES = {"short": short_schedule(), "random": random_schedule(12), "tiny beta": geometric(6, 1e-8, 30.0)}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_marginal_is_the_composition_of_the_steps(name):
    schedule = SCHEDULES[name]
    kernel, x0 = GaussianKernel(3, schedule), randn(3)
    moments = forward_moments(x0, torch.zeros(3, 3, dtype=torch.float64), schedule.beta)
    for t in range(1, schedule.T + 1):
        marginal = kernel.marginal(x0, t)
        close(marginal.mean, moments[t][0], rtol=1e-9)
        close(marginal.scale.square(), moments[t][1].diagonal(), rtol=1e-8, atol=0)


def test_pi_is_invariant():
    schedule = random_schedule(8)
    moments = forward_moments(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64), schedule.beta)
    kernel = GaussianKernel(2, schedule)
    x = kernel.prior.mean + kernel.prior.scale * randn(40_000, 2)
    for t in range(1, 9):
        close(moments[t][1], torch.eye(2, dtype=torch.float64))
        x = kernel.step(x, t).sample(rng(t))
    close_covariance(x, torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))


def test_a_step_is_reversible_in_pi():
    """Detailed balance: pi(a) T(b | a) = pi(b) T(a | b)."""
    kernel = GaussianKernel(3, random_schedule(5))
    a, b = randn(50, 3), randn(50, 3, seed=1)
    for t in range(1, 6):
        forward = kernel.prior.log_prob(a) + kernel.step(a, t).log_prob(b)
        close(forward, kernel.prior.log_prob(b) + kernel.step(b, t).log_prob(a), rtol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_posterior_is_bayes_rule(name):
    """log q(x_t | x_{t-1}) + log q(x_{t-1} | x_0) - log q(x_t | x_0), at points drawn from the chain."""
    schedule = SCHEDULES[name]
    kernel, x0, n = GaussianKernel(2, schedule), randn(200, 2), 200
    for t in range(2, schedule.T + 1):
        before = kernel.marginal(x0, t - 1).from_noise(randn(n, 2, seed=t))
        now = kernel.step(before, t).from_noise(randn(n, 2, seed=100 + t))
        bayes = (
            kernel.step(before, t).log_prob(now)
            + kernel.marginal(x0, t - 1).log_prob(before)
            - kernel.marginal(x0, t).log_prob(now)
        )
        close(kernel.posterior(x0, now, t).log_prob(before), bayes, rtol=1e-6, atol=1e-6)


def test_the_posterior_is_that_of_a_linear_gaussian_pair():
    schedule = short_schedule()
    kernel, x0, xt = GaussianKernel(2, schedule), randn(2), randn(5, 2, seed=1)
    moments = forward_moments(x0, torch.zeros(2, 2, dtype=torch.float64), schedule.beta)
    for t in range(2, 5):
        mean, covariance = condition(*moments[t - 1], float(schedule.beta[t]), xt)
        posterior = kernel.posterior(x0, xt, t)
        close(posterior.mean, mean)
        close(torch.diag_embed(posterior.scale.square().expand(2)), covariance)


def test_the_bridge_does_not_cancel_at_tiny_beta():
    """beta = 1e-8 everywhere: a -> (t-1)/t, b -> 1/t, v -> 1e-8 (t-1)/t, with errors of order beta."""
    kernel = GaussianKernel(1, from_beta(torch.tensor([0.0] + [1e-8] * 10, dtype=torch.float64)))
    for t in range(2, 11):
        a, b, v = (float(c) for c in kernel.bridge(t))
        assert a == pytest.approx((t - 1) / t, rel=1e-7)
        assert b == pytest.approx(1 / t, rel=1e-7)
        assert v == pytest.approx(1e-8 * (t - 1) / t, rel=1e-7)


def test_at_t_1_the_posterior_is_a_point_at_x0():
    a, b, v = GaussianKernel(1, short_schedule()).bridge(1)
    assert (float(a), float(b), float(v)) == (0, 1, 0)


@pytest.mark.parametrize("beta", [[0.0, 0.1, 0.5, 1.0], [0.0, 1e-8, 1.0]])
def test_a_chain_that_ends_in_pure_noise(beta):
    """alpha_bar_T = 0: x_T is pi whatever x_0, so the posterior is the marginal of T - 1."""
    kernel = GaussianKernel(2, from_beta(torch.tensor(beta, dtype=torch.float64)))
    x0, xt, T = randn(7, 2), randn(7, 2, seed=1), len(beta) - 1
    last = kernel.marginal(x0, T)
    close(last.mean, 0.0)
    close(last.scale, 1.0)
    posterior, before = kernel.posterior(x0, xt, T), kernel.marginal(x0, T - 1)
    close(posterior.mean, before.mean)
    close(posterior.scale, before.scale)
    assert bool(torch.isfinite(posterior.log_prob(x0)).all())


def test_times_may_be_a_tensor():
    kernel, t = GaussianKernel(2, linear(9)), torch.tensor([[2, 9, 3], [5, 5, 7]])
    x0, xt = randn(2, 3, 2), randn(2, 3, 2, seed=1)
    cases = ((kernel.step, (x0,)), (kernel.marginal, (x0,)), (kernel.posterior, (x0, xt)))
    for question, given in cases:
        many = question(*given, t)
        assert many.mean.shape == (2, 3, 2)
        for index in ((0, 0), (0, 1), (1, 2)):
            one = question(*(x[index] for x in given), int(t[index]))
            close(many.mean[index], one.mean)
            close(many.scale[index], one.scale)


def test_the_prior_is_a_standard_normal():
    prior, x = GaussianKernel(4, short_schedule()).prior, randn(5, 4)
    close(prior.log_prob(x), Normal(0, 1).log_prob(x).sum(-1))
    close(prior.entropy, 2 * (1 + math.log(2 * math.pi)))


# Widths


@pytest.mark.parametrize("form", FORMS)
def test_points_of_another_width_are_refused(form):
    """One column of a mean of three, or three columns where the law has one: broadcasting would answer."""
    gaussian, line = some(form), Gaussian(torch.zeros(1).double(), torch.ones(1).double())
    for law, x in ((gaussian, randn(6, 1)), (line, randn(6, 3)), (gaussian, randn(6, 2))):
        with pytest.raises(ValueError, match=r"x: need shape \(\.\.\., \d\), one number per dimension, got \(6, \d\)"):
            law.log_prob(x)
    for one, other in ((gaussian, line), (line, gaussian)):
        for question in (one.kl, one.cross_entropy):
            with pytest.raises(ValueError, match=r"other: need shape"):
                question(other)


@pytest.mark.parametrize(("scale", "full"), [((2,), False), ((3, 3), True), ((3,), True), ((), False), ((2, 2), True)])
def test_a_scale_fits_its_mean(scale, full):
    if (scale, full) == ((3, 3), True):
        Gaussian(randn(3), torch.eye(3).double(), full)
        return
    with pytest.raises(ValueError, match=r"scale: need shape \(\.\.\., d(, d)?\).* for a mean \(\.\.\., d\), got"):
        Gaussian(randn(3), torch.ones(scale).double(), full)


def test_bits_of_another_width_are_refused():
    three, one = Bernoulli(randn(3)), Bernoulli(randn(1))
    with pytest.raises(ValueError, match=r"x: need shape \(\.\.\., 3\)"):
        three.log_prob(torch.ones(5, 1))
    for question in (three.kl, three.cross_entropy):
        with pytest.raises(ValueError, match=r"other: need shape \(\.\.\., 3\)"):
            question(one)


@pytest.mark.parametrize("kernel", [GaussianKernel(3, short_schedule()), BinomialKernel(3, short_schedule())])
def test_states_of_another_width_are_refused(kernel):
    good, bad = torch.ones(4, 3).double(), torch.ones(4, 1).double()
    calls = {
        "x_prev": [lambda: kernel.step(bad, 2)],
        "x0": [lambda: kernel.marginal(bad, 2), lambda: kernel.posterior(bad, good, 2)],
        "xt": [lambda: kernel.posterior(good, bad, 2)],
    }
    for name, ways in calls.items():
        for way in ways:
            with pytest.raises(ValueError, match=rf"{name}: need shape \(\.\.\., 3\), .* got \(4, 1\)"):
                way()
