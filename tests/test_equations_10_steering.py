"""The equations of the chapter on guidance, each by two routes."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from problems import close, close_mean, gaussian, randn, rng
from scipy.integrate import quad, solve_ivp
from scipy.interpolate import CubicSpline
from scipy.special import ndtr

from dpm_lib.diffusion.guidance import Classified, Guided
from dpm_lib.diffusion.guidance_weights import GuidedDensity, corrected, rate, weighted_guidance
from dpm_lib.diffusion.sampler_law import sampler_law
from dpm_lib.diffusion.samplers import MixtureDenoiser, ancestral, ddim, family, heun
from dpm_lib.diffusion.schedules import from_tau, geometric
from dpm_lib.diffusion.tilted_law import TiltedLaw
from dpm_lib.diffusion.variance_exploding import brownian
from dpm_lib.probability.mixtures import Mixture

PLANE = torch.tensor([[1.2, 0.3], [-0.8, 0.9], [-0.2, -1.1]], dtype=torch.float64)
SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
ALL = Mixture(PLANE, SHARES, 0.2)
CLASS = Mixture(PLANE[1:], SHARES[1:] / 0.5, 0.2)
LINE = torch.tensor([[-1.0], [0.3], [1.4]], dtype=torch.float64)
LINE_ALL = Mixture(LINE, torch.tensor([0.5, 0.1, 0.4], dtype=torch.float64), 0.1)
LINE_CLASS = Mixture(LINE[1:], torch.tensor([0.2, 0.8], dtype=torch.float64), 0.1)
Z = randn(12, 2, seed=1)


def log_class(z, t):
    """log p_t(c | z), from the shares of the components: not by a ratio of densities."""
    logs = SHARES.log() - (z.unsqueeze(1) - PLANE).square().sum(-1) / (2 * (0.2 + t))
    return torch.log_softmax(logs, 1)[:, 1:].logsumexp(1)


def slope(f, z):
    """The gradient of the sum of f at z."""
    at = z.clone().requires_grad_()
    return torch.autograd.grad(f(at).sum(), at)[0]


def normal(mean, variance):
    return gaussian(torch.tensor([mean], dtype=torch.float64), variance)


def guided(conditional, unconditional, w, schedule, **own):
    return Guided(MixtureDenoiser(conditional, schedule), MixtureDenoiser(unconditional, schedule), w, **own)


@pytest.mark.equation("eq-st-bayes")
@pytest.mark.parametrize("t", [0.05, 0.7, 6.0])
def test_bayes_rule_for_scores(t):
    close(CLASS.score(Z, t), ALL.score(Z, t) + slope(lambda z: log_class(z, t), Z), rtol=1e-9, atol=1e-10)


@pytest.mark.equation("eq-st-classifier")
def test_a_classifier_moves_the_guess():
    schedule = geometric(20, beta_1=1e-2, tau_T=30.0)
    for t in (1, 9, 20):
        tau, root = float(schedule.tau[t]), schedule.alpha_bar[t].sqrt()
        model = Classified(MixtureDenoiser(ALL, schedule), lambda x, t, tau=tau, root=root: log_class(x / root, tau))
        close(model.denoise(root * Z, t), CLASS.posterior_mean(Z, tau), rtol=1e-8, atol=1e-9)
        step = tau * root * slope(lambda x, tau=tau, root=root: log_class(x / root, tau), root * Z)
        close(ALL.posterior_mean(Z, tau) + step, CLASS.posterior_mean(Z, tau), rtol=1e-8, atol=1e-9)


def laplacian(f, z):
    """The trace of the second derivatives of f at z (n, d): (n,)."""
    return torch.stack([torch.autograd.functional.hessian(lambda x: f(x.unsqueeze(0)).sum(), row).trace() for row in z])


def speed(f, z, t):
    """d/dt of f(z, t), by differences of fourth order."""
    h = 1e-3
    return (8 * (f(z, t + h) - f(z, t - h)) - (f(z, t + 2 * h) - f(z, t - 2 * h))) / (12 * h)


@pytest.mark.equation("eq-st-heat")
def test_the_heat_equation_of_a_logarithm():
    for t in (0.3, 1.7):
        right = 0.5 * laplacian(lambda z, t=t: ALL.log_prob(z, t), Z) + 0.5 * ALL.score(Z, t).square().sum(1)
        close(speed(ALL.log_prob, Z, t), right, rtol=1e-7, atol=1e-8)


@pytest.mark.equation("eq-st-square")
@pytest.mark.parametrize("w", [0.3, 1.0, 4.0])
def test_a_square_is_not_linear(w):
    a, b = randn(9, 3, seed=2), randn(9, 3, seed=3)
    left = (1 - w) * a.square().sum(1) + w * b.square().sum(1)
    between = ((1 - w) * a + w * b).square().sum(1)
    close(left, between + w * (1 - w) * (a - b).square().sum(1))


@pytest.mark.equation("eq-st-defect")
@pytest.mark.parametrize("w", [0.0, 0.4, 1.0, 3.0])
def test_what_the_guided_densities_have_too_much(w):
    rho = GuidedDensity(CLASS, ALL, w)
    for t in (0.3, 1.7):
        heat = 0.5 * laplacian(lambda z, t=t: rho.log_prob(z, t), Z) + 0.5 * rho.score(Z, t).square().sum(1)
        apart = slope(lambda z, t=t: log_class(z, t), Z).square().sum(1)
        close(speed(rho.log_prob, Z, t), heat + 0.5 * w * (1 - w) * apart, rtol=1e-6, atol=1e-7)


@pytest.mark.equation("eq-st-two-normals")
@pytest.mark.parametrize("w", [0.3, 1.0, 2.0, 3.5])
def test_two_normal_laws_by_quadrature_and_by_sampling_laws(w):
    v_p, v_q = 1.3, 0.4
    tilt = 1 / ((1 - w) / v_p + w / v_q)
    flow = v_p ** (1 - w) * v_q**w
    noisy = (v_p * v_q - v_p ** (2 - 2 * w) * v_q ** (2 * w)) / ((2 * w - 1) * (v_p - v_q))
    close(TiltedLaw(normal(0, v_q), normal(0, v_p), w).std() ** 2, tilt, rtol=1e-9)

    def pull(t):
        return (1 - w) / (v_p + t) + w / (v_q + t)

    top = 1e9
    exponent, _ = quad(lambda u: math.exp(u) * pull(math.exp(u)), math.log(1e-12), math.log(top), limit=400)
    close(top * math.exp(-exponent), flow, rtol=1e-6)

    def kept(t):  # the square of the share of noise at t that is left at 0
        return math.exp(-2 * quad(pull, 0, t)[0])

    close(quad(kept, 0, np.inf, limit=200)[0], noisy, rtol=1e-6)
    schedule = geometric(160, beta_1=1e-4, tau_T=1e5)
    model = guided(normal(0, v_q), normal(0, v_p), w, schedule)
    close(sampler_law(heun, model, range(160, -1, -1), places=401).std() ** 2, flow, rtol=0.01)
    coarse, fine = (sampler_law(family, model, range(160, -1, -by), places=401, lam=1.0).std() ** 2 for by in (2, 1))
    close(2 * fine - coarse, noisy, rtol=0.03)  # its error is of first order


@pytest.mark.equation("eq-st-split")
def test_the_guided_drift_is_the_flow_of_the_class_and_a_corrector():
    for w in (0.6, 2.0, 5.0):
        a, b = ALL.score(Z, 0.6), CLASS.score(Z, 0.6)
        corrector = GuidedDensity(CLASS, ALL, 2 * w - 1).score(Z, 0.6)  # the tilt of scale 2 w - 1
        close(GuidedDensity(CLASS, ALL, w).score(Z, 0.6), 0.5 * b + 0.5 * corrector)
        close(corrector, (2 - 2 * w) * a + (2 * w - 1) * b)


@pytest.mark.equation("eq-st-memory")
@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0, 1.5])
def test_how_much_a_way_back_remembers(lam):
    """The mean of the way back from a clump of variance 1: by its drift, and two starts with the same noise."""
    first, m, clump = 40.0, 0.7, normal(0.7, 1.0)
    left = (1 + first) ** (-0.5 * (1 + lam**2))
    back = brownian().reverse(clump.score, noise=lam)

    def drift(t, z):
        return back.mu(torch.as_tensor(z).unsqueeze(0), t).numpy()[0]

    path = solve_ivp(drift, (first, 0.0), [m + 3.0], rtol=1e-9, atol=1e-12)
    close(path.y[0, -1] - m, 3 * left, rtol=1e-6)
    schedule = from_tau(torch.cat([torch.zeros(1), torch.logspace(-5, math.log10(first), 600)]).double())
    start = (m + torch.tensor([[3.0], [5.0]], dtype=torch.float64)) * schedule.alpha_bar[-1].sqrt()
    end = family(MixtureDenoiser(clump, schedule), start, range(600, -1, -1), lambda mean, width: mean, lam=lam)
    close(end[1] - end[0], 2 * left, rtol=0.04)


def sure(x):
    """p(c | x) of clean data on the line, from the components' shares."""
    logs = LINE_ALL.weights.log() - (x - LINE[:, 0]).square() / 0.2
    return torch.softmax(logs, 1)[:, 1:].sum(1)


@pytest.mark.equation("eq-st-reject")
@pytest.mark.parametrize("w", [1.5, 4.0])
def test_the_tilt_is_the_class_thinned(w):
    exact, n = TiltedLaw(LINE_CLASS, LINE_ALL, w), 40_000
    x = LINE_CLASS.sample(n, rng(3))
    kept = torch.rand(n, generator=rng(4), dtype=torch.float64) < sure(x) ** (w - 1)
    close_mean(kept.double().unsqueeze(1), 0.5 ** (w - 1) * math.exp(exact.log_z))
    close_mean(x[kept], exact.mean())
    close_mean((x[kept] - exact.mean()).square(), exact.std() ** 2)
    every = sum(
        float(share) * quad(lambda y, c=float(c): float(sure(torch.tensor([[y]]).double())) ** (w - 1)
        * math.exp(-((y - c) ** 2) / 0.2) / math.sqrt(0.2 * math.pi), float(c) - 3, float(c) + 3)[0]
        for share, c in zip(LINE_CLASS.weights, LINE[1:, 0], strict=True)
    )  # fmt: skip
    close(every, 0.5 ** (w - 1) * math.exp(exact.log_z), rtol=1e-6)


@pytest.mark.equation("eq-st-twist")
@pytest.mark.parametrize("w", [0.5, 3.0])
def test_the_right_twist_is_an_expectation_that_makes_the_noisy_tilt(w):
    """E[p(c | x_0)^w | z] from draws of x_0 given z on a grid; its product with P_t is the tilt's places with noise."""
    exact, t = TiltedLaw(LINE_CLASS, LINE_ALL, w), 0.4
    y = torch.linspace(-5, 5, 4001, dtype=torch.float64)
    z = torch.linspace(-2, 2.5, 9, dtype=torch.float64)
    prior = LINE_ALL.log_prob(y.unsqueeze(1))
    given = torch.softmax(prior - (z.unsqueeze(1) - y).square() / (2 * t), 1)  # the law of x_0, given z
    twist = given @ sure(y.unsqueeze(1)) ** w
    product = LINE_ALL.log_prob(z.unsqueeze(1), t) + twist.log() - w * math.log(0.5) - exact.log_z
    close(exact.places().log_prob(z.unsqueeze(1), t), product, rtol=0, atol=1e-7)
    plain = (given @ sure(y.unsqueeze(1))) ** w  # what guidance uses
    assert bool((plain < twist).all() if w > 1 else (plain > twist).all())  # Jensen


@pytest.mark.equation("eq-st-corrector")
@pytest.mark.parametrize(
    ("sampler", "own", "without", "allowed"), [(ddim, {}, 0.25, 0.025), (family, {"lam": 1.0}, 0.875 / 3, 0.04)]
)
def test_with_the_weights_it_is_the_tilt(sampler, own, without, allowed):
    """In many short steps: by the flow on places of a table, without any draw, and by the SDE on draws.

    Unweighted, the variance is that of eq-st-two-normals, 1/4 or 7/24; that of the tilt is 1/3, and its mean 4/3.
    """
    T, schedule = 200, geometric(200, beta_1=1e-3, tau_T=1e5)
    model = guided(normal(1.0, 0.5), normal(0.0, 1.0), 2.0, schedule)
    x = torch.linspace(-8, 8, 801, dtype=torch.float64).unsqueeze(1) if not own else randn(6000, 1, seed=5)
    start = -0.5 * x[:, 0].square() if not own else torch.zeros(len(x), dtype=torch.float64)
    found = corrected(sampler, model, x, range(T, -1, -1), rng(6), **own)
    values = found.x[:, 0]
    for log_weights, mean, variance in ((start, None, without), (start + found.log_weights, 4 / 3, 1 / 3)):
        share = torch.softmax(log_weights, 0)
        first, second = float(share @ values), float(share @ values.square())
        close(second - first**2, variance, rtol=0, atol=allowed)
        assert mean is None or abs(first - mean) < 0.03


@pytest.mark.equation("eq-st-corrector")
def test_the_rate_in_guesses():
    schedule = geometric(20, beta_1=1e-2, tau_T=30.0)
    for w in (0.5, 3.0):
        for t in (3, 20):
            tau, root = float(schedule.tau[t]), schedule.alpha_bar[t].sqrt()
            apart = slope(lambda z, tau=tau: log_class(z, tau), Z).square().sum(1)
            close(rate(guided(CLASS, ALL, w, schedule), root * Z, t), 0.5 * w * (w - 1) * apart, rtol=1e-7, atol=1e-9)


@pytest.mark.equation("eq-st-step-weight")
@pytest.mark.parametrize("w", [0.5, 2.0])
def test_weights_are_exact_at_three_steps(w):
    """Mean weight and weighted moments, by any score at all: of the guided one, of the class, and of a wrong one."""
    exact, start = TiltedLaw(LINE_CLASS, LINE_ALL, w), normal(0.3, 9.0)
    density, levels = GuidedDensity(LINE_CLASS, LINE_ALL, w), [4.0, 1.0, 0.2, 0.0]
    scores = None, LINE_CLASS.score, lambda z, t: 0.7 * LINE_CLASS.score(z, t)  # given
    for score in scores:
        r = weighted_guidance(density, start, levels, 40_000, rng(7), threshold=0.0, score=score)
        share, off = (r.log_weights - exact.log_z).exp(), r.x[:, 0] - exact.mean()
        assert abs(float(share.mean()) - 1) < 0.03  # 3 standard errors, of a run that is right
        assert abs(float((share * off).mean())) < 0.025
        assert abs(float((share * (off.square() - exact.std() ** 2)).mean())) < 0.02


@pytest.mark.equation("eq-st-step-weight")
def test_weights_are_exact_in_the_plane():
    """Two normal laws: their tilt and its normaliser by completing the square, coordinate by coordinate."""
    w, m, v_q = 2.0, torch.tensor([0.8, -0.3], dtype=torch.float64), 0.5  # given
    precision = (1 - w) + w / v_q
    mean = w * m / v_q / precision
    log_z = float((0.5 * (mean.square() * precision - w * m.square() / v_q - math.log(precision * v_q**w))).sum())
    density, start = GuidedDensity(gaussian(m, v_q), gaussian(0 * m, 1.0), w), gaussian(0 * m, 6.0)
    r = weighted_guidance(density, start, [5.0, 1.5, 0.4, 0.1, 0.0], 40_000, rng(8), threshold=0.0)
    share = (r.log_weights - log_z).exp().unsqueeze(1)
    close(share.mean(), 1.0, rtol=0.04)
    close((share * r.x).mean(0), mean, rtol=0, atol=0.04)
    close((share * (r.x - mean).square()).mean(0), 1 / precision, rtol=0.06)


@pytest.mark.equation("eq-st-step-weight")
def test_particles_are_resampled_where_the_effective_size_is_too_small():
    """Until then they go the way of those that never are."""
    density, start, levels = GuidedDensity(LINE_CLASS, LINE_ALL, 5.0), normal(0.3, 9.0), [4.0, 2.0, 1.0, 0.5, 0.0]

    def way(threshold):
        asked = []  # the states that are moved, by level: those that were resampled, if they were

        def score(z, t):
            asked.append(z)
            return density.score(z, t)

        weighted_guidance(density, start, levels, 400, rng(9), threshold=threshold, score=score)
        return asked

    never = way(0.0)
    assert bool((never[0] == start.sample(400, rng(9))).all())
    for threshold in (0.005, 0.999):  # 2 of 400 is too few to ever be met, and 399.6 is always
        same = [bool((a == b).all()) for a, b in zip(never, way(threshold), strict=True)]
        assert same == [threshold < 0.5] * 4


@pytest.mark.equation("eq-st-autoguidance")
def test_a_worse_model_repairs_a_bad_one():
    true, good, bad = 0.5, 0.7, 1.4
    w = math.log(bad / true) / math.log(bad / good)
    assert w > 1
    schedule = geometric(160, beta_1=1e-4, tau_T=1e5)
    law = sampler_law(heun, guided(normal(0.4, good), normal(0.4, bad), w, schedule), range(160, -1, -1), places=401)
    close([law.mean(), law.std() ** 2], [0.4, true], rtol=0.02)
    other = sampler_law(
        heun, guided(normal(0.4, good), normal(0.4, bad), 1.3, schedule), range(160, -1, -1), places=401
    )
    close(other.std() ** 2, bad**-0.3 * good**1.3, rtol=0.02)  # at another scale it is another


# The exact law of the guided chain, from the chapter's own formulas, on a grid of numpy's.


def moments(z, t, law):
    """E[x_0 | z] of a mixture on the line, by its components."""
    centers, weights, v = law.centers[:, 0].numpy(), law.weights.numpy(), law.variance
    logs = np.log(weights) - (z[:, None] - centers) ** 2 / (2 * (v + t))
    share = np.exp(logs - logs.max(1, keepdims=True))
    middle = (share @ centers) / share.sum(1)
    return middle + v / (v + t) * (z - middle)


def reference(w):
    """Places z at tau_1 with their density, of DDPM's chain, in z and not in x."""
    taus = [*np.geomspace(90.0, 0.01, 9)]
    z = np.linspace(-14, 14, 12_001) * math.sqrt(1 + taus[0]) / 1.7
    density = np.exp(-0.5 * z**2 / (1 + taus[0])) / math.sqrt(2 * math.pi * (1 + taus[0]))
    for t, s in pairwise(taus):
        mass = density * (z[1] - z[0])
        guess = (1 - w) * moments(z, t, LINE_ALL) + w * moments(z, t, LINE_CLASS)
        mean = guess + (s / t) * (z - guess)  # of the bridge
        width = math.sqrt(s * (t - s) / t)
        low, high = mean[mass > 1e-18].min() - 9 * width, mean[mass > 1e-18].max() + 9 * width
        new = np.linspace(low, high, 3001)
        kept = mass > 1e-18
        density = np.zeros_like(new)
        for part in np.array_split(np.arange(len(new)), 60):
            off = (new[part, None] - mean[kept]) / width
            density[part] = np.exp(-0.5 * off**2) @ mass[kept] / (width * math.sqrt(2 * math.pi))
        z = new
    return taus, z, density


def test_the_law_of_the_guided_chain_to_a_billionth():
    """Total variation over the cells of the library's table, after the last noisy step and the map to level 0."""
    for w in (2.0, 3.0):
        taus, z, density = reference(w)
        schedule = from_tau(torch.tensor([0.0, *taus[::-1]], dtype=torch.float64))
        law = sampler_law(ancestral, guided(LINE_CLASS, LINE_ALL, w, schedule), range(9, -1, -1))
        end = (1 - w) * moments(z, taus[-1], LINE_ALL) + w * moments(z, taus[-1], LINE_CLASS)
        assert (np.diff(end) > 0).all()
        h = z[1] - z[0]
        slopes = np.gradient(density, h, edge_order=2)
        steps = 0.5 * h * (density[1:] + density[:-1]) + h * h / 12 * (slopes[:-1] - slopes[1:])
        cdf = np.concatenate([[0.0], steps.cumsum()])
        at = from_ends(law.z.numpy(), end, z, cdf)
        off = law.cdf.numpy() - at
        assert 0.5 * (np.abs(np.diff(off)).sum() + abs(off[0]) + abs(off[-1])) < 1e-9


def from_ends(places, end, z, cdf):
    """The distribution function at ``places`` of the end of a rising map from z, by cubic interpolation."""
    inside = (places > end[0]) & (places < end[-1])
    value = np.where(places <= end[0], cdf[0], cdf[-1])
    value[inside] = CubicSpline(z, cdf)(CubicSpline(end, z)(places[inside]))
    return value


def test_heuns_law_comes_to_that_of_the_guided_flow():
    """Every place followed by a solver of order 8 with its own tolerance; Heun's steps come to it as 1 / steps^2."""
    w, top = 2.0, 400.0
    start = np.linspace(-5, 5, 201) * math.sqrt(1 + top)
    path = solve_ivp(
        lambda u, z: 0.5 * (z - (1 - w) * moments(z, math.exp(u), LINE_ALL) - w * moments(z, math.exp(u), LINE_CLASS)),
        (math.log(top), math.log(1e-3)), start, method="DOP853", rtol=1e-11, atol=1e-12,
    )  # fmt: skip
    end = (1 - w) * moments(path.y[:, -1], 1e-3, LINE_ALL) + w * moments(path.y[:, -1], 1e-3, LINE_CLASS)
    exact, errors = ndtr(start / math.sqrt(1 + top)), []
    for T in (100, 200, 400):
        tau = torch.cat([torch.zeros(1).double(), torch.logspace(-3, math.log10(top), T, dtype=torch.float64)])
        law = sampler_law(heun, guided(LINE_CLASS, LINE_ALL, w, from_tau(tau)), range(T, -1, -1), places=2001)
        errors.append(float(np.abs(from_ends(end, law.z.numpy(), law.z.numpy(), law.cdf.numpy()) - exact).max()))
    assert errors[2] < 1.5e-4
    assert 3 < errors[0] / errors[1] < 5.5
