"""The equations of the chapter on Tweedie and the ways back, each by two routes.

The first route is a table: the data's density on a fine grid of y, and Bayes' rule. It knows nothing of mixtures.
"""

import math

import numpy as np
import pytest
import torch
from problems import blobs, close, randn, random_schedule
from scipy.integrate import solve_ivp

from dpm_lib.diffusion import probability_flow, schedules, tweedie, variance_exploding
from dpm_lib.diffusion.variance_exploding import brownian, falling_times
from dpm_lib.probability.mixtures import Mixture, finite_set
from dpm_lib.sde import chain_law, processes, sde

CENTERS, WEIGHTS, V = (-1.5, 0.3, 1.2), (0.3, 0.5, 0.2), 0.04
LINE = Mixture(torch.tensor(CENTERS, dtype=torch.float64).unsqueeze(1), torch.tensor(WEIGHTS, dtype=torch.float64), V)
Y = np.linspace(-4, 4, 1601)
POP = sum(w * np.exp(-0.5 * (Y - c) ** 2 / V) for w, c in zip(WEIGHTS, CENTERS, strict=True))
POP /= POP.sum()
Z = np.linspace(-2.5, 2.5, 11)
SET = finite_set(
    torch.tensor([[0.0, 1.0], [1.0, -1.0], [-2.0, 0.5], [0.3, 0.2]], dtype=torch.float64),
    torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64),
)
H = 1e-4
ASKEW = blobs()  # three clumps in the plane, off the axes


def table(z, t):
    """P_t(z), E[y | z] and Var[y | z] at z (n,), by Bayes' rule on the grid of y."""
    joint = POP * np.exp(-0.5 * (z[:, None] - Y) ** 2 / t) / math.sqrt(2 * math.pi * t)
    P = joint.sum(1)
    mean = joint @ Y / P
    return P, mean, joint @ Y**2 / P - mean**2


def column(z):
    return torch.from_numpy(np.asarray(z, dtype=float)).unsqueeze(1)


# Tweedie


@pytest.mark.equation("eq-tw-guess")
@pytest.mark.parametrize("guess", [np.tanh, lambda z: 0.5 * z + 0.3])
def test_error_of_a_guess(guess):
    t, z = 0.4, np.linspace(-8, 8, 1601)
    joint = POP * np.exp(-0.5 * (z[:, None] - Y) ** 2 / t) / math.sqrt(2 * math.pi * t)
    error = (joint * (Y - guess(z)[:, None]) ** 2).sum() * 0.01
    P = LINE.log_prob(column(z), t).exp().numpy()
    m, C = LINE.posterior_mean(column(z), t).numpy()[:, 0], LINE.posterior_covariance(column(z), t).numpy()[:, 0, 0]
    assert error == pytest.approx((P * (C + (m - guess(z)) ** 2)).sum() * 0.01, rel=1e-6)


def square(reach, places):
    """A grid of the plane, (places^2, 2), and the area of a cell."""
    line = torch.linspace(-reach, reach, places, dtype=torch.float64)
    return torch.cartesian_prod(line, line), float(line[1] - line[0]) ** 2


@pytest.mark.equation("eq-tw-guess")
def test_error_of_a_guess_in_the_plane():
    """E|y - g|^2 by a sum over the four points of a set and a grid of z; the library's moments on the other side."""
    t = 0.4
    z, area = square(6.5, 131)
    joint = SET.weights * torch.exp(-0.5 * torch.cdist(z, SET.centers).square() / t) / (2 * math.pi * t)
    guess = z.flip(1).tanh() + 0.2 * z  # given
    error = (joint * torch.cdist(guess, SET.centers).square()).sum() * area
    P, trace = SET.log_prob(z, t).exp(), SET.posterior_covariance(z, t).diagonal(dim1=1, dim2=2).sum(1)
    close(error, (P * (trace + (SET.posterior_mean(z, t) - guess).square().sum(1))).sum() * area, rtol=1e-8)


@pytest.mark.equation("eq-tw-gradient")
@pytest.mark.parametrize("t", [0.05, 0.5])
def test_gradient_of_the_density(t):
    P, mean, _ = table(Z, t)
    slope = (table(Z + H, t)[0] - table(Z - H, t)[0]) / (2 * H)
    np.testing.assert_allclose(slope, P * (mean - Z) / t, rtol=1e-5, atol=1e-7)


@pytest.mark.equation("eq-tw-first", "eq-tw-second", "eq-tw-jacobian")
@pytest.mark.parametrize("t", [0.05, 0.5, 3.0])
def test_tweedie_on_the_line(t):
    _, mean, variance = table(Z, t)
    log_p = [np.log(table(Z + k * H, t)[0]) for k in (-1, 0, 1)]
    score, hessian = tweedie.tweedie(LINE, column(Z), t)
    np.testing.assert_allclose(score[:, 0], (log_p[2] - log_p[0]) / (2 * H), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(hessian[:, 0, 0], (log_p[2] - 2 * log_p[1] + log_p[0]) / H**2, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(score[:, 0], (mean - Z) / t, atol=1e-9)
    slope = (table(Z + H, t)[1] - table(Z - H, t)[1]) / (2 * H)
    np.testing.assert_allclose(slope, variance / t, rtol=1e-4, atol=1e-6)


@pytest.mark.equation("eq-tw-first", "eq-tw-second", "eq-tw-jacobian", "eq-tw-trace")
def test_tweedie_for_discrete_data_in_the_plane():
    z, t = randn(5, 2), 0.6
    score, hessian = tweedie.tweedie(SET, z, t)
    for k in range(5):
        row = z[k].clone().requires_grad_()

        def log_p(p):
            return torch.logsumexp(SET.weights.log() - (p - SET.centers).square().sum(1) / (2 * t), 0)

        close(score[k], torch.func.grad(log_p)(row))
        second = torch.func.hessian(log_p)(row)
        close(hessian[k], second)
        share = torch.softmax(SET.weights.log() - (row - SET.centers).square().sum(1) / (2 * t), 0)
        centred = SET.centers - share @ SET.centers
        covariance = (share.unsqueeze(1) * centred).T @ centred
        close(second.trace(), (covariance.trace() / t - 2) / t)
        guess = lambda p: p + t * torch.func.grad(log_p)(p)  # noqa: E731
        close(torch.func.jacrev(guess)(row), covariance / t)
    close(probability_flow.tweedie_divergence(SET)(z, t), hessian.diagonal(dim1=-2, dim2=-1).sum(-1))


# The two pictures


@pytest.mark.equation("eq-tw-increment", "eq-tw-beta")
def test_the_chain_unshrunk_is_brownian():
    """All covariances of x_1..x_T given x_0, step by step; unshrunk, those of Brownian motion: min(tau_j, tau_k)."""
    schedule = random_schedule(7, seed=3)
    beta, T = schedule.beta.tolist(), 7
    covariance, scale = np.zeros((T + 1, T + 1)), np.ones(T + 1)
    for k in range(1, T + 1):
        covariance[k, :k] = covariance[:k, k] = math.sqrt(1 - beta[k]) * covariance[k - 1, :k]
        covariance[k, k] = (1 - beta[k]) * covariance[k - 1, k - 1] + beta[k]
        scale[k] = scale[k - 1] * math.sqrt(1 - beta[k])  # the mean of x_k is scale x_0
    tau = 1 / scale**2 - 1
    np.testing.assert_allclose(covariance / np.outer(scale, scale), np.minimum.outer(tau, tau), rtol=1e-9, atol=1e-12)
    close(schedules.to_variance_exploding(schedule.tau).log_scale.exp(), 1 / scale)
    np.testing.assert_allclose(np.array(beta[1:]) / scale[1:] ** 2, np.diff(tau), rtol=1e-9)
    np.testing.assert_allclose(np.diff(tau) / (1 + tau[1:]), beta[1:], rtol=1e-9)
    close(schedules.from_tau(torch.from_numpy(tau)).beta, schedule.beta)


@pytest.mark.equation("eq-tw-carried")
@pytest.mark.parametrize("tau", [0.05, 1.0, 30.0])
def test_what_the_change_of_scale_carries(tau):
    """q_k is a mixture of its own, with shrunk centres: its density, its slope, and its guess by Bayes on a table."""
    alpha_bar, x = 1 / (1 + tau), np.linspace(-1.5, 1.5, 9)
    shrunk = Mixture(math.sqrt(alpha_bar) * LINE.centers, LINE.weights, alpha_bar * V + 1 - alpha_bar)
    back = schedules.to_variance_preserving(tau)
    z = back.inverse.point(column(x))
    close(back.log_prob(LINE.log_prob(z, tau), 1), shrunk.log_prob(column(x)))
    close(back.score(LINE.score(z, tau)), shrunk.score(column(x)))
    joint = POP * np.exp(-0.5 * (x[:, None] - math.sqrt(alpha_bar) * Y) ** 2 / (1 - alpha_bar))
    np.testing.assert_allclose(LINE.posterior_mean(z, tau)[:, 0], joint @ Y / joint.sum(1), atol=1e-8)


@pytest.mark.equation("eq-tw-carried")
@pytest.mark.parametrize("tau", [0.05, 3.0])
def test_what_the_change_of_scale_carries_in_the_plane(tau):
    """The log density rises by d/2 of the logarithm: in the plane, twice what it is on the line."""
    alpha_bar, x = 1 / (1 + tau), 0.8 * randn(7, 2, seed=5)
    shrunk = Mixture(math.sqrt(alpha_bar) * ASKEW.centers, ASKEW.weights, alpha_bar * 0.09 + 1 - alpha_bar)
    z = math.sqrt(1 + tau) * x
    close(shrunk.log_prob(x), ASKEW.log_prob(z, tau) + math.log(1 + tau))
    close(schedules.to_variance_preserving(tau).log_prob(ASKEW.log_prob(z, tau), 2), shrunk.log_prob(x))
    close(shrunk.score(x), math.sqrt(1 + tau) * ASKEW.score(z, tau))
    width = alpha_bar * 0.09 + 1 - alpha_bar  # given its clump, x_0 lies between the centre and x
    share = torch.softmax(shrunk.weights.log() - torch.cdist(x, shrunk.centers).square() / (2 * width), 1)
    gain = math.sqrt(alpha_bar) * 0.09 / width
    guess = torch.einsum("nk,nki->ni", share, ASKEW.centers + gain * (x.unsqueeze(1) - shrunk.centers))
    close(ASKEW.posterior_mean(z, tau), guess)


# Steps back


@pytest.mark.equation("eq-tw-bridge")
@pytest.mark.parametrize("dt", [0.02, 0.3, 0.5])
def test_the_step_back_given_the_data(dt):
    """N(z'; y, t - dt) N(z; z', dt) on a grid of z'."""
    t, z, y = 0.55, 0.8, -0.4
    grid = np.linspace(-6, 6, 20_001)
    p = np.exp(-0.5 * (grid - y) ** 2 / (t - dt) - 0.5 * (z - grid) ** 2 / dt)
    p /= p.sum()
    mean = p @ grid
    assert mean == pytest.approx(z + dt / t * (y - z), abs=1e-9)
    assert p @ (grid - mean) ** 2 == pytest.approx(dt * (1 - dt / t), abs=1e-9)
    kurtosis = p @ (grid - mean) ** 4 / (p @ (grid - mean) ** 2) ** 2
    assert kurtosis == pytest.approx(3, abs=1e-6), "and it is normal"


@pytest.mark.equation("eq-tw-step-moments")
@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
def test_the_step_back(share):
    t, z = 0.3, np.array([-1.0, -0.6, 0.2, 0.75])
    dt = share * t
    grid = np.linspace(-5, 5, 4001)
    joint = table(grid, t - dt)[0] * np.exp(-0.5 * (z[:, None] - grid) ** 2 / dt)
    joint /= joint.sum(1, keepdims=True)
    mean = joint @ grid
    got, covariance = variance_exploding.step_back(LINE, column(z), t, dt)
    np.testing.assert_allclose(got[:, 0], mean, atol=1e-8)
    np.testing.assert_allclose(got[:, 0], z + dt * LINE.score(column(z), t)[:, 0].numpy(), atol=1e-12)
    np.testing.assert_allclose(covariance[:, 0, 0], joint @ grid**2 - mean**2, atol=1e-8)


@pytest.mark.equation("eq-tw-step-moments")
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_the_step_back_in_the_plane(share):
    """Mean and all four entries of the covariance, by Bayes' rule on a grid of z(t - dt)."""
    t, z = 0.5, torch.tensor([[0.3, 0.1], [-0.5, -0.2]], dtype=torch.float64)
    dt = share * t
    grid, _ = square(5.5, 221)
    law = torch.softmax(ASKEW.log_prob(grid, t - dt) - torch.cdist(z, grid).square() / (2 * dt), 1)
    mean, covariance = variance_exploding.step_back(ASKEW, z, t, dt)
    close(law @ grid, mean, atol=1e-8)
    close(z + dt * ASKEW.score(z, t), mean)
    off = grid - mean.unsqueeze(1)
    close(torch.einsum("ng,ngi,ngj->nij", law, off, off), covariance, atol=1e-8)
    assert covariance[:, 0, 1].abs().max() > 1e-3


# The family


def density(z, t):
    return LINE.log_prob(column(z), t).exp().numpy()


@pytest.mark.equation("eq-tw-backward")
@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0, 2.0])
def test_one_equation_for_all_noises(noise):
    """The time derivative of the table's density, against drift and noise of the reversed SDE, by differences."""
    t, h = 0.3, 1e-3
    by_time = -(table(Z, t + H)[0] - table(Z, t - H)[0]) / (2 * H)  # in backward time
    back = brownian().reverse(LINE.score, noise=noise)

    def current(z):  # in backward time the drift has the other sign
        return -back.mu(column(z), t)[:, 0].numpy() * density(z, t)

    variance = float(back.sigma(column(Z), t)) ** 2
    spread = 0.5 * variance * (density(Z + h, t) - 2 * density(Z, t) + density(Z - h, t)) / h**2
    np.testing.assert_allclose(-(current(Z + h) - current(Z - h)) / (2 * h) + spread, by_time, atol=2e-4)
    assert abs(by_time).max() > 0.1


@pytest.mark.equation("eq-tw-family")
@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0, 2.0])
def test_every_way_back_arrives(noise):
    """The exact law of Euler's chain: its distance to the truth falls like 1/steps. With the printed drift it stays."""
    back = brownian().reverse(LINE.score, noise=noise)
    gaps = [chain_law.chain_law(back, LINE, falling_times(4.0, 0.05, n)).wasserstein(LINE, 0.05) for n in (24, 48)]
    assert gaps[1] < 0.016 and 1.8 < gaps[0] / gaps[1] < 2.3
    if noise in (0.5, 2.0):
        printed = sde.SDE(lambda z, t: -0.5 * (1 + noise) * LINE.score(z, t), lambda z, t: noise, backward=True)
        assert chain_law.chain_law(printed, LINE, falling_times(4.0, 0.05, 48)).wasserstein(LINE, 0.05) > 0.05


@pytest.mark.equation("eq-tw-flow")
def test_the_flow_carries_quantiles():
    z = torch.linspace(-5, 5, 21, dtype=torch.float64).unsqueeze(1)
    end, _ = probability_flow.transport(LINE.score, z, falling_times(4.0, 0.02, 250), lambda z, t: torch.zeros(len(z)))
    close(LINE.cdf(end, 0.02), LINE.cdf(z, 4.0), atol=3e-4)


@pytest.mark.equation("eq-tw-split")
@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_a_way_back_is_the_flow_and_langevin(noise):
    t, h, z = 0.3, 1e-3, column(Z)
    shake = processes.langevin(lambda x: LINE.score(x, t), step=noise**2 / 2, noise=noise)
    whole, carried = (brownian().reverse(LINE.score, noise=lam).mu(z, t) for lam in (noise, 0.0))
    close(-whole, -carried + shake.mu(z, t))

    def current(x):  # the density does not feel the shaking
        return shake.mu(column(x), t)[:, 0].numpy() * table(x, t)[0]

    by_noise = 0.5 * noise**2 * (table(Z + h, t)[0] - table(Z - h, t)[0]) / (2 * h)
    np.testing.assert_allclose(current(Z), by_noise, atol=1e-4)
    assert abs(by_noise).max() > 0.02


@pytest.mark.equation("eq-tw-printed")
@pytest.mark.parametrize(
    ("lam", "T", "t"), [(0.5, 2.5, 0.0), (0.5, 2.5, 4e-4), (0.5, 1e6, 0.0), (0.25, 4.0, 0.5), (2.0, 4.0, 0.1)]
)
def test_what_the_printed_drift_makes_of_normal_data(lam, T, t):
    """An ordinary differential equation for the variance, solved backwards."""
    run = solve_ivp(lambda t, u: (1 + lam) * u / (V + t) - lam**2, (T, t), [V + T], rtol=1e-10, atol=1e-14)
    w = V + t
    assert run.y[0, -1] == pytest.approx(w * (lam + (1 - lam) * (w / (V + T)) ** lam), rel=1e-6)
    if T > 1e5:
        assert run.y[0, -1] == pytest.approx(lam * w, rel=1e-3)


# Finitely many steps


@pytest.mark.equation("eq-tw-steps")
@pytest.mark.parametrize(("lam", "a"), [(0.5, 0.2), (1.0, 0.3), (2.0, 0.2)])
def test_where_euler_settles_for_one_point(lam, a):
    """By the exact law of the chain: at t = 1 the variance is right, and every step keeps a share 1 - a of t."""
    kappa, r = (1 + lam**2) / 2, 1.0
    point = finite_set(torch.zeros(1, 1))
    for steps in (1, 2, 24):
        times = (1 - a) ** torch.arange(steps + 1, dtype=torch.float64)
        law = chain_law.chain_law(brownian().reverse(point.score, noise=lam), point, times)
        found = float(torch.trapezoid(law.z**2, law.cdf) / times[-1])
        r = 1.0
        for _ in range(steps):
            r = ((1 - kappa * a) ** 2 * r + lam**2 * a) / (1 - a)
        assert found == pytest.approx(r, rel=1e-4)
    for _ in range(500):  # and so on
        r = ((1 - kappa * a) ** 2 * r + lam**2 * a) / (1 - a)
    assert r == pytest.approx(lam**2 / (lam**2 - kappa**2 * a))
    assert r == pytest.approx(1 / (1 - ((lam + 1 / lam) / 2) ** 2 * a))


def test_over_a_finite_range_the_flow_errs_less_than_it_would_at_rest():
    """At lambda = 0, r grows by 1 + a^2 / (4 (1 - a)) a step: over log(T / t0) = 4 to about 1 + a."""
    a = 0.01
    for length in (2.0, 4.0):
        r = (1 + a**2 / (4 * (1 - a))) ** (length / -math.log1p(-a))
        assert r - 1 == pytest.approx(a / 4 * length, rel=0.02)
    assert (1 - a / 2) ** 2 / (1 - a) == pytest.approx(1 + a**2 / (4 * (1 - a)), rel=1e-14)


@pytest.mark.equation("eq-tw-ancestral")
@pytest.mark.parametrize("r", [1.0, 0.4, 3.0])
def test_the_exact_variance_keeps_one_point_right(r):
    t, a = 0.7, 0.3
    point = finite_set(torch.zeros(1, 1))
    mean, covariance = variance_exploding.step_back(point, torch.ones(1, 1, dtype=torch.float64), t, a * t)
    variance = float(mean) ** 2 * r * t + float(covariance)  # the mean is linear in z
    assert variance / ((1 - a) * t) == pytest.approx((1 - a) * r + a)


# The likelihood


@pytest.mark.equation("eq-tw-instantaneous")
def test_the_log_density_along_a_path():
    t, z, h = 0.5, randn(6, 2, seed=4), 1e-3
    ahead, behind = (
        probability_flow.transport(SET.score, z, torch.linspace(t, t + s, 9, dtype=torch.float64))[0] for s in (h, -h)
    )
    change = (SET.log_prob(ahead, t + h) - SET.log_prob(behind, t - h)) / (2 * h)
    laplacian = torch.stack([torch.func.hessian(lambda p: _log_p(p, t))(row).trace() for row in z])
    close(change, 0.5 * laplacian, atol=1e-4)


def _log_p(p, t):
    return torch.logsumexp(SET.weights.log() - (p - SET.centers).square().sum(1) / (2 * t), 0)


@pytest.mark.equation("eq-tw-likelihood")
def test_likelihood_by_the_flow():
    """Heun against the exact density, and a precise solver of SciPy's: the formula is exact, the solver is not."""
    t0, T, start = 0.1, 5.0, np.array([0.4, 0.2])
    z = torch.from_numpy(start).unsqueeze(0)

    def motion(t, state):
        score, hessian = tweedie.tweedie(SET, torch.from_numpy(state[:2]).unsqueeze(0), t)
        return np.append(-0.5 * score[0].numpy(), -0.5 * float(hessian[0].trace()))

    run = solve_ivp(motion, (t0, T), np.append(start, 0.0), method="DOP853", rtol=1e-10, atol=1e-12)
    end = torch.from_numpy(run.y[:2, -1]).unsqueeze(0)
    exact = float(SET.log_prob(z, t0))
    assert float(SET.log_prob(end, T)) + run.y[2, -1] == pytest.approx(exact, abs=1e-7)
    times = falling_times(T, t0, 200).flip(0)
    assert float(probability_flow.log_likelihood(SET.score, z, times, lambda x: SET.log_prob(x, T))) == pytest.approx(
        exact, abs=1e-3
    )
