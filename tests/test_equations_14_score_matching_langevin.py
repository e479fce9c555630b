"""The claims on noise levels and Langevin's steps, on the line by plain sums over a grid, and by chains of moments.

Densities are written out here from exponentials alone: the first route knows nothing of the library's mixtures.
"""

import math

import numpy as np
import pytest
import torch
from problems import blobs, close, close_mean, rng
from scipy.linalg import expm
from scipy.stats import norm

from dpm_lib.diffusion import langevin
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.target_densities import Normal
from dpm_lib.sde import fokker_planck, processes

W, V_SHARE = 0.8, 0.35  # of the right mode: in the data, and in a model


class Line:
    """A grid wide enough for two modes at -m and m of variance u: both densities, and sums over it."""

    def __init__(self, m, u):
        self.m, self.u = m, u
        self.z = np.linspace(-m - 10 * math.sqrt(u), m + 10 * math.sqrt(u), 60_001)
        self.right, self.left = (norm.pdf(self.z, side, math.sqrt(u)) for side in (m, -m))

    def mean(self, p, f):
        return float((p * f).sum() * (self.z[1] - self.z[0]))

    def law(self, w):
        return w * self.right + (1 - w) * self.left

    def share(self, w):
        """P(right | z), by Bayes' rule."""
        return w * self.right / self.law(w)

    def score(self, w):
        """By the derivative of the density over the density."""
        slope = w * self.right * (self.m - self.z) + (1 - w) * self.left * (-self.m - self.z)
        return slope / (self.u * self.law(w))

    def fisher(self, w, v):
        return self.mean(self.law(w), (self.score(w) - self.score(v)) ** 2)

    def kl(self, w, v):
        return self.mean(self.law(w), np.log(self.law(w) / self.law(v)))


def two_modes(w, m, variance):
    return Mixture(
        torch.tensor([[-m], [m]], dtype=torch.float64), torch.tensor([1 - w, w], dtype=torch.float64), variance
    )


def bernoulli(a, b):
    return a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))


# What one level sees


@pytest.mark.equation("eq-sm-shares")
@pytest.mark.parametrize(("m", "u"), [(1.3, 0.4), (2.0, 1.7)])
def test_scores_of_two_modes(m, u):
    line = Line(m, u)
    logit = 2 * m * line.z / u + math.log(W / (1 - W))
    r = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(r, line.share(W), rtol=1e-9)
    np.testing.assert_allclose(line.score(W), (m * (2 * r - 1) - line.z) / u, atol=1e-9)
    target = two_modes(W, m, 0.25 * u).score(torch.from_numpy(line.z).unsqueeze(1), 0.75 * u)[:, 0]
    np.testing.assert_allclose(line.score(W), target, atol=1e-9)


@pytest.mark.equation("eq-sm-blind")
@pytest.mark.parametrize(("m", "u"), [(1.3, 0.4), (2.0, 1.7)])
def test_the_fisher_divergence_of_two_shares(m, u):
    line = Line(m, u)
    p, q = line.law(W), line.law(V_SHARE)
    gap = line.right * line.left / (p * q)
    np.testing.assert_allclose(line.share(W) - line.share(V_SHARE), (W - V_SHARE) * gap, atol=1e-12)
    whole = (2 * m / u) ** 2 * (W - V_SHARE) ** 2 * line.mean(1.0, line.right**2 * line.left**2 / (p * q**2))
    close(line.fisher(W, V_SHARE), whole, rtol=1e-8)


@pytest.mark.equation("eq-sm-blind-bound")
def test_the_bound_on_it_holds_and_is_met():
    def bound(m, u, w, v):
        shares = math.sqrt(w * (1 - w)) * v * (1 - v)
        return m**2 * (w - v) ** 2 / (2 * u**2 * shares) * math.exp(-(m**2) / (2 * u))

    for m, u, w, v in ((1.3, 0.4, W, V_SHARE), (2.0, 0.3, 0.1, 0.6), (2.0, 9.0, 0.5, 0.7)):
        assert Line(m, u).fisher(w, v) <= bound(m, u, w, v)
    # a little off the data's share, and modes far apart: the integral of 1 / cosh^3 is left of both means
    m, u, w, v = 2.0, 0.1, 0.2, 0.201  # given
    close(Line(m, u).fisher(w, v) / bound(m, u, w, v), math.sqrt(math.pi * u / 8) / m, rtol=2e-2)
    # equal shares, and noise far above the modes: both inequalities between means are met
    close(Line(1.0, 1e4).fisher(0.5, 0.5 + 1e-3), bound(1.0, 1e4, 0.5, 0.5 + 1e-3), rtol=1e-3)
    line = Line(1.7, 0.6)  # the integral of the root: exp(-m^2 / 2u)
    close(line.mean(1.0, np.sqrt(line.right * line.left)), math.exp(-(1.7**2) / (2 * 0.6)), rtol=1e-9)


@pytest.mark.equation("eq-sm-blind-kl")
def test_the_kl_sees_the_shares():
    for m, u in ((1.0, 0.1), (1.0, 0.7), (1.0, 5.0)):
        clear = norm.cdf(m / math.sqrt(u))
        seen = [share * clear + (1 - share) * (1 - clear) for share in (W, V_SHARE)]
        assert bernoulli(*seen) - 1e-9 <= Line(m, u).kl(W, V_SHARE) <= bernoulli(W, V_SHARE) + 1e-9
    far = Line(3.0, 0.2)  # both bounds are met
    close(far.kl(W, V_SHARE), bernoulli(W, V_SHARE), rtol=1e-8)


@pytest.mark.equation("eq-sm-blind-area")
def test_all_levels_together_see_the_kl():
    m, variance, t0 = 1.2, 0.15, 0.05
    node, weight = np.polynomial.legendre.leggauss(80)
    low, high = math.log(t0), math.log(1e5)
    logs, weight = low + (high - low) * (node + 1) / 2, weight * (high - low) / 2
    slope = [math.exp(x) * Line(m, variance + math.exp(x)).fisher(W, V_SHARE) for x in logs]
    rest = 2 * m**2 * (W - V_SHARE) ** 2 / 1e5  # beyond: F = 4 m^2 (w - v)^2 / t^2
    close(0.5 * float(weight @ np.array(slope)) + rest, Line(m, variance + t0).kl(W, V_SHARE), rtol=1e-6)


# Langevin at one level


@pytest.mark.equation("eq-sm-bias")
@pytest.mark.parametrize(("u", "a"), [(0.7, 0.3), (0.7, 2.1), (3.0, 0.5)])
def test_the_variance_that_unadjusted_langevin_keeps(u, a):
    """Fixed point of the variance of z' = z - a z / 2u + sqrt(a) noise, by repetition from afar."""
    variance = 9.0
    for _ in range(2000):
        variance = (1 - a / (2 * u)) ** 2 * variance + a
    close(variance, u / (1 - a / (4 * u)), rtol=1e-9)
    close(variance, langevin.stationary_variance(u, a), rtol=1e-9)
    one = Mixture(torch.tensor([[1.5]], dtype=torch.float64), torch.ones(1), 0.4 * u)
    z = torch.linspace(-3, 3, 5, dtype=torch.float64).unsqueeze(1)
    step = langevin.mean_after(one.score, z, 0.6 * u, a)
    close(step - 1.5, (1 - a / (2 * u)) * (z - 1.5))


def chain(w, m, u, places=241):
    """The generator of dz = s/2 ds + dW on a grid, and the stationary law: reversible, as the process is."""
    reach = m + 4.5 * math.sqrt(u)
    target = two_modes(w, m, u)
    z = np.linspace(-reach, reach, places)
    process = processes.langevin(target.score, 0.5, 1.0)
    generator = fokker_planck.generator(process, z).toarray()
    p = np.exp(target.log_prob(torch.from_numpy(z).unsqueeze(1)).numpy())
    return z, generator, p / p.sum()


@pytest.mark.equation("eq-sm-slow")
def test_memory_lasts_at_least_so_long():
    """Correlations by the matrix exponential of the chain; the rate from the derivative of f, by differences."""
    z, generator, p = chain(W, 1.2, 0.35)
    room = 2e-3  # given: what the grid of the chain is off by
    functions = (np.tanh(3 * z), z, z**2 + z)  # given
    for f in functions:
        slope, centred = np.gradient(f, z), f - p @ f
        variance = p @ f**2 - (p @ f) ** 2
        rate = (p @ slope**2) / (2 * variance)
        close((p * centred) @ f, variance)
        close(-(p * centred) @ (generator @ f) / variance, rate, rtol=5e-3)  # at 0 it is met, to first order
        for s in (0.3, 2.0, 20.0):
            correlation = (p * centred) @ (expm(s * generator) @ f) / variance
            assert correlation >= math.exp(-rate * s) - room


@pytest.mark.equation("eq-sm-slow-rate")
def test_the_rate_of_the_share():
    for m, u, w in ((1.3, 0.4, W), (2.0, 0.1, 0.2), (1.0, 9.0, 0.6)):
        line = Line(m, u)
        r, p = line.share(w), line.law(w)
        slope = np.gradient(r, line.z)
        variance = line.mean(p, (r - w) ** 2)
        rate = 0.5 * line.mean(p, slope**2) / variance
        direct = 0.5 * (2 * m / u) ** 2 * line.mean(p, (r * (1 - r)) ** 2) / variance
        bound = m**2 * math.sqrt(w * (1 - w)) / (4 * u**2 * variance) * math.exp(-(m**2) / (2 * u))
        close(rate, direct, rtol=1e-5)
        assert rate <= bound
        if m == 2.0:  # far apart: the integral of 1 / cosh^3 is left
            close(rate / bound, math.sqrt(math.pi * u / 8) / m, rtol=2e-2)
        close(variance, w * (1 - w) - line.mean(p, r * (1 - r)), rtol=1e-9)
    assert rate / bound == pytest.approx(1, abs=0.3)  # the last: little is lost where the modes run together


# Down a ladder


@pytest.mark.equation("eq-sm-ladder")
def test_the_ladder_on_a_gaussian():
    """Exact mean and variance, level by level, against draws; and the two ends of t / (v + t)."""
    v, ratio, steps, levels = 0.4, 0.5, 3, [8.0, 1.0, 0.1]
    mean, variance = -0.9, 10.0
    for t in levels:
        for _ in range(steps):
            mean *= 1 - ratio * t / (2 * (v + t))
            variance = (1 - ratio * t / (2 * (v + t))) ** 2 * variance + ratio * t
    one = Mixture(torch.tensor([[2.0]], dtype=torch.float64), torch.ones(1), v)
    start = 2.0 - 0.9 + math.sqrt(10.0) * torch.randn(40_000, 1, generator=rng(0), dtype=torch.float64)
    seen = []
    z = langevin.annealed_langevin(one.score, start, levels, steps, rng(1), ratio, lambda k, t, z: seen.append((k, t)))
    assert seen == [(k + 1, levels[k // 3]) for k in range(9)]
    close_mean(z[:, 0] - 2.0, mean)
    close_mean((z[:, 0] - 2.0 - mean).square(), variance)


def tall(z, w, m, v, d, b):
    """(w N(z; m, v I))^b for points z (n, d)."""
    square = ((z - m) ** 2).sum(1)
    return (w * np.exp(-square / (2 * v)) / (2 * math.pi * v) ** (d / 2)) ** b


@pytest.mark.equation("eq-sm-power-gaussian")
def test_for_one_gaussian_noise_is_temperature():
    v, t, z = 0.3, 0.9, np.linspace(-4, 5, 7)
    b = v / (v + t)
    log_power = b * norm.logpdf(z, 0.7, math.sqrt(v))
    log_noise = norm.logpdf(z, 0.7, math.sqrt(v + t))
    np.testing.assert_allclose(np.diff(log_power), np.diff(log_noise), atol=1e-12)


@pytest.mark.equation("eq-sm-tempered-mass")
@pytest.mark.parametrize(("d", "b"), [(1, 0.3), (1, 1.0), (2, 0.45)])
def test_the_mass_of_a_tempered_mode(d, b):
    w, v = 0.3, 0.2
    axis = np.linspace(-9, 9, 601)
    z = np.stack(np.meshgrid(*d * [axis]), -1).reshape(-1, d)
    mass = tall(z, w, 0.4, v, d, b).sum() * (axis[1] - axis[0]) ** d
    close(mass, w**b * (2 * math.pi * v) ** (d * (1 - b) / 2) * b ** (-d / 2), rtol=1e-9)


@pytest.mark.equation("eq-sm-tempered-share")
@pytest.mark.parametrize("b", [0.2, 0.6])
def test_shares_of_tempered_and_of_noisy_modes(b):
    """Far modes of unequal width in the plane: by sums on a grid around each."""
    w, (v1, v2), d, far = 0.8, (0.3, 0.05), 2, 60.0
    axis = np.linspace(-12, 12, 801)
    around = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, d)
    masses = []
    for side in (1, -1):
        z = around + np.array([side * far / 2, 0])
        right, left = (
            tall(z, share, np.array([place, 0]), v, d, 1.0)
            for share, place, v in ((w, far / 2, v1), (1 - w, -far / 2, v2))
        )
        masses.append(((right + left) ** b).sum())  # given: of equal cells
    odds = (w / (1 - w)) ** b * (v1 / v2) ** (d * (1 - b) / 2)
    close(masses[0] / sum(masses), odds / (1 + odds), rtol=1e-9)
    noisy = two_modes(w, far / 2, v1)  # given: with noise the share stays
    close(1 - float(noisy.cdf(torch.zeros(1, 1), 20.0)), w, rtol=1e-9)


# With weights


@pytest.mark.equation("eq-sm-weighted")
def test_weights_of_whole_paths_average_to_the_target():
    """One level, one step, on the line: E[w] and E[w z'^2] by a sum over both ends of the step."""
    t, ratio, target = 0.5, 1.3, two_modes(0.3, 0.8, 0.2)
    a = ratio * t
    z = np.linspace(-9, 9, 1201)
    dz, column = z[1] - z[0], torch.from_numpy(z).unsqueeze(1)
    m = z + 0.5 * a * target.score(column, t)[:, 0].numpy()
    forth = norm.pdf(z[None, :], m[:, None], math.sqrt(a))  # from row to column
    back = forth.T  # the same step, taken from the other end
    p, q = target.log_prob(column, t).exp().numpy(), norm.pdf(z, 0.0, 1.4)
    path = q[:, None] * forth
    close(path.sum() * dz**2, 1.0, rtol=1e-6)
    weight = p[None, :] * back / path
    close((path * weight).sum() * dz**2, 1.0, rtol=1e-6)
    exact = float((p * z**2).sum() * dz)
    close((path * weight * z[None, :] ** 2).sum() * dz**2, exact, rtol=1e-6)
    assert abs(float((path * z[None, :] ** 2).sum() * dz**2) - exact) > 0.1  # given: unweighted, it is off

    seen = []  # and the library's weights are these
    found = langevin.weighted_langevin(
        target, Normal(1, 1.4), [t], 1, 5, rng(2), ratio, lambda k, t, x, w: seen.append(x)
    )
    first = Normal(1, 1.4).sample(5, rng(2))[:, 0].numpy()
    last = seen[0][:, 0].numpy()
    at = lambda f, x: np.interp(x, z, f)  # noqa: E731
    log_w = np.log(at(p, last) / at(q, first)) + norm.logpdf(first, at(m, last), math.sqrt(a))
    log_w -= norm.logpdf(last, at(m, first), math.sqrt(a))
    np.testing.assert_allclose(found.log_weights, log_w, atol=2e-3)


@pytest.mark.equation("eq-sm-weighted")
def test_weights_down_a_ladder_in_the_plane():
    """The path is that of the ladder without weights; each weight is a ratio of two products of densities."""
    start, levels, told = Normal(2, 1.5), [2.0, 0.4], []
    found = langevin.weighted_langevin(blobs(), start, levels, 2, 4, rng(7), 0.5, lambda *row: told.append(row))
    generator, path = rng(7), []
    z = start.sample(4, generator)
    langevin.annealed_langevin(blobs().score, z, levels, 2, generator, 0.5, lambda k, t, z: path.append(z))
    assert [row[:2] for row in told] == [(1, 2.0), (2, 2.0), (3, 0.4), (4, 0.4)]
    log_w, before = -start.log_prob(z), z
    for (_, t, seen, log_weights), after in zip(told, path, strict=True):
        a = 0.5 * t
        forth, back = (x + 0.5 * a * blobs().score(x, t) for x in (before, after))
        log_w = log_w + ((after - forth).square().sum(1) - (before - back).square().sum(1)) / (2 * a)
        close(seen, after)
        close(log_weights, log_w + blobs().log_prob(after, t))
        before = after
    close(found.log_weights, log_w + blobs().log_prob(before, 0.4))
