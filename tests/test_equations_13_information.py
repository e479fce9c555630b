"""Every claim of the chapter on information, by two routes; laws on the line and in the plane by plain sums on a grid.

The law in the plane has clumps that lie askew: a missing d, trace or determinant shows.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from problems import blobs, close, close_mean, exact_model, random_schedule, rng, two_points
from scipy.integrate import quad
from scipy.stats import norm

from dpm_lib.information import i_mmse, mmse
from dpm_lib.information.mmse import blurred_entropy
from dpm_lib.probability.mixtures import Mixture, finite_set

Z = np.linspace(-30, 30, 30_001)
DZ = Z[1] - Z[0]


class Line:
    """sum_k w_k N(c_k, variance) on the line, blurred by t: density, score, guess and its error, by hand."""

    d = 1

    def __init__(self, centers, weights, variance):
        self.c, self.w, self.variance = np.array(centers), np.array(weights), variance

    def parts(self, t, z=Z):
        width = self.variance + t
        return self.w * np.exp(-((z[:, None] - self.c) ** 2) / (2 * width)) / math.sqrt(2 * math.pi * width)

    def p(self, t):
        return self.parts(t).sum(1)

    def guess(self, t, z=Z):
        parts, width = self.parts(t, z), self.variance + t
        means = (t * self.c + self.variance * z[:, None]) / width
        return (parts * means).sum(1) / np.maximum(parts.sum(1), 1e-300)

    def entropy(self, t):
        p = self.p(t)
        return -float((p * np.log(np.maximum(p, 1e-300))).sum() * DZ)

    def error(self, t):
        """E y^2 - E guess^2: another form of the mmse than the library's."""
        square = self.w @ self.c**2 + self.variance
        return float(square - (self.p(t) * self.guess(t) ** 2).sum() * DZ)

    def information(self, t):
        return self.entropy(t) - 0.5 * math.log(2 * math.pi * math.e * t)

    @property
    def mixture(self):
        centers = torch.as_tensor(self.c, dtype=torch.float64).unsqueeze(1)
        return Mixture(centers, torch.as_tensor(self.w), self.variance)


class Plane:
    """The same for sum_k w_k N(c_k, variance I) in the plane, on a square grid that suits the blur."""

    d = 2

    def __init__(self, centers, weights, variance):
        self.c, self.w, self.variance = np.array(centers, float), np.array(weights, float), variance

    def table(self, t):
        """Points z (n, 2), the area of a cell, and w_k p(z | k), (n, m)."""
        width = self.variance + t
        reach = np.abs(self.c).max() + 8.5 * math.sqrt(width)
        line = np.linspace(-reach, reach, 2 * math.ceil(5 * reach / math.sqrt(width)) + 1)
        z = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
        apart = ((z[:, None] - self.c) ** 2).sum(-1)
        return z, (line[1] - line[0]) ** 2, self.w * np.exp(-apart / (2 * width)) / (2 * math.pi * width)

    def moments(self, t):
        """P(z) times the area (n,), E[y | z] (n, 2) and Cov[y | z] (n, 2, 2)."""
        z, area, parts = self.table(t)
        width, p = self.variance + t, np.maximum(parts.sum(1), 1e-300)
        share = parts / p[:, None]
        means = (t * self.c + self.variance * z[:, None]) / width
        guess = (share[..., None] * means).sum(1)
        off = means - guess[:, None]
        spread = np.einsum("nk,nki,nkj->nij", share, off, off)
        return area * parts.sum(1), guess, spread + self.variance * t / width * np.eye(2)

    def entropy(self, t):
        _, area, parts = self.table(t)
        p = parts.sum(1)
        return -float((p * np.log(np.maximum(p, 1e-300))).sum() * area)

    def fisher(self, t):
        """E |grad log p|^2, from the gradient of p itself."""
        z, area, parts = self.table(t)
        slope = (parts[..., None] * (self.c - z[:, None])).sum(1) / (self.variance + t)
        return float(((slope**2).sum(1) / np.maximum(parts.sum(1), 1e-300)).sum() * area)

    def error(self, t):
        """E|y|^2 - E|guess|^2: another form of the mmse than the library's."""
        mass, guess, _ = self.moments(t)
        return float(self.square - mass @ (guess**2).sum(1))

    @property
    def square(self):
        """E|y|^2."""
        return self.w @ (self.c**2).sum(1) + 2 * self.variance

    @property
    def cov(self):
        centred = self.c - self.w @ self.c
        return (self.w[:, None] * centred).T @ centred + self.variance * np.eye(2)

    def information(self, t):
        return self.entropy(t) - math.log(2 * math.pi * math.e * t)

    @property
    def mixture(self):
        return Mixture(torch.as_tensor(self.c), torch.as_tensor(self.w), self.variance)


ASKEW = Plane([[1.2, 0.3], [-0.8, 0.9], [-0.2, -1.1]], [0.5, 0.3, 0.2], 0.09)
TRIANGLE = Plane([[1, 0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]], [1 / 3] * 3, 0.0)  # sides sqrt(3)
CLUMPS = Line([-1.0, 0.2, 2.0], [0.5, 0.3, 0.2], 0.04)
COIN = Line([0.0, 1.0], [0.9, 0.1], 0.0)


def slope(f, t, h=1e-4):
    """df/dt, of fourth order."""
    return (8 * (f(t + h) - f(t - h)) - (f(t + 2 * h) - f(t - 2 * h))) / (12 * h)


@pytest.mark.equation("eq-info-entropies")
def test_information_is_a_difference_of_entropies():
    """Against the definition, E log p(z | y) / p(z), for two unequal points."""
    t = 0.3
    p = COIN.p(t)
    total = 0.0
    for c, w in zip(COIN.c, COIN.w, strict=True):
        given = norm.pdf(Z, c, math.sqrt(t))
        total += w * float((given * (norm.logpdf(Z, c, math.sqrt(t)) - np.log(np.maximum(p, 1e-300)))).sum() * DZ)
    close(total, blurred_entropy(COIN.mixture, t) - 0.5 * math.log(2 * math.pi * math.e * t), atol=1e-10)


@pytest.mark.equation("eq-info-entropies", "eq-info-immse")
def test_information_in_the_plane():
    """The definition, an integral over y and z with y a cloud of its own, against the entropies, and the library."""
    t = 0.3
    z, area, parts = ASKEW.table(t)
    log_p = np.log(np.maximum(parts.sum(1), 1e-300))
    line = np.linspace(-5.4, 5.4, 13) * 0.3
    offsets = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    weight = np.exp(-(offsets**2).sum(1) / (2 * ASKEW.variance))
    total = 0.0
    for c, w in zip(ASKEW.c, ASKEW.w, strict=True):
        for off, share in zip(offsets, w * weight / weight.sum(), strict=True):
            if share > 1e-8:
                log_given = -((z - c - off) ** 2).sum(1) / (2 * t) - math.log(2 * math.pi * t)
                total += share * float(np.exp(log_given) @ (log_given - log_p)) * area
    close(total, ASKEW.information(t), atol=1e-6)
    close(total, blurred_entropy(ASKEW.mixture, t) - math.log(2 * math.pi * math.e * t), atol=1e-6)
    close(i_mmse.mutual_information(ASKEW.mixture, t, 16), ASKEW.information(t), atol=1e-7)


@pytest.mark.equation("eq-info-excess")
def test_every_other_guess_is_worse_by_its_distance():
    t, total = 0.4, 0.0
    g = 0.3 * np.sin(Z) + 0.5 * Z  # given
    for c, w in zip(COIN.c, COIN.w, strict=True):
        total += w * float((norm.pdf(Z, c, math.sqrt(t)) * (c - g) ** 2).sum() * DZ)
    apart = float((COIN.p(t) * (COIN.guess(t) - g) ** 2).sum() * DZ)
    close(total, mmse.mmse(COIN.mixture, t) + apart, atol=1e-9)


@pytest.mark.equation("eq-info-excess")
def test_every_other_guess_in_the_plane():
    """E|y - g|^2 by a double sum over y and z, for a set; the library's mmse is by another grid."""
    t, total, apart = 0.4, 0.0, 0.0
    z, area, parts = TRIANGLE.table(t)
    g = 0.3 * np.sin(z) + 0.5 * z[:, ::-1]  # given
    for k, c in enumerate(TRIANGLE.c):
        total += float((parts[:, k] * ((c - g) ** 2).sum(1)).sum() * area)
    mass, guess, _ = TRIANGLE.moments(t)
    apart = float(mass @ ((guess - g) ** 2).sum(1))
    close(total, mmse.mmse(TRIANGLE.mixture, t) + apart, atol=1e-9)


@pytest.mark.equation("eq-info-heat")
def test_densities_obey_the_heat_equation():
    t = 0.2
    inside = slice(12_500, 17_500)
    change = slope(CLUMPS.p, t)[inside]
    p = CLUMPS.p(t)
    bend = ((np.roll(p, 1) - 2 * p + np.roll(p, -1)) / DZ**2)[inside]
    np.testing.assert_allclose(change, 0.5 * bend, atol=1e-5)


@pytest.mark.equation("eq-info-debruijn", "eq-info-fisher", "eq-info-derivative")
@pytest.mark.parametrize("law", [CLUMPS, COIN])
@pytest.mark.parametrize("t", [0.1, 0.7])
def test_entropy_fisher_information_and_error(law, t):
    """The slope of the entropy by differences, J from the gradient of log p by differences, the error by the grid."""
    p = law.p(t)
    score = np.gradient(np.log(np.maximum(p, 1e-300)), DZ)
    J = float((p * score**2).sum() * DZ)
    close(slope(law.entropy, t), 0.5 * J, rtol=1e-5)
    close(t, t**2 * J + mmse.mmse(law.mixture, t), rtol=1e-5)
    close(slope(law.information, t), -mmse.mmse(law.mixture, t) / (2 * t**2), rtol=1e-6)
    by_gamma = slope(lambda g: law.information(1 / g), 1 / t)
    close(by_gamma, 0.5 * law.error(t), rtol=1e-6)


@pytest.mark.equation("eq-info-debruijn", "eq-info-fisher", "eq-info-derivative")
@pytest.mark.parametrize("law", [ASKEW, TRIANGLE])
@pytest.mark.parametrize("t", [0.15, 0.7])
def test_entropy_fisher_information_and_error_in_the_plane(law, t):
    J = law.fisher(t)
    close(slope(law.entropy, t), 0.5 * J, rtol=1e-7)
    close(2 * t, t**2 * J + mmse.mmse(law.mixture, t), rtol=1e-7)
    close(slope(law.information, t), -mmse.mmse(law.mixture, t) / (2 * t**2), rtol=1e-6)
    close(slope(lambda g: law.information(1 / g), 1 / t), 0.5 * law.error(t), rtol=1e-6)


@pytest.mark.equation("eq-info-immse")
@pytest.mark.parametrize("law", [CLUMPS, COIN])
@pytest.mark.parametrize("t0", [0.05, 2.0])
def test_information_is_the_integral_of_the_error(law, t0):
    """An adaptive rule over gamma with the grid's error, and the library, against entropies."""
    close(quad(lambda g: 0.5 * law.error(1 / g), 1 / 10, 1 / t0, epsrel=1e-7)[0],
          law.information(t0) - law.information(10), atol=1e-6)  # fmt: skip
    close(i_mmse.mutual_information(law.mixture, t0), law.information(t0), atol=1e-9)


@pytest.mark.equation("eq-info-linear")
def test_gaussians_are_told_most_about():
    cov = mmse.covariance(blobs())
    for t in (0.3, 3.0):
        assert 0 < i_mmse.mutual_information(blobs(), t) < i_mmse.tail(cov, t)
    normal = Mixture(torch.zeros(1, 1), torch.ones(1), 0.7)
    close(i_mmse.tail(mmse.covariance(normal), 0.3), 0.5 * math.log(1 + 0.7 / 0.3))
    close(blurred_entropy(normal, 0.3) - 0.5 * math.log(2 * math.pi * math.e * 0.3), 0.5 * math.log(1 + 0.7 / 0.3))


@pytest.mark.equation("eq-info-linear")
def test_the_linear_error_adds_up_to_a_determinant():
    """Half of tr S (I + gamma S)^-1 over gamma, by an adaptive rule, and as the error of the linear guess itself."""
    S, T = ASKEW.cov, 0.7
    assert abs(S[0, 1]) > 0.05
    found = quad(lambda g: 0.5 * np.trace(S @ np.linalg.inv(np.eye(2) + g * S)), 0, 1 / T, epsabs=1e-12)[0]
    close(i_mmse.tail(torch.as_tensor(S), T), found, rtol=1e-10)
    matrix = S @ np.linalg.inv(S + T * np.eye(2))  # E|y - matrix z|^2, for data of mean 0
    error = np.trace(S - 2 * matrix @ S + matrix @ (S + T * np.eye(2)) @ matrix.T)
    close(error, np.trace(S @ np.linalg.inv(np.eye(2) + S / T)), rtol=1e-12)
    assert mmse.mmse(ASKEW.mixture, T) < error
    assert ASKEW.information(T) < found < ASKEW.information(T) + 0.05


@pytest.mark.equation("eq-info-tail")
def test_the_tail_in_the_plane():
    """Of a skew law it lacks sum kappa_ijk^2 / 12 T^3, over all third cumulants."""
    centred = ASKEW.c - ASKEW.w @ ASKEW.c
    third = np.einsum("k,ki,kj,kl->ijl", ASKEW.w, centred, centred, centred)  # the clumps' own Gaussians add nothing
    for T in (40.0, 80.0):
        missed = i_mmse.tail(torch.as_tensor(ASKEW.cov), T) - ASKEW.information(T)
        assert missed * T**3 == pytest.approx((third**2).sum() / 12, rel=6 / T)


@pytest.mark.equation("eq-info-tail")
def test_what_the_tail_misses_falls_like_the_third_power():
    """For a skew law it is kappa_3^2 / (12 T^3); for a symmetric one it is of higher order."""
    third = 0.9 * (-0.1) ** 3 + 0.1 * 0.9**3
    cov, times = mmse.covariance(COIN.mixture), (5.0, 10.0)
    early, late = (T**3 * (i_mmse.tail(cov, T) - COIN.information(T)) for T in times)
    assert 2 * late - early == pytest.approx(third**2 / 12, rel=2e-3)  # what is of order 1/T drops out
    two = two_points()
    cov = mmse.covariance(two)
    misses = [i_mmse.tail(cov, T) - i_mmse.mutual_information(two, T) for T in (100.0, 200.0)]
    assert misses[0] / misses[1] == pytest.approx(16, rel=0.05)


def fano(wrong: float, m: int) -> float:
    """Fano's bound on H(y | z), for the chance ``wrong`` that the nearest of m points is not y."""
    assert wrong <= (m - 1) / m
    return -wrong * math.log(wrong) - (1 - wrong) * math.log1p(-wrong) + wrong * math.log(m - 1)


def chance(law: Line | Plane, t: float) -> float:
    """The bound on that chance by the closest two points."""
    m = len(law.c)
    gaps = torch.pdist(torch.as_tensor(law.c).reshape(m, -1))
    return (m - 1) * norm.cdf(-float(gaps.min()) / (2 * math.sqrt(t)))


def left_over(parts, cell):
    """H(y | z) of a finite set, from w_k p(z | k), (n, m)."""
    share = parts / np.maximum(parts.sum(1, keepdims=True), 1e-300)
    return -float((parts * np.log(np.maximum(share, 1e-300))).sum() * cell)


@pytest.mark.equation("eq-info-fano")
@pytest.mark.parametrize("law", [COIN, Line([-1.0, 0.1, 1.0], [0.4, 0.3, 0.3], 0.0)])
def test_what_is_left_of_a_finite_set(law):
    for t in (0.02, 0.05, 0.1):
        left = left_over(law.parts(t), DZ)
        assert 0 <= left <= fano(chance(law, t), len(law.c))
        close(left, -float(law.w @ np.log(law.w)) - law.information(t), atol=1e-8)
    assert fano(chance(law, 0.005), len(law.c)) < 1e-4


@pytest.mark.equation("eq-info-fano")
def test_fano_where_all_is_nearly_lost():
    """Three points, so much noise that the bound on the error is (M - 1)/M: there it is log M, and little is left over.

    Each (M - 1) counts: without one of them the bound would be broken by a fifth of a nat.
    """
    t = 3 / (2 * norm.ppf(2 / 3)) ** 2  # sides sqrt(3)
    wrong = chance(TRIANGLE, t * (1 - 1e-9))
    assert wrong == pytest.approx(2 / 3) and fano(wrong, 3) == pytest.approx(math.log(3))
    for share in (1.0, 0.5, 0.2):
        _, area, parts = TRIANGLE.table(share * t * (1 - 1e-9))
        left = left_over(parts, area)
        exact = 1 - float(parts.max(1).sum()) * area  # the chance that the nearest point is wrong
        rough = chance(TRIANGLE, share * t * (1 - 1e-9))
        assert exact < rough and left <= fano(exact, 3) <= fano(rough, 3) + 1e-12
        if share == 1:
            assert fano(exact, 3) < left + 0.05 and fano(rough, 3) < left + 0.12


@pytest.mark.equation("eq-info-discrete")
@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_the_whole_integral_does_not_ask_where_the_points_are(shift):
    exact = -sum(w * math.log(w) for w in (0.5, 0.2, 0.3))
    for scale in (1.0, 50.0):
        points = scale * torch.tensor([[-1.0], [0.2], [shift]])
        target = finite_set(points, torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64))
        close(i_mmse.mutual_information(target, nodes=96), exact, atol=1e-10)


@pytest.mark.equation("eq-info-race")
def test_the_race_against_draws_in_five_dimensions():
    for t in (0.7, 3.0):
        s = 2 / math.sqrt(t)
        g = torch.randn(200_000, 5, generator=rng(1), dtype=torch.float64)
        guess = torch.softmax(s * g + s**2 * torch.eye(5, dtype=torch.float64)[0], 1)
        points = mmse.Equidistant(5, math.sqrt(8))
        close_mean(4 * (1 - guess[:, 0]), points.mmse(t))
        close_mean(math.log(5) + torch.xlogy(guess, guess).sum(1), points.information(t))


@pytest.mark.equation("eq-info-rest")
def test_what_is_left_of_a_density():
    """h(y | z) from the posterior, a mixture for each z, integrated by brute force; then its expansion."""
    t, y = 0.02, np.linspace(-3, 4, 3501)
    prior = CLUMPS.parts(0, y).sum(1)
    left = 0.0
    for z in Z[13_750:16_751:10]:  # six standard deviations beyond the clumps
        law = prior * np.exp(-((z - y) ** 2) / (2 * t))
        total = law.sum() * (y[1] - y[0])
        law = law / max(total, 1e-300)
        weight = total / math.sqrt(2 * math.pi * t) * 10 * DZ
        left -= weight * float((law * np.log(np.maximum(law, 1e-300))).sum() * (y[1] - y[0]))
    gaussian = 0.5 * math.log(2 * math.pi * math.e * t)
    close(left, gaussian - (CLUMPS.entropy(t) - CLUMPS.entropy(0)), atol=1e-6)
    p = CLUMPS.p(0)
    J = float((p * np.gradient(np.log(np.maximum(p, 1e-300)), DZ) ** 2).sum() * DZ)
    off = [CLUMPS.entropy(t) - CLUMPS.entropy(0) - 0.5 * J * t for t in (1e-3, 5e-4)]
    assert 3.5 < off[0] / off[1] < 4.2


@pytest.mark.equation("eq-info-rest")
def test_what_is_left_of_a_density_in_the_plane():
    """h(y | z) = h(y) - I(y; z), all by the grid, for the Gaussian of variance t and the Fisher term."""
    off = []
    for t in (2e-3, 1e-3):
        left = ASKEW.entropy(0) - ASKEW.information(t)
        gaussian = math.log(2 * math.pi * math.e * t)
        close(left, gaussian - (ASKEW.entropy(t) - ASKEW.entropy(0)), atol=1e-9)
        assert left < gaussian
        off.append(gaussian - 0.5 * ASKEW.fisher(0) * t - left)
    assert 3.5 < off[0] / off[1] < 4.2 and abs(off[0]) < 1e-3


@pytest.mark.equation("eq-info-area")
def test_entropy_of_a_density_in_the_plane():
    """The library's v is the trace of the covariance over d; any other v, with its own Gaussian, gives the same."""
    exact = ASKEW.entropy(0)
    close(i_mmse.entropy(ASKEW.mixture, 32), exact, atol=5e-5)
    low, high = 1e-4, 1e4
    v = 2.0
    area = i_mmse.integral(lambda t: 2 * v * t / (v + t) - ASKEW.error(t), low, high, 40)
    area += 0.5 * low * (ASKEW.fisher(0) - 2 / v)  # below, the bracket is t^2 times this difference
    area += 0.5 * (2 * v - np.trace(ASKEW.cov)) / high  # above, the difference of the variances
    close(math.log(2 * math.pi * math.e * v) - area, exact, atol=2e-6)


@pytest.mark.equation("eq-info-area")
def test_entropy_is_the_gaussian_less_the_area_between():
    """For any v, not only the variance of the data."""
    for v in (0.5, 2.0):
        area = quad(
            lambda u, v=v: (v / (1 + v * math.exp(u)) - mmse.mmse(CLUMPS.mixture, math.exp(-u))) * math.exp(u) / 2,
            -12, 12, epsabs=1e-6, limit=200,
        )[0]  # u = -log t  # fmt: skip
        close(0.5 * math.log(2 * math.pi * math.e * v) - area, CLUMPS.entropy(0), atol=2e-3)
    close(i_mmse.entropy(CLUMPS.mixture), CLUMPS.entropy(0), atol=1e-8)


@pytest.mark.equation("eq-info-levels")
def test_layers_are_slopes_of_the_information_on_a_choice():
    """c: the left or the right pair of +-2 +-0.5, by entropies of the law of z and of z given c."""
    whole = Line([-2.5, -1.5, 1.5, 2.5], [0.25] * 4, 0.0)
    pair = Line([-0.5, 0.5], [0.5] * 2, 0.0)
    for t in (0.3, 2.0):
        about_c = -t * slope(lambda s: whole.entropy(s) - pair.entropy(s), t)
        close(about_c, (mmse.mmse(whole.mixture, t) - mmse.mmse(pair.mixture, t)) / (2 * t), rtol=1e-5, atol=1e-9)
        assert about_c >= 0


@pytest.mark.equation("eq-info-step")
def test_cost_of_a_step_with_the_posteriors_covariance():
    schedule = random_schedule(5, seed=3)
    model = exact_model(blobs(), schedule, "posterior")
    x0 = blobs().sample(50, rng(2))
    tau = schedule.tau.tolist()
    for t in range(2, 6):
        xt = model.kernel.marginal(x0, t).sample(rng(t))
        kl = model.kernel.posterior(x0, xt, t).kl(model.reverse(xt, t, model.kernel))
        guess = blobs().posterior_mean(xt * math.sqrt(1 + tau[t]), tau[t])
        close(kl, 0.5 * (1 / tau[t - 1] - 1 / tau[t]) * (x0 - guess).square().sum(1), rtol=1e-8)


@pytest.mark.equation("eq-info-sandwich", "eq-info-logdet")
def test_information_of_a_step_lies_between():
    for s, t in ((0.05, 0.06), (0.1, 0.5), (1.0, 4.0)):
        gain, gamma = CLUMPS.information(s) - CLUMPS.information(t), 1 / s - 1 / t
        z = Z[:, None]
        parts = CLUMPS.parts(t)
        means = (t * CLUMPS.c + 0.04 * z) / (0.04 + t)
        second = (parts * (means**2 + 0.04 * t / (0.04 + t))).sum(1) / np.maximum(parts.sum(1), 1e-300)
        C = np.maximum(second - CLUMPS.guess(t) ** 2, 0)
        logdet = float((CLUMPS.p(t) * 0.5 * np.log1p(gamma * C)).sum() * DZ)
        assert 0.5 * gamma * mmse.mmse(CLUMPS.mixture, s) < gain < logdet < 0.5 * gamma * mmse.mmse(CLUMPS.mixture, t)
    v, s, t = 0.7, 0.2, 0.9  # Gaussian data: the logarithm is exact
    exact = 0.5 * math.log((1 + v / s) / (1 + v / t))
    close(exact, 0.5 * math.log1p((1 / s - 1 / t) * v * t / (v + t)))


@pytest.mark.equation("eq-info-sandwich", "eq-info-logdet")
def test_information_of_a_step_in_the_plane():
    """Long steps, and so short a one that a factor of 1.01 in the weight shows on either side."""
    for s, t in ((0.05, 0.0501), (0.1, 0.5), (1.0, 4.0)):
        gain, gamma = ASKEW.information(s) - ASKEW.information(t), 1 / s - 1 / t
        mass, _, C = ASKEW.moments(t)
        logdet = 0.5 * float(mass @ np.linalg.slogdet(np.eye(2) + gamma * C)[1])
        low, high = (0.5 * gamma * mmse.mmse(ASKEW.mixture, u) for u in (s, t))
        assert low < gain < logdet < high
    gain, gamma = ASKEW.information(0.05) - ASKEW.information(0.0501), 1 / 0.05 - 1 / 0.0501
    mass, _, C = ASKEW.moments(0.0501)
    for factor, fits in ((0.99, False), (1.0, True), (1.01, False)):
        logdet = 0.5 * float(mass @ np.linalg.slogdet(np.eye(2) + factor * gamma * C)[1])
        assert (gain < logdet < 0.5 * gamma * mmse.mmse(ASKEW.mixture, 0.0501)) == fits


@pytest.mark.equation("eq-info-logdet")
def test_gaussian_data_that_lie_askew_make_it_an_equality():
    S, s, t = np.array([[2.0, 0.9], [0.9, 1.0]]), 0.2, 0.9
    C = S - S @ np.linalg.inv(S + t * np.eye(2)) @ S
    gain = i_mmse.tail(torch.as_tensor(S), s) - i_mmse.tail(torch.as_tensor(S), t)
    close(gain, 0.5 * np.linalg.slogdet(np.eye(2) + (1 / s - 1 / t) * C)[1])


@pytest.mark.equation("eq-info-sandwich")
def test_the_chains_weights_become_those_of_the_integral():
    t = 0.3
    for dt in (1e-2, 1e-3, 1e-4):
        weight = 0.5 * (1 / (t - dt) - 1 / t)
        assert abs(weight / (dt / (2 * t**2)) - 1) == pytest.approx(dt / t, rel=0.05)
    error = {}
    for steps in (50, 100):
        gamma = np.linspace(1 / 10, 1 / 0.05, steps + 1)
        upper = float(0.5 * np.diff(gamma) @ [CLUMPS.error(1 / g) for g in gamma[:-1]])
        error[steps] = upper - (CLUMPS.information(0.05) - CLUMPS.information(10))
    assert error[50] / error[100] == pytest.approx(2, rel=0.05)


@pytest.mark.equation("eq-info-learned", "eq-info-gap")
def test_a_spoilt_denoiser_bounds_the_entropy_by_so_much():
    """All integrals by quadrature: the bound, and its three parts, for a guess that is shrunk and moved."""
    t0, t1, law = 0.01, 5.0, CLUMPS
    square = float(law.w @ law.c**2 + law.variance)

    def guess(t):
        return 0.9 * law.guess(t) + 0.1

    def mse(t):
        return law.error(t) + float((law.p(t) * (guess(t) - law.guess(t)) ** 2).sum() * DZ)

    head = 0.5 * math.log(2 * math.pi * math.e * (square + t0))
    found = head + i_mmse.integral(lambda t: mse(t) - square * t / (square + t), t0, t1, 32)
    excess = i_mmse.integral(lambda t: mse(t) - law.error(t), t0, t1, 32)
    end = 0.5 * math.log1p(square / t1) - law.information(t1)
    blur = law.entropy(t0) - law.entropy(0)
    assert min(excess, end, blur) > 0 and found > law.entropy(0)
    close(found - law.entropy(0), excess + end + blur, atol=1e-7)

    def denoiser(z, t):
        return 0.9 * law.mixture.posterior_mean(z, t) + 0.1

    y = law.mixture.sample(20_000, rng(3))
    values = i_mmse.entropy_bound(denoiser, y, t0, t1, rng(4), square).values
    close_mean(values, found)
    close(values.mean(), found, atol=0.05)  # a wild guess has a wild error, which would allow it
    linear = i_mmse.entropy_bound(lambda z, t: square * z / (square + t), y, t0, t1, rng(4), square)
    close(linear.values, head)  # nothing is left of the integral


@pytest.mark.equation("eq-info-learned", "eq-info-gap")
def test_a_spoilt_denoiser_in_the_plane():
    """d in the head, v = E|y|^2 / d: the same bound by sums over the grid and by the library's draws."""
    t0, t1, law = 0.01, 5.0, ASKEW
    v = law.square / 2

    def excess(t):
        mass, guess, _ = law.moments(t)
        return float(mass @ ((0.1 + 0.9 * guess - guess) ** 2).sum(1))

    def mse(t):
        return law.error(t) + excess(t)

    head = math.log(2 * math.pi * math.e * (v + t0))
    found = head + i_mmse.integral(lambda t: mse(t) - 2 * v * t / (v + t), t0, t1, 16)
    parts = i_mmse.integral(excess, t0, t1, 16), math.log1p(v / t1) - law.information(t1)
    blur = law.entropy(t0) - law.entropy(0)
    assert min(*parts, blur) > 1e-4
    close(found - law.entropy(0), sum(parts) + blur, atol=1e-6)

    y = law.mixture.sample(2000, rng(3))
    given = i_mmse.entropy_bound(
        lambda z, t: 0.9 * law.mixture.posterior_mean(z, t) + 0.1, y, t0, t1, rng(4), law.square, nodes=16
    )
    close_mean(given.values, found)
    close(given.values.mean(), found, atol=0.2)
    linear = i_mmse.entropy_bound(lambda z, t: v * z / (v + t), y, t0, t1, rng(4), law.square, nodes=4)
    close(linear.values, head)  # nothing is left of the integral


@pytest.mark.equation("eq-info-dropped")
def test_the_first_term_is_the_information_at_the_end():
    """H = I(y; z_N) + the steps + H(y | z_1), each by its own sum; and the sizes of what was dropped."""
    times, m = [0.05, 0.3, 1.0], COIN
    exact = -float(m.w @ np.log(m.w))
    total = m.information(times[-1])
    for s, t in pairwise(times):
        total += conditional(m, s, t)
    parts = m.parts(times[0])
    share = parts / np.maximum(parts.sum(1, keepdims=True), 1e-300)
    total -= float((parts * np.log(np.maximum(share, 1e-300))).sum() * DZ)
    close(total, exact, atol=1e-5)
    for t, dropped in ((1, 0.347), (10, 0.048), (100, 0.005)):
        normal = Mixture(torch.zeros(1, 1), torch.ones(1), 1.0)
        assert i_mmse.mutual_information(normal, t) == pytest.approx(dropped, abs=5e-4)


def conditional(law: Line, s: float, t: float) -> float:
    """I(y; z(s) | z(t)) from the definition: mean divergence of the step back given y from that without y."""
    coarse = np.linspace(-6, 7, 651)
    step = coarse[1] - coarse[0]
    both = norm.pdf(coarse[:, None] - coarse, 0, math.sqrt(t - s))  # z(t) given z(s)
    given = np.stack([w * norm.pdf(coarse, c, math.sqrt(s)) for c, w in zip(law.c, law.w, strict=True)])
    triple = given[:, :, None] * both.T[None]  # y, z(s), z(t)
    pair, without = triple.sum(1, keepdims=True) * step, triple.sum(0, keepdims=True)
    marginal = without.sum(1, keepdims=True) * step
    logs = [np.log(np.maximum(v, 1e-300)) for v in (triple, marginal, pair, without)]
    ratio = logs[0] + logs[1] - logs[2] - logs[3]
    return float((triple * np.where(triple > 1e-200, ratio, 0)).sum() * step**2)


@pytest.mark.equation("eq-info-pointwise")
def test_given_a_point_the_integral_is_its_surprise():
    line = np.linspace(-9, 9, 721)
    weight = np.exp(-0.5 * line**2)
    weight /= weight.sum()
    low, high = 1 / 360, 1e5
    for c, w in zip(COIN.c, COIN.w, strict=True):

        def error(t, c=c):
            z = c + math.sqrt(t) * line
            return float(weight @ (c - COIN.guess(t, z)) ** 2)

        beyond = error(high) / (2 * high)
        close(i_mmse.integral(error, low, high, 96) + beyond, -math.log(w), atol=1e-6)
