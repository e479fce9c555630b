"""One test per claim of the chapter on Kolmogorov's equations: both sides by different routes."""

import math

import numpy as np
import pytest
import torch
from problems import close_mean
from scipy import stats
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm

from dpm_lib.exact.reverse_step_on_a_grid import step_back, two_clumps
from dpm_lib.markov import gillespie, kolmogorov, markov_chains, time_reversal
from dpm_lib.sde import fokker_planck, processes, sde

P0 = np.array([0.5, 0.3, 0.15, 0.05])
F = np.array([1.0, -2.0, 0.5, 3.0])


def random_generator(n: int = 4, seed: int = 0) -> np.ndarray:
    Q = np.random.default_rng(seed).exponential(size=(n, n))
    np.fill_diagonal(Q, 0)
    return Q - np.diag(Q.sum(1))


Q4, OTHER = random_generator(), random_generator(seed=1)


def changing(t: float) -> np.ndarray:
    return Q4 + (1 + np.sin(3 * t)) * OTHER


def slope(f, t, h=1e-3):
    return (8 * (f(t + h) - f(t - h)) - (f(t + 2 * h) - f(t - 2 * h))) / (12 * h)


def far(a, b) -> float:
    return float(np.abs(a - b).max())


# --- Waits, the two equations ---


@pytest.mark.equation("eq-kolm-holding")
def test_waits_are_exponential_and_targets_in_proportion():
    """A chain in steps of 1/2000 with P = 1 + Q h knows nothing of exponentials; the library's paths do not step."""
    h, n = 1 / 2000, 4000
    stay = (1 + Q4[1, 1] * h) ** np.array([200, 1000, 2000])
    np.testing.assert_allclose(stay, np.exp(Q4[1, 1] * np.array([0.1, 0.5, 1.0])), atol=2e-3)
    rng = np.random.default_rng(0)
    first = [gillespie.path(Q4, 1, 6.0, rng) for _ in range(n)]
    waits = np.array([times[1] for times, _ in first])
    assert stats.kstest(waits, stats.expon(scale=-1 / Q4[1, 1]).cdf).pvalue > 1e-3
    counts = np.bincount([states[1] for _, states in first], minlength=4)
    assert counts[1] == 0
    wanted = n * np.delete(Q4[1], 1) / -Q4[1, 1]
    assert stats.chisquare(np.delete(counts, 1), wanted).pvalue > 1e-3
    assert abs(np.corrcoef(waits, [states[1] for _, states in first])[0, 1]) < 4 / math.sqrt(n), "they are independent"


@pytest.mark.equation("eq-kolm-poisson")
def test_rings_after_exponential_waits_are_a_poisson_process():
    rate, t, n = 1.7, 1.3, 20_000
    rings = np.random.default_rng(0).exponential(1 / rate, (n, 40)).cumsum(1)
    early, late = (rings < t).sum(1), ((rings >= t) & (rings < 2 * t)).sum(1)
    law = np.array([math.exp(-rate * t) * (rate * t) ** k / math.factorial(k) for k in range(7)])
    wanted = n * np.append(law, 1 - law.sum())
    for count in (early, late):
        seen = np.bincount(np.minimum(count, 7), minlength=8)
        assert stats.chisquare(seen, wanted).pvalue > 1e-3
    assert abs(np.corrcoef(early, late)[0, 1]) < 4 / math.sqrt(n), "the clock has no memory"
    line = np.diag(np.full(29, rate), 1)  # its own forward equation, cut off where nobody comes
    line -= np.diag(line.sum(1))
    np.testing.assert_allclose(kolmogorov.forward(np.eye(30)[0], line, [0, t])[-1, :7], law, rtol=1e-10)


@pytest.mark.equation("eq-kolm-chapman")
def test_chapman_kolmogorov():
    P = kolmogorov.transition_matrix
    assert far(P(Q4, 1.1), P(Q4, 0.4) @ P(Q4, 0.7)) < 1e-13
    start, ends = 2, np.random.default_rng(0)
    n = 40_000
    midway = gillespie.simulate(Q4, start, 0.2, n, ends)
    last = gillespie.simulate(Q4, midway, 0.3, n, ends)
    assert stats.chisquare(np.bincount(last, minlength=4), n * P(Q4, 0.5)[start]).pvalue > 1e-3


@pytest.mark.equation("eq-kolm-both", "eq-kolm-exp")
def test_forward_and_backward_equation_of_the_exponential():
    def P(t):
        return kolmogorov.transition_matrix(Q4, t)

    for t in (0.05, 0.6, 2.0):
        assert far(slope(P, t), P(t) @ Q4) < 1e-8
        assert far(slope(P, t), Q4 @ P(t)) < 1e-8
        assert far(slope(P, t), -P(t) @ Q4) > 1e-3
        series, term = np.zeros((4, 4)), np.eye(4)
        for k in range(1, 120):
            series, term = series + term, term @ Q4 * t / k
        assert far(P(t), series) < 1e-8  # the series cancels: its terms reach e^(2 t |Q_ii|)
    assert far((P(1e-6) - np.eye(4)) / 1e-6, Q4) < 1e-4


@pytest.mark.equation("eq-kolm-uniform")
@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_uniformisation_is_a_poisson_mean_of_powers(factor):
    t, rate = 0.8, factor * -Q4.diagonal().min()
    tilde = np.eye(4) + Q4 / rate
    mean = sum(stats.poisson.pmf(k, rate * t) * np.linalg.matrix_power(tilde, k) for k in range(80))
    assert (tilde >= 0).all() and far(tilde.sum(1), 1) < 1e-14
    assert far(mean, expm(Q4 * t)) < 1e-13
    P, least = kolmogorov.uniformise(Q4)
    assert far(least * (P - np.eye(4)), Q4) < 1e-13
    assert far(kolmogorov._series(P, 0.9), expm(Q4 * 0.9 / least)) < 1e-14


@pytest.mark.equation("eq-kolm-forward")
def test_laws_follow_the_forward_equation():
    """The library's exponential against a solver that only knows gain minus loss, written out."""

    def gain_minus_loss(t, p):
        return [sum(p[i] * Q4[i, j] for i in range(4) if i != j) + p[j] * Q4[j, j] for j in range(4)]

    run = solve_ivp(gain_minus_loss, (0, 1.5), P0, "DOP853", [0.5, 1.5], rtol=1e-12, atol=1e-14)
    assert far(kolmogorov.forward(P0, Q4, [0, 0.5, 1.5])[1:], run.y.T) < 1e-10
    n = 40_000
    rng = np.random.default_rng(1)
    ends = gillespie.simulate(Q4, rng.choice(4, n, p=P0), 0.5, n, rng)
    assert stats.chisquare(np.bincount(ends, minlength=4), n * run.y[:, 0]).pvalue > 1e-3


@pytest.mark.equation("eq-kolm-backward", "eq-kolm-value")
def test_values_follow_the_backward_equation_and_are_expectations():
    T, n = 0.9, 40_000

    def value(s):
        return kolmogorov.backward(F, Q4, [s, T])[0]

    assert far(-slope(value, 0.3), Q4 @ value(0.3)) < 1e-9
    assert far(value(0.3), expm(Q4 * (T - 0.3)) @ F) < 1e-12
    assert far(value(T), F) == 0
    rng = np.random.default_rng(0)
    for i in range(4):
        paid = F[gillespie.simulate(Q4, i, T - 0.3, n, rng)]
        assert abs(paid.mean() - value(0.3)[i]) < 4 * paid.std() / math.sqrt(n)


@pytest.mark.equation("eq-kolm-duality")
@pytest.mark.parametrize("Q", [Q4, changing])
def test_duality(Q):
    times = np.linspace(0.2, 1.7, 9)
    pairs = (kolmogorov.forward(P0, Q, times) * kolmogorov.backward(F, Q, times)).sum(1)
    assert np.ptp(pairs) < 1e-10
    fine = P0
    for k in range(3000):  # Euler's method knows of no duality
        fine = fine + fine @ (Q(0.2 + k * 5e-4) if callable(Q) else Q) * 5e-4
    assert abs(pairs[0] - fine @ F) < 2e-3


@pytest.mark.equation("eq-kolm-thinning")
@pytest.mark.parametrize("rate", [12.0, 24.0])
def test_thinning_draws_the_law_of_changing_rates(rate):
    """Against an integrator that knows gain and loss only; whatever the clock, as long as it is fast enough."""
    n, end = 1500, 0.25
    run = solve_ivp(lambda t, p: p @ changing(t), (0, end), P0, "DOP853", rtol=1e-11, atol=1e-13)
    rng = np.random.default_rng(2)
    ends = gillespie.simulate(changing, rng.choice(4, n, p=P0), end, n, rng, rate=rate)
    assert stats.chisquare(np.bincount(ends, minlength=4), n * run.y[:, -1]).pvalue > 1e-3


@pytest.mark.equation("eq-kolm-thinning")
def test_thinning_leaves_a_state_at_its_rate():
    """From 0 at the rate 3 s, to 1 or 2 in the ratio 1 to 2, for good: exp(-3 t^2 / 2) are left."""

    def once(s: float) -> np.ndarray:
        return np.array([[-3 * s, s, 2 * s], [0, 0, 0], [0, 0, 0]])

    n, t = 2000, 0.8
    left = math.exp(-1.5 * t**2)
    ends = gillespie.simulate(once, 0, t, n, np.random.default_rng(0), rate=2.5)
    wanted = n * np.array([left, (1 - left) / 3, 2 * (1 - left) / 3])
    assert stats.chisquare(np.bincount(ends, minlength=3), wanted).pvalue > 1e-3
    later = gillespie.simulate(once, 0, t, n, np.random.default_rng(1), start=0.5, rate=2.5)
    left = math.exp(-1.5 * (t**2 - 0.5**2))
    assert abs((later == 0).mean() - left) < 4 * math.sqrt(left * (1 - left) / n)


@pytest.mark.equation("eq-kolm-two-times")
def test_changing_rates_have_a_forward_and_a_backward_equation():
    def P(s, t):
        return kolmogorov.transition_matrix(changing, t, start=s)

    s, t = 0.3, 1.1
    later, earlier = slope(lambda x: P(s, x), t, 0.01), slope(lambda x: P(x, t), s, 0.01)
    assert far(later, P(s, t) @ changing(t)) < 1e-5
    assert far(earlier, -changing(s) @ P(s, t)) < 1e-5
    assert far(later, changing(t) @ P(s, t)) > 0.05, "the order matters"
    product = np.eye(4)
    for k in range(800):
        product = product @ expm(changing(s + (k + 0.5) * 1e-3) * 1e-3)
    assert far(P(s, t), product) < 1e-6


# --- Diffusions ---


OU = processes.ornstein_uhlenbeck()
WILD = sde.SDE(lambda x, t: -x, lambda x, t: ((1 + x**2) / 2).sqrt(), True)


@pytest.mark.equation("eq-kolm-diffusion-backward")
def test_backward_equation_of_a_diffusion():
    """The grid's backward equation, second order in the cell, against E[X_T^2 | x] and E[cos X_T | x] of both SDEs."""
    T, errors = 0.7, []
    for cells in (201, 401):
        x = np.linspace(-8, 8, cells)
        shrink = math.exp(-T)
        spread = 1 - shrink**2
        for f, exact in ((x**2, shrink**2 * x**2 + spread), (np.cos(x), np.cos(shrink * x) * math.exp(-spread / 2))):
            u = kolmogorov.backward(f, fokker_planck.generator(OU, x), [0, T])[0]
            errors.append(far(u[np.abs(x) < 2], exact[np.abs(x) < 2]))
    np.testing.assert_allclose(np.divide(errors[:2], errors[2:]), 4, rtol=0.1)
    assert max(errors[2:]) < 3e-3
    x = np.linspace(-15, 15, 601)  # du/dt = -2 u + (1 + u) / 2 for u = E X^2: to 1/3 at the rate 3/2
    u = kolmogorov.backward(x**2, fokker_planck.generator(WILD, x), [0, T])[0]
    near = np.abs(x) < 1.5
    assert far(u[near], (1 / 3 + (x**2 - 1 / 3) * math.exp(-1.5 * T))[near]) < 5e-3


@pytest.mark.equation("eq-kolm-adjoint")
def test_the_two_generators_of_a_diffusion_are_adjoint():
    mu, D = (lambda x: np.sin(x) - x), (lambda x: 1 + 0.5 * np.cos(2 * x))
    p, f = (lambda x: np.exp(-((x - 0.4) ** 2)) * (1 + 0.3 * x**2)), (lambda x: np.sin(1.3 * x) + 0.2 * x**3)

    def second(g, x, h=1e-3):
        return (g(x + h) - 2 * g(x) + g(x - h)) / h**2

    left, _ = quad(lambda x: p(x) * (mu(x) * slope(f, x) + 0.5 * D(x) * second(f, x)), -9, 9, limit=200)
    star = lambda x: -slope(lambda y: mu(y) * p(y), x) + 0.5 * second(lambda y: D(y) * p(y), x)  # noqa: E731
    right, _ = quad(lambda x: f(x) * star(x), -9, 9, limit=200)
    assert left == pytest.approx(right, abs=1e-5) and abs(left) > 0.1
    x = np.linspace(-6, 6, 301)
    Q = fokker_planck.generator(OU, x)
    assert abs((p(x) @ Q) @ f(x) - p(x) @ (Q @ f(x))) < 1e-10, "on the grid it is transposition"
    flow = p(x) @ Q
    inside = slice(30, -30)
    star_ou = slope(lambda y: y * p(y), x) + second(p, x)
    assert far(flow[inside], star_ou[inside]) < 5e-3, "and Fokker-Planck is the forward equation"


# --- Relative entropy ---


@pytest.mark.equation("eq-kolm-processing")
def test_relative_entropy_never_grows():
    rng = np.random.default_rng(0)
    for n in (2, 5, 9):
        P = rng.dirichlet(np.full(n, 0.3), size=n)
        p, q = rng.dirichlet(np.ones(n), size=2)
        before, after = time_reversal.relative_entropy(p, q), time_reversal.relative_entropy(p @ P, q @ P)
        assert after < before
        back_p, back_q = time_reversal.reverse_kernel(P, p), time_reversal.reverse_kernel(P, q)
        lost = (p @ P) @ time_reversal.relative_entropy(back_p, back_q)
        assert before - after == pytest.approx(float(lost), rel=1e-10)
    assert time_reversal.relative_entropy([0.5, 0.5], [1.0, 0.0]) == math.inf
    assert time_reversal.relative_entropy([0.5, 0.5, 0], [0.2, 0.6, 0.2]) == pytest.approx(
        0.5 * math.log(2.5) + 0.5 * math.log(5 / 6)
    )


@pytest.mark.equation("eq-kolm-loss")
@pytest.mark.parametrize("t", [0.1, 0.8])
def test_rate_at_which_relative_entropy_is_lost(t):
    other = np.array([0.1, 0.2, 0.3, 0.4])

    def D(s):
        p, q = (kolmogorov.forward(law, changing, [0, s])[-1] for law in (P0, other))
        return time_reversal.relative_entropy(p, q)

    p, q = (kolmogorov.forward(law, changing, [0, t])[-1] for law in (P0, other))
    loss = time_reversal.entropy_loss(changing(t), p, q)
    assert loss > 0
    assert -slope(D, t, 0.01) == pytest.approx(loss, rel=1e-4)


def laplace_walk(n: int = 6) -> np.ndarray:
    """A queue with uneven rates, (n, n): reversible, as every walk on a line is."""
    up, down = np.linspace(1.0, 0.3, n - 1), np.linspace(0.5, 2.0, n - 1)
    Q = np.diag(up, 1) + np.diag(down, -1)
    return Q - np.diag(Q.sum(1))


def at_rest(Q: np.ndarray) -> np.ndarray:
    """pi with pi Q = 0, by linear algebra."""
    n = len(Q)
    return np.linalg.solve(np.vstack([Q.T[:-1], np.ones(n)]), np.eye(n)[-1])


@pytest.mark.equation("eq-kolm-forgets")
def test_a_chain_in_continuous_time_forgets():
    """A ring that goes one way only: its chain in steps has period 5, and never settles. In continuous time it does."""

    def delta(P):
        return max(0.5 * np.abs(a - b).sum() for a in P for b in P)

    def off(Q, t):
        return 0.5 * np.abs(expm(Q * t) - at_rest(Q)).sum(1).max()

    ring = np.roll(np.eye(5), 1, axis=1) - np.eye(5)
    assert (np.linalg.matrix_power(np.roll(np.eye(5), 1, axis=1), 1000).max(1) == 1).all()
    for Q in (ring, Q4, laplace_walk()):
        for h in (0.05, 0.5, 3.0):
            step = expm(Q * h)
            assert (step > 0).all() and delta(step) < 1
            for k in (1, 2.5, 20):
                assert off(Q, k * h) <= delta(step) ** math.floor(k) + 1e-12
        assert far(kolmogorov.transition_matrix(Q, 200.0), at_rest(Q)) < 1e-12
    leave = np.array([[-1.3, 1.3], [1e-9, -1e-9]])  # whence one hardly comes back: the bound is met
    assert off(leave, 3 * 0.4) == pytest.approx(delta(expm(leave * 0.4)) ** 3, rel=1e-6)
    path = np.diag(np.full(19, 20.0), 1)  # a way of 19 steps to one end: nothing happens, and then all at once
    path[-1, 0] = 1e-3
    path -= np.diag(path.sum(1))
    assert off(path, 0.5) > delta(expm(path * 2)) ** 0.25, "whole multiples of h count, no shares"


@pytest.mark.equation("eq-kolm-gap")
def test_chi_square_falls_at_twice_the_gap():
    def chi_square(p, pi):
        return float(((p - pi) ** 2 / pi).sum())

    Q = laplace_walk()
    pi, (values, vectors) = at_rest(Q), np.linalg.eig(Q.T)
    order = np.argsort(-values.real)
    gap, slow = -values[order[1]].real, vectors[:, order[1]].real
    for start in np.eye(6):
        for t in (0.1, 1.0, 5.0):
            p = start @ expm(Q * t)
            assert chi_square(p, pi) <= math.exp(-2 * gap * t) * chi_square(start, pi) + 1e-12
            divergence = float(time_reversal.relative_entropy(p, pi))
            assert divergence <= math.log(1 + chi_square(p, pi)) + 1e-12
    p = pi + 0.1 * pi.min() / np.abs(slow).max() * slow  # along the slowest mode it is an equality
    after = kolmogorov.forward(p, Q, [0, 2.0])[-1]
    assert chi_square(after, pi) == pytest.approx(math.exp(-4 * gap) * chi_square(p, pi), rel=1e-9)
    flip = np.array([[-1.0, 1.0], [1.0, -1.0]])
    both = np.kron(flip, np.eye(2)) + np.kron(np.eye(2), flip)
    for bits in (flip, both):
        assert np.sort(np.linalg.eigvalsh(bits))[-2] == pytest.approx(-2), "one bit or two: the gap is 2"


def divergence_of(p, q, x) -> float:
    return float((p * np.log(p / q)).sum() * (x[1] - x[0]))


@pytest.mark.equation("eq-kolm-loss-diffusion")
def test_two_densities_under_one_diffusion_lose_at_the_rate_of_the_score():
    """Noise that depends on the place: the grid's two densities in time, and the integral of the scores' difference."""
    x, t, h = np.linspace(-7, 7, 1401), 0.4, 0.01
    starts = stats.norm.pdf(x, 0.8, 0.6), 0.5 * (stats.norm.pdf(x, -1, 0.7) + stats.norm.pdf(x, 0.5, 0.9))
    times = [0.0, t - h, t, t + h]
    p, q = (fokker_planck.solve(WILD, start / (start.sum() * 0.01), x, times, "tr-bdf2", 200) for start in starts)
    before, after = (divergence_of(p[k], q[k], x) for k in (1, 3))
    score = np.gradient(np.log(p[2] / q[2]), x)
    loss = 0.5 * (p[2] * (1 + x**2) / 2 * score**2).sum() * 0.01
    assert (before - after) / (2 * h) == pytest.approx(loss, rel=2e-3) and loss > 0.05


@pytest.mark.equation("eq-kolm-ou-forgets")
def test_relative_entropy_of_an_ornstein_uhlenbeck_process_falls_at_twice_its_rate():
    rate, noise, x = 0.8, 1.1, np.linspace(-9, 9, 6001)
    spread = noise**2 / (2 * rate)
    pi = stats.norm.pdf(x, 0, math.sqrt(spread))

    def at(t, clumps):
        shrink = math.exp(-rate * t)
        parts = [
            w * stats.norm.pdf(x, shrink * m, math.sqrt(shrink**2 * v + spread * (1 - shrink**2))) for w, m, v in clumps
        ]
        return divergence_of(sum(parts), pi, x)

    mixture = [(0.3, -2.0, 0.04), (0.7, 1.0, 0.2)]
    for t in (0.05, 0.5, 2.0):
        assert at(t, mixture) < math.exp(-2 * rate * t) * at(0, mixture)
        moved = [(1.0, 1.3, spread)]
        assert at(t, moved) == pytest.approx(math.exp(-2 * rate * t) * at(0, moved), rel=1e-6), "equality"
    ou = fokker_planck.solve(
        processes.ornstein_uhlenbeck(rate, noise), lambda y: stats.norm.pdf(y, 1.3, 1.5), x[::10], [0, 1]
    )
    assert divergence_of(ou[1], pi[::10], x[::10]) < math.exp(-2 * rate) * divergence_of(ou[0], pi[::10], x[::10])


# --- Backwards ---


@pytest.mark.equation("eq-kolm-bayes")
def test_the_step_back_by_counting():
    n, t = 60_000, 0.4
    rng = np.random.default_rng(0)
    first = rng.choice(4, n, p=P0)
    last = gillespie.simulate(Q4, first, t, n, rng)
    B = time_reversal.reverse_kernel(expm(Q4 * t), P0)
    assert far(B.sum(1), 1) < 1e-13
    for j in range(4):
        counts = np.bincount(first[last == j], minlength=4)
        assert stats.chisquare(counts, counts.sum() * B[j]).pvalue > 1e-3


@pytest.mark.equation("eq-kolm-reverse")
def test_reversed_rates_are_the_limit_of_bayes_and_bring_the_pairs_back():
    T, h = 1.1, 1e-5

    def law(t):
        return kolmogorov.forward(P0, Q4, [0, t])[-1]

    R = time_reversal.reverse_generator(Q4, law)
    for t in (0.2, 0.9):
        short = time_reversal.reverse_kernel(expm(Q4 * h), law(t - h))
        assert far((short - np.eye(4)) / h, R(t)) < 1e-3
        log_slope = slope(lambda s: np.log(law(s)), t)
        assert far(R(t).diagonal(), Q4.diagonal() - log_slope) < 1e-8
        assert np.abs(log_slope).max() > 1e-2
    B = time_reversal.reverse_kernel(kolmogorov.transition_matrix(Q4, T), P0)
    assert far(kolmogorov.transition_matrix(lambda s: R(T - s), T), B) < 1e-8
    pi = markov_chains.stationary_distribution(kolmogorov.uniformise(Q4)[0])
    still = time_reversal.reverse_generator(Q4, pi)
    assert far(still.diagonal(), Q4.diagonal()) < 1e-12 and far(pi @ still, 0) < 1e-12


@pytest.mark.equation("eq-kolm-half")
def test_the_backward_function_is_half_of_bayes():
    s, T, k = 0.3, 0.8, 2
    p = kolmogorov.forward(P0, Q4, [0, s, T])
    u = kolmogorov.backward(np.eye(4)[k], Q4, [0, s, T])[1]
    film = time_reversal.reverse_kernel(expm(Q4 * (T - s)), p[1])[k]
    assert far(p[1] * u / p[2, k], film) < 1e-12
    n = 80_000
    rng = np.random.default_rng(3)
    midway = gillespie.simulate(Q4, rng.choice(4, n, p=P0), s, n, rng)
    seen = midway[gillespie.simulate(Q4, midway, T - s, n, rng) == k]
    assert stats.chisquare(np.bincount(seen, minlength=4), len(seen) * film).pvalue > 1e-3


@pytest.mark.equation("eq-kolm-conditioned")
def test_a_film_that_must_end_in_k():
    """Pairs drawn with no knowledge of the end, and only then chosen by it: what they do in a short time at s."""
    s, T, k, h = 0.3, 0.8, 2, 1e-4
    now, ahead = expm(Q4 * (T - s))[:, k], expm(Q4 * (T - s - h))[:, k]
    step = expm(Q4 * h)
    chosen = step * ahead / now[:, None]  # Bayes' rule for the step, exactly
    assert far(chosen.sum(1), 1) < 1e-12
    rates = Q4 * now / now[:, None]
    off = ~np.eye(4, dtype=bool)
    assert far((chosen / h)[off], rates[off]) < 5e-3
    n, rng = 40_000, np.random.default_rng(4)
    middle = gillespie.simulate(Q4, 1, 0.4, n, rng)  # s to s + 0.4 from state 1
    seen = middle[gillespie.simulate(Q4, middle, T - s - 0.4, n, rng) == k]

    def film(t: float) -> np.ndarray:
        u = expm(Q4 * (T - s - t))[:, k]
        Q = np.where(off, Q4 * u / u[:, None], 0.0)
        return Q - np.diag(Q.sum(1))

    law = kolmogorov.forward(np.eye(4)[1], film, [0, 0.4])[-1]
    assert stats.chisquare(np.bincount(seen, minlength=4), len(seen) * law).pvalue > 1e-3


# --- One small step of a diffusion ---


STD, X = 0.5, 0.3


def clump_derivatives(x, std):
    a = x / std**2
    return (1 / math.cosh(a) ** 2 / std**2 - 1) / std**2, -2 * math.tanh(a) / math.cosh(a) ** 2 / std**6


@pytest.mark.equation("eq-kolm-step-back")
def test_step_back_by_rejection_of_forward_steps():
    """Draw pairs forward, keep those that land near x_t: where did they come from?"""
    rng = np.random.default_rng(0)
    beta, x_t, n = 0.4, 0.5, 3_000_000
    start = rng.choice([-1.0, 1.0], n) + STD * rng.standard_normal(n)
    end = math.sqrt(1 - beta) * start + math.sqrt(beta) * rng.standard_normal(n)
    kept = start[np.abs(end - x_t) < 0.01]
    back = step_back(lambda y: two_clumps(y, STD), x_t, beta)
    assert abs(kept.mean() - back.mean) < 4 * kept.std() / math.sqrt(len(kept))
    cdf = np.cumsum(np.exp(back.log_density)) * (back.grid[1] - back.grid[0])
    assert stats.kstest(kept, lambda y: np.interp(y, back.grid, cdf)).pvalue > 1e-3


@pytest.mark.equation("eq-kolm-skew")
@pytest.mark.parametrize("x_t", [0.3, -0.6])
def test_the_step_back_is_a_normal_with_a_cubic(x_t):
    _, third = clump_derivatives(x_t, STD)
    assert third == pytest.approx(
        (
            two_clumps(x_t + 0.02, STD)
            - 2 * two_clumps(x_t + 0.01, STD)
            + 2 * two_clumps(x_t - 0.01, STD)
            - two_clumps(x_t - 0.02, STD)
        )
        / 2e-6,
        rel=2e-2,
    )
    left, grid = [], np.linspace(x_t - 0.2, x_t + 0.2, 8001)
    for beta in (4e-4, 2e-4):
        back = step_back(lambda y: two_clumps(y, STD), x_t, beta, grid)
        z = (grid - back.mean) / math.sqrt(back.variance)
        p = np.exp(back.log_density) * math.sqrt(back.variance)
        kappa = third * beta**1.5
        dz = z[1] - z[0]
        assert (p * z**3).sum() * dz == pytest.approx(kappa, rel=0.02)
        shape = stats.norm.pdf(z) * (1 + kappa / 6 * (z**3 - 3 * z))
        left.append([far(p, shape), far(p, stats.norm.pdf(z))])
    assert np.log2(np.divide(*left)) == pytest.approx([2, 1.5], abs=0.1), "what is left is of order beta^2"


@pytest.mark.equation("eq-kolm-cubed")
@pytest.mark.parametrize("x_t", [0.3, -0.6])
def test_the_kl_falls_like_beta_cubed(x_t):
    _, third = clump_derivatives(x_t, STD)
    off = [
        abs(step_back(lambda y: two_clumps(y, STD), x_t, beta).kl / (beta**3 * third**2 / 12) - 1)
        for beta in (0.004, 0.002, 0.001)
    ]
    assert off[0] > off[1] > off[2] and off[2] < 0.05
    best = step_back(lambda y: two_clumps(y, STD), x_t, 0.01)
    for off_mean, factor in ((0.001, 1.0), (-0.001, 1.0), (0.0, 1.02), (0.0, 0.98)):
        other = best.mean + off_mean, best.variance * factor  # given: normals around
        assert best.kl_to(*other) > best.kl, "no other normal is nearer"


# --- The reverse SDE ---


@pytest.mark.equation("eq-kolm-reversed-density")
def test_the_density_run_backwards_follows_the_reversed_equation():
    """p of the Ornstein-Uhlenbeck process with another noise in every place: by finite differences on an exact p."""
    a, b = -0.4, 0.6  # geometric: dX = a X dt + b X dW, log-normal from log X_0 ~ N(0, 0.3)

    def p(x, t):  # but for a constant factor, which no term sees
        m, v = (a - b**2 / 2) * t, 0.3 + b**2 * t
        return np.exp(-0.5 * (np.log(x) - m) ** 2 / v) / (x * np.sqrt(v))

    x, T, s = np.linspace(0.4, 3.0, 27), 0.8, 0.3
    D = lambda y: (b * y) ** 2  # noqa: E731
    now = lambda y: p(y, T - s)  # noqa: E731
    bracket = lambda y: -a * y + 2 * b**2 * y + D(y) * slope(lambda w: np.log(now(w)), y)  # noqa: E731
    assert far(bracket(x), -a * x + slope(lambda y: D(y) * now(y), x) / now(x)) < 1e-8
    h = 1e-3
    second = (D(x + h) * now(x + h) - 2 * D(x) * now(x) + D(x - h) * now(x - h)) / h**2
    right = -slope(lambda y: bracket(y) * now(y), x) + 0.5 * second
    left = slope(lambda r: p(x, T - r), s)
    assert far(left, right) < 1e-5 and np.abs(left).max() > 0.1


@pytest.mark.equation("eq-kolm-reverse-sde")
def test_the_reverse_sde_has_the_laws_and_the_pairs_of_the_film():
    """Geometric Brownian motion, whose logarithms are normal: only the way back is stepped. Without D' it fails."""
    a, b, n, T, t = -0.4, 0.6, 20_000, 1.0, 0.5
    gen = torch.Generator().manual_seed(0)

    def law(now):
        return (a - b**2 / 2) * now, 0.3 + b**2 * now

    def score(x, now):
        m, v = (a - b**2 / 2) * now, 0.3 + b**2 * now
        return -(1 + (x.log() - m) / v) / x

    film, times = sde.SDE(lambda x, now: a * x, lambda x, now: b * x), torch.tensor([T, t])
    (m_t, v_t), (m_T, v_T) = law(t), law(T)
    end = torch.normal(m_T, math.sqrt(v_T), (n, 1), generator=gen, dtype=torch.float64)

    def standardised(process):
        """log X_t of ``process`` run back from the end, less its exact mean given the end, over its exact spread."""
        log = process.simulate(end.exp(), times, gen, substeps=150)[-1].log()
        return (log - m_t - v_t / v_T * (end - m_T)) / math.sqrt(v_t - v_t**2 / v_T)

    z = standardised(film.reverse(score))
    for moment, exact in ((z, 0), (z**2, 1), (z[end > m_T], 0), (z[end < m_T], 0)):  # wherever it ends
        close_mean(moment, exact)
    assert stats.kstest(z[:, 0].numpy(), stats.norm.cdf).pvalue > 1e-3
    slip = sde.SDE(lambda x, now: a * x - (b * x) ** 2 * score(x, now), film.diffusion, backward=True)
    assert stats.kstest(standardised(slip)[:, 0].numpy(), stats.norm.cdf).pvalue < 1e-9


def euler_step_back(h: float, x: float = 1.0):
    """The Bayes-reversed Euler step of WILD in equilibrium, p ~ (1 + y^2)^-3: grid, probabilities, log density."""
    y = x + math.sqrt(h) * np.linspace(-9, 9, 6001)
    D = (1 + y**2) / 2
    log = -3 * np.log(D) - 0.5 * np.log(D) - (x - y + y * h) ** 2 / (2 * D * h)
    p = np.exp(log - log.max())
    return y, p / p.sum(), log


@pytest.mark.equation("eq-kolm-log-back")
def test_log_density_of_where_an_euler_step_came_from():
    """Draw y from Student's law, step, keep what lands near x: their y against the formula."""
    h, x, rng = 0.1, 0.7, np.random.default_rng(0)
    y = rng.standard_t(5, 1_000_000) / math.sqrt(5)
    end = y - y * h + np.sqrt((1 + y**2) / 2 * h) * rng.standard_normal(len(y))
    kept = y[np.abs(end - x) < 0.01] - x
    w = np.linspace(-3, 3, 6001)
    D = (1 + (x + w) ** 2) / 2
    log = -3 * np.log(1 + (x + w) ** 2) - 0.5 * np.log(D) - (w - (x + w) * h) ** 2 / (2 * D * h)
    cdf = np.exp(log - log.max()).cumsum()
    assert len(kept) > 5000
    assert stats.kstest(kept, lambda v: np.interp(v, w, cdf / cdf[-1])).pvalue > 1e-3


@pytest.mark.equation("eq-kolm-log-expanded")
def test_expansion_of_the_log_density_of_a_step_back():
    """What is left out is of order h: over a range of a few sqrt(h), it falls by 4 when h does."""
    x, mu, D, slope_D, score = 0.6, -0.6, 0.68, 0.6, -3.6 / 1.36
    left = []
    for h in (4e-4, 1e-4):
        y, _, log = euler_step_back(h, x)
        w = (y - x)[2000:4001]
        short = -(w**2) / (2 * D * h) + w * (score - slope_D / (2 * D) - mu / D) + slope_D * w**3 / (2 * D**2 * h)
        rest = (log[2000:4001] - log[3000]) - short
        left.append(np.abs(rest).max())
    assert 3.5 < left[0] / left[1] < 4.5 and left[1] < 0.02


@pytest.mark.equation("eq-kolm-reverse-limit")
def test_moments_of_a_step_back_are_those_of_the_reverse_sde():
    drift, variance, price = [], [], []
    for h in (8e-3, 4e-3, 2e-3):
        y, p, _ = euler_step_back(h)
        mean = p @ y
        v = p @ (y - mean) ** 2
        drift.append((mean - 1) / h)
        variance.append(v / h)
        normal = stats.norm.pdf(y, mean, math.sqrt(v)) * (y[1] - y[0])
        price.append(float(time_reversal.relative_entropy(p, normal)) / h)
    wanted = 1 + 1 - 3  # -mu + D' + D score at x = 1
    errors = np.abs(np.array(drift) - wanted)
    np.testing.assert_allclose(errors[1:] / errors[:-1], 0.5, atol=0.1)
    assert errors[-1] < 5e-3
    assert variance[-1] == pytest.approx(1, abs=5e-3)
    assert price[-1] == pytest.approx(0.75, abs=0.01), "the exercise: 3/4 D'^2 / D"


@pytest.mark.equation("eq-kolm-student")
def test_wild_noise_has_a_student_law():
    x = np.linspace(-30, 30, 6001)
    p = fokker_planck.stationary(WILD, x)
    student = stats.t(5, scale=1 / math.sqrt(5))
    assert far(p, student.pdf(x)) < 1e-4
    assert far(student.pdf(x), 8 / (3 * math.pi) * (1 + x**2) ** -3.0) < 1e-14
    assert student.var() == pytest.approx(1 / 3)
    as_printed, _ = quad(lambda y: y**2 * (1 + y**2) ** -2, -math.inf, math.inf)
    mass, _ = quad(lambda y: (1 + y**2) ** -2, -math.inf, math.inf)
    assert as_printed / mass == pytest.approx(1)
    gen = torch.Generator().manual_seed(0)
    ends = WILD.simulate(torch.zeros(4000, 1, dtype=torch.float64), torch.tensor([0.0, 5.0]), gen, substeps=1000)[-1]
    assert stats.kstest(ends[:, 0].numpy(), student.cdf).pvalue > 1e-3


# --- Entropies ---


def entropy_of(log_q, y) -> float:
    return float(-(np.exp(log_q) * log_q).sum() * (y[1] - y[0]))


class Chain:
    """Clumps at -far and far of standard deviation std, diffused: log densities of x_t on a grid."""

    def __init__(self, far: float, std: float, beta: np.ndarray) -> None:
        self.far, self.std, self.beta = far, std, beta
        self.left = np.concatenate([[1.0], np.cumprod(1 - beta)])
        self.y = np.linspace(-20, 20, 4001)

    def log_q(self, t, y=None):
        shift = self.far * math.sqrt(self.left[t])
        width = math.sqrt(self.left[t] * self.std**2 + 1 - self.left[t])
        return two_clumps((self.y if y is None else y) / shift, width / shift) - math.log(shift)

    def H(self, t):
        return entropy_of(self.log_q(t), self.y)

    def H_back(self, t):
        """H(X_{t-1} | X_t) straight from its definition: the mean entropy of the steps back."""
        x = np.linspace(-13, 13, 521)
        weight = np.exp(self.log_q(t, x)) * (x[1] - x[0])
        steps = [step_back(lambda y: self.log_q(t - 1, y), at, self.beta[t - 1], self.y) for at in x[weight > 1e-14]]
        return float(weight[weight > 1e-14] @ [entropy_of(s.log_density, s.grid) for s in steps])

    def mean_square(self, t):
        return self.left[t] * (self.far**2 + self.std**2) + 1 - self.left[t]


def gaussian_entropy(variance):
    return 0.5 * math.log(2 * math.pi * math.e * variance)


UNIT = Chain(0.9, math.sqrt(0.19), np.array([0.05, 0.1, 0.2, 0.4]))
LARGE = Chain(0.8, 1.9, np.array([0.05, 0.1, 0.2, 0.4]))  # nearly normal, of variance 4.25
NEAR = Chain(1e-3, math.sqrt(1.01), np.array([0.05, 0.1, 0.2, 0.4]))  # nearly N(0, 1), where bounds are tight


def normal_step(variance: float, beta: float) -> tuple[float, float]:
    """H(X_{t-1} | X_t) of normal data of this variance, and H(X_t | X_{t-1}): by the variance given X_t."""
    return gaussian_entropy(variance * beta / ((1 - beta) * variance + beta)), gaussian_entropy(beta)


@pytest.mark.equation("eq-kolm-entropy-bayes")
@pytest.mark.parametrize("chain", [UNIT, LARGE])
@pytest.mark.parametrize("t", [2, 4])
def test_balance_of_entropies(chain, t):
    balance = gaussian_entropy(chain.beta[t - 1]) + chain.H(t - 1) - chain.H(t)
    assert chain.H_back(t) == pytest.approx(balance, abs=1e-6)


@pytest.mark.equation("eq-kolm-entropy-bounds")
@pytest.mark.parametrize("t", [2, 3, 4])
def test_bounds_on_the_entropy_of_a_step_back(t):
    upper = gaussian_entropy(UNIT.beta[t - 1])
    lower = upper + gaussian_entropy(1 - UNIT.left[t - 1]) - gaussian_entropy(1 - UNIT.left[t])
    given_start = UNIT.beta[t - 1] * (1 - UNIT.left[t - 1]) / (1 - UNIT.left[t])  # the posterior's variance
    assert lower == pytest.approx(gaussian_entropy(given_start), abs=1e-12), "the lower bound is H(X_{t-1} | X_t, X_0)"
    assert lower < UNIT.H_back(t) < upper
    tiny = Chain(1e-3, 1.0, UNIT.beta)  # nearly N(0, 1): nothing is forgotten, and the upper bound is met
    assert tiny.H_back(t) == pytest.approx(upper, abs=1e-5)


@pytest.mark.equation("eq-kolm-entropy-grows")
@pytest.mark.parametrize("chain", [UNIT, LARGE, NEAR])
def test_how_much_entropy_a_step_must_add(chain):
    for t in range(1, 5):
        before = np.exp(chain.log_q(t - 1)) * chain.y**2
        square = before.sum() * (chain.y[1] - chain.y[0])
        assert square == pytest.approx(chain.mean_square(t - 1), rel=1e-9)
        rise, least = chain.H(t) - chain.H(t - 1), 0.5 * chain.beta[t - 1] * (1 - square)
        assert rise >= least
        if chain is NEAR:
            assert rise == pytest.approx(least, rel=0.01)


@pytest.mark.equation("eq-kolm-entropy-repaired")
@pytest.mark.parametrize("t", [2, 4])
def test_repaired_upper_bound(t):
    for chain in (LARGE, NEAR):
        exact, upper = chain.H_back(t), gaussian_entropy(chain.beta[t - 1])
        repair = 0.5 * chain.beta[t - 1] * (chain.mean_square(t - 1) - 1)
        assert upper < exact <= upper + repair, "without the repair it fails for these data"
        if chain is NEAR:
            assert exact - upper == pytest.approx(repair, rel=0.01)


@pytest.mark.equation("eq-kolm-entropy-repaired", "eq-kolm-entropy-grows")
def test_the_repair_is_as_small_as_it_can_be_and_does_not_see_the_mean():
    """Near variance 1 it is met, so that no smaller factor than a half would do. Normal data may stand anywhere."""
    for beta in (0.1, 0.3):
        for variance in (1 + 1e-3, 1 - 1e-3):
            exact, upper = normal_step(variance, beta)
            repair = 0.5 * beta * (variance - 1)
            assert exact <= upper + repair
            assert exact - upper == pytest.approx(repair, rel=1e-3)
    exact, upper = normal_step(1.0, 0.1)
    assert exact == pytest.approx(upper, abs=1e-12), "N(3, 1) too, whose mean square is 10"
    far_off = np.linspace(-9, 15, 12_001)  # N(3, 1): the steps back from its x_1, by Bayes' rule on a grid
    for x_1 in (1.8, 2.8, 4.8):
        step = step_back(lambda y: -0.5 * (y - 3) ** 2, x_1, 0.1, far_off)  # given: x_1, and its past
        assert entropy_of(step.log_density, step.grid) == pytest.approx(upper, abs=1e-9)
