"""One test per claim of the chapter on chains: both sides by different routes."""

import math
from itertools import pairwise, permutations, product

import numpy as np
import pytest
from numpy.polynomial import hermite_e
from scipy.integrate import quad

from dpm_lib.markov import markov_chains


def random_chain(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    P = rng.random((n, n)) ** 3 + 1e-3
    return P / P.sum(1, keepdims=True)


def random_reversible(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A chain from symmetric weights w: P_ij = w_ij / sum_k w_ik, whose stationary law is its row sums, scaled."""
    w = np.random.default_rng(seed).random((n, n)) ** 3
    w += w.T
    return w / w.sum(1, keepdims=True), w.sum(1) / w.sum()


def metropolis(pi: np.ndarray, seed: int = 0) -> np.ndarray:
    """Metropolis' chain for any law, with a random symmetric proposal."""
    n = len(pi)
    proposal = np.random.default_rng(seed).random((n, n))
    proposal = (proposal + proposal.T) / (2 * n)
    P = proposal * np.minimum(1, pi[None, :] / pi[:, None])
    np.fill_diagonal(P, 0)
    return P + np.diag(1 - P.sum(1))


def variance_of_a_mean(covariances: np.ndarray, n: int) -> float:
    """Of n steps, whose autocovariances are given."""
    lags = np.arange(n)
    return (2 * (n - lags) @ covariances[:n] - n * covariances[0]) / n**2


def events(n: int) -> np.ndarray:
    return np.array(list(product([0, 1], repeat=n)), dtype=float)


RING = 0.1 + 0.7 * np.roll(np.eye(3), 1, axis=1)  # a chain with a uniform limit that is not reversible
EVEN = np.array([[0.8, 0.2], [0.2, 0.8]])  # two even states: |lambda_2| = 0.6


def limit(P: np.ndarray) -> np.ndarray:
    """The stationary law by brute force: a row of a very high power."""
    power = P
    for _ in range(60):
        power = power @ power
        power /= power.sum(1, keepdims=True)
    return power[0]


@pytest.mark.equation("eq-chain-step")
def test_the_law_is_a_sum_over_paths_and_what_walkers_do():
    P, p0, t, m = random_chain(3, 0), np.array([0.2, 0.5, 0.3]), 4, 40_000
    by_paths = np.zeros(3)
    for path in product(range(3), repeat=t + 1):
        by_paths[path[-1]] += p0[path[0]] * math.prod(P[i, j] for i, j in pairwise(path))
    np.testing.assert_allclose(markov_chains.evolve(P, p0, t)[-1], by_paths, rtol=1e-12)
    np.testing.assert_allclose(p0 @ np.linalg.matrix_power(P, t), by_paths, rtol=1e-12)
    rng = np.random.default_rng(1)
    ends = markov_chains.walk(P, rng.choice(3, m, p=p0), t, rng)[-1]
    share = np.bincount(ends, minlength=3) / m
    assert (np.abs(share - by_paths) <= 4 * np.sqrt(by_paths * (1 - by_paths) / m)).all()


@pytest.mark.equation("eq-chain-ones")
def test_the_obvious_eigenvector_is_the_right_one_and_not_the_stationary_law():
    for seed in range(5):
        P = random_chain(5, seed)
        values, right = np.linalg.eig(P)
        vector = right[:, np.abs(values - 1).argmin()]
        np.testing.assert_allclose(vector / vector[0], np.ones(5), atol=1e-12)
        assert np.abs(np.ones(5) / 5 @ P - np.ones(5) / 5).max() > 1e-2


@pytest.mark.equation("eq-chain-balance")
def test_detailed_balance_gives_invariance_and_not_conversely():
    pi = np.array([0.05, 0.4, 0.25, 0.3])
    P = metropolis(pi)
    np.testing.assert_allclose(pi[:, None] * P, (pi[:, None] * P).T, atol=1e-15)
    np.testing.assert_allclose(pi @ P, pi, atol=1e-15)
    np.testing.assert_allclose(limit(P), pi, rtol=1e-9)
    np.testing.assert_allclose(np.ones(3) @ RING, np.ones(3))
    assert np.abs(RING - RING.T).max() > 0.5 and not markov_chains.is_reversible(RING)


@pytest.mark.equation("eq-chain-tv")
def test_three_forms_of_total_variation():
    rng = np.random.default_rng(0)
    for _ in range(10):
        p, q = rng.dirichlet(0.5 * np.ones(6), 2)
        best = ((p - q) @ events(6).T).max()
        assert 0.5 * np.abs(p - q).sum() == pytest.approx(best, abs=1e-14)
        assert 1 - np.minimum(p, q).sum() == pytest.approx(best, abs=1e-14)
        assert float(markov_chains.total_variation(p, q)) == pytest.approx(best, abs=1e-14)


@pytest.mark.equation("eq-chain-contract")
def test_a_step_contracts_by_delta_and_no_smaller_factor_would_do():
    rng = np.random.default_rng(0)
    for seed in range(5):
        P = random_chain(5, seed)
        delta = markov_chains.contraction(P)
        corners = list(permutations(0.5 * np.eye(5) + 0.1, 2))  # given: near point masses, where one has equality
        laws = np.concatenate([rng.dirichlet([0.3] * 5, (200, 2)), corners])
        before = ((laws[:, 0] - laws[:, 1]) @ events(5).T).max(1)
        after = ((laws[:, 0] - laws[:, 1]) @ P @ events(5).T).max(1)
        assert (after / before).max() == pytest.approx(delta, rel=1e-12)


@pytest.mark.equation("eq-chain-minorisation")
def test_a_common_part_of_all_rows_bounds_delta():
    sharp = 0.4 * np.array([0.2, 0.5, 0.3]) + 0.6 * np.eye(3)  # given: rows that share nothing else
    powers = [np.linalg.matrix_power(random_chain(4, seed), m) for seed in range(10) for m in (1, 2, 3)]
    for power in [*powers, sharp]:
        common = power.min(0)
        epsilon, nu = common.sum(), common / common.sum()
        assert nu.sum() == pytest.approx(1) and (power >= epsilon * nu - 1e-15).all()
        bound = 1 - epsilon
        assert markov_chains.contraction(power) <= bound + 1e-14
    assert markov_chains.contraction(sharp) == pytest.approx(bound) == pytest.approx(0.6)


@pytest.mark.equation("eq-chain-converge")
def test_distance_to_the_limit_is_bounded_by_contraction_over_m_steps():
    loops = np.zeros((5, 5))  # loops of 2 and 5, and a transient state: sparse, ergodic, delta(P) = 1
    for i, j in ((0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (1, 0)):
        loops[i, j] = 1
    loops = np.pad(loops / loops.sum(1, keepdims=True), (0, 1))
    loops[5, [0, 5]] = 0.5
    register = np.array([[1, 1, 0, 0], [0, 0, 1, 1]] * 2) / 2  # two bits, shifted: delta(P^2) = 0, yet 1/2 is left at 1
    for P in (loops, random_chain(4, 0), register):
        least = next(m for m in range(1, 100) if markov_chains.contraction(np.linalg.matrix_power(P, m)) < 1)
        pi = limit(P)
        for m in range(1, least + 3):
            delta, power = markov_chains.contraction(np.linalg.matrix_power(P, m)), np.eye(len(P))
            for t in range(100):
                assert (markov_chains.total_variation(power, pi) <= delta ** (t // m) + 1e-13).all()
                power = power @ P
        np.testing.assert_allclose(markov_chains.stationary_distribution(P), pi, atol=1e-13)
    assert markov_chains.contraction(loops) == 1


@pytest.mark.equation("eq-chain-symmetric")
def test_a_reversible_chain_is_symmetric_after_scaling():
    P, pi = random_reversible(6, 0)
    S = np.sqrt(pi)[:, None] * P / np.sqrt(pi)[None, :]
    np.testing.assert_allclose(S, S.T, atol=1e-15)
    np.testing.assert_allclose(np.sort(np.linalg.eigvalsh(S)), np.sort(np.linalg.eigvals(P).real), atol=1e-12)
    assert not np.allclose(RING, RING.T)  # pi is uniform: S = P is not symmetric


def patterns(P: np.ndarray, pi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and right eigenvectors of P itself (not of S), scaled to sum_i pi_i phi_k(i)^2 = 1; 1 comes first."""
    values, vectors = np.linalg.eig(P)
    order = np.argsort(-np.abs(values))
    values, vectors = values.real[order], vectors.real[:, order]
    return values, vectors / np.sqrt((pi[:, None] * vectors**2).sum(0))


@pytest.mark.equation("eq-chain-spectral", "eq-chain-chi2", "eq-chain-tv-bound")
@pytest.mark.parametrize("t", [0, 1, 2, 7])
@pytest.mark.parametrize("even", [False, True])
def test_powers_of_a_reversible_chain(t, even):
    """Two even states reach both bounds."""
    P, pi = (EVEN, np.full(2, 0.5)) if even else random_reversible(6, 1)
    values, phi = patterns(P, pi)
    np.testing.assert_allclose(np.abs(phi[:, 0]), 1, atol=1e-12)
    np.testing.assert_allclose((pi[:, None] * phi).T @ phi, np.eye(len(P)), atol=1e-10)
    power = np.linalg.matrix_power(P, t)
    np.testing.assert_allclose(power, pi * (1 + (phi[:, 1:] * values[1:] ** t) @ phi[:, 1:].T), atol=1e-12)
    left = ((power - pi) ** 2 / pi).sum(1)
    np.testing.assert_allclose(left, (values[1:] ** (2 * t) * phi[:, 1:] ** 2).sum(1), atol=1e-12)
    second = 1 - markov_chains.spectral_gap(P)
    assert second == pytest.approx(abs(values[1]), rel=1e-12)
    distance = 0.5 * np.abs(power - pi).sum(1)
    bounds = [second ** (2 * t) * (1 / pi - 1), 0.5 * second**t * np.sqrt(1 / pi - 1)]
    assert (left <= bounds[0] + 1e-13).all() and (distance <= bounds[1] + 1e-14).all()
    if even or t == 0:
        np.testing.assert_allclose(left, bounds[0], rtol=1e-12)
    if even:
        np.testing.assert_allclose(distance, bounds[1], rtol=1e-12)


@pytest.mark.equation("eq-chain-lower")
def test_no_chain_forgets_faster_than_its_second_eigenvalue():
    for P in [*(random_chain(5, seed) for seed in range(8)), EVEN]:
        second, pi = np.sort(np.abs(np.linalg.eigvals(P)))[-2], limit(P)
        worst = [0.5 * np.abs(np.linalg.matrix_power(P, t) - pi).sum(1).max() for t in range(12)]
        bound = [0.5 * second**t for t in range(12)]
        assert all(d >= b * (1 - 1e-9) - 1e-15 for d, b in zip(worst, bound, strict=True))
    np.testing.assert_allclose(worst, bound, rtol=1e-12)  # two even states reach it


@pytest.mark.equation("eq-chain-shift")
@pytest.mark.parametrize("bits", [3, 6])
def test_shifting_bits_forgets_all_at_once(bits):
    n = 2**bits
    P = np.zeros((n, n))
    for word in product("01", repeat=bits):
        for coin in "01":
            P[int("".join(word), 2), int("".join(word[1:]) + coin, 2)] = 0.5
    power = np.eye(n)
    for t in range(bits + 1):
        np.testing.assert_allclose(0.5 * np.abs(power - 1 / n).sum(1), 1 - 2.0 ** (t - bits), atol=1e-15)
        power = power @ P
    rest = P - 1 / n  # the eigenvalue 1 taken out: what is left is nilpotent, exactly
    assert not np.linalg.matrix_power(rest, bits).any()


@pytest.mark.equation("eq-chain-variational")
def test_the_gap_is_a_minimum_over_functions():
    P, pi = random_reversible(6, 2)
    second = np.sort(np.linalg.eigvals(P).real)[-2]

    def ratio(f):
        energy = 0.5 * (pi[:, None] * P * (f[:, None] - f[None, :]) ** 2).sum()
        return energy / (pi @ f**2 - (pi @ f) ** 2)

    rng = np.random.default_rng(0)
    assert min(ratio(f) for f in rng.standard_normal((500, 6))) >= 1 - second - 1e-12
    values, vectors = np.linalg.eig(P)
    best = vectors[:, np.abs(values - second).argmin()].real + 3  # given: a constant changes nothing
    assert ratio(best) == pytest.approx(1 - second, rel=1e-10)


@pytest.mark.equation("eq-chain-rate")
def test_the_rate_of_any_ergodic_chain_in_the_long_run():
    """Chains that are not reversible; the last has a Jordan block, and so a power of t in front of |lambda_2|^t."""
    ring = 0.9 * np.roll(np.eye(5), 1, axis=1) + 0.1 * np.eye(5)
    register = np.array([[1, 1, 0, 0], [0, 0, 1, 1]] * 2) / 2
    for P, modulus in ((ring, None), (random_chain(4, 1), None), (register, 0.99)):
        lazy = 0.99 * np.eye(len(P)) + 0.01 * P
        values = np.sort(np.abs(np.linalg.eigvals(lazy)))
        modulus = modulus or values[-2]
        assert not markov_chains.is_reversible(lazy)
        t = round(math.log(1e-11) / math.log(modulus))
        power, pi = np.linalg.matrix_power(lazy, t), limit(lazy)
        distance = markov_chains.total_variation(power, pi)  # from every start alike
        np.testing.assert_allclose(np.log(distance) / t, math.log(modulus), rtol=0.15)
        np.testing.assert_allclose(power - pi, np.linalg.matrix_power(lazy - pi, t), atol=1e-13)


@pytest.mark.equation("eq-chain-average")
@pytest.mark.parametrize("seed", range(3))
def test_the_autocorrelation_time_of_a_reversible_chain(seed):
    """By patterns, as printed; and by summing the autocovariances of the matrix's powers."""
    P, pi = random_reversible(5, seed)
    f = np.random.default_rng(seed).standard_normal(5)
    centred, power, covariances = f - pi @ f, np.eye(5), []
    for _ in range(2000):
        covariances.append(pi @ (centred * (power @ centred)))
        power = power @ P
    tau = 2 * sum(covariances) / covariances[0] - 1
    root = np.sqrt(pi)
    values, u = np.linalg.eigh(root[:, None] * P / root)
    phi = u / root[:, None]  # columns; the last one belongs to the eigenvalue 1
    a = (pi * f) @ phi[:, :-1]
    c = a**2 / (a**2).sum()
    assert c @ ((1 + values[:-1]) / (1 - values[:-1])) == pytest.approx(tau, rel=1e-9)
    second, gap = np.abs(values[:-1]).max(), markov_chains.spectral_gap(P)
    assert tau <= (1 + second) / (1 - second) + 1e-12 <= 2 / gap + 2e-12
    exact = sum(covariances[abs(s - t)] for s in range(7) for t in range(7)) / 49
    assert variance_of_a_mean(np.array(covariances), 7) == pytest.approx(exact, rel=1e-12)
    assert variance_of_a_mean(np.array(covariances), 2000) == pytest.approx(tau * covariances[0] / 2000, rel=0.01)


@pytest.mark.equation("eq-chain-average")
def test_the_bound_on_the_autocorrelation_time_is_reached():
    """Two states, lambda_2 = 0.6: f is the slow pattern, tau = 1.6 / 0.4; with few switches, nearly 2 / gap; and a long
    mean has nearly the variance 2 Var f / (gap n), a short one less."""
    for a, b in ((0.1, 0.3), (1e-4, 3e-4)):
        P, pi = np.array([[1 - a, a], [b, 1 - b]]), np.array([b, a]) / (a + b)
        gap, f = markov_chains.spectral_gap(P), np.array([2.0, -1.0])
        fundamental = np.linalg.inv(np.eye(2) - P + pi)  # 1 + sum of (P^t - 1 pi)
        np.testing.assert_allclose(fundamental.sum(1), 1, rtol=1e-9)
        centred = f - pi @ f
        tau = 2 * (pi * centred) @ fundamental @ centred / (pi @ centred**2) - 1
        assert tau == pytest.approx((2 - gap) / gap, rel=1e-9)
        shares = []  # of the bound
        for n in (7, 1_000_000):
            variance = variance_of_a_mean(pi @ centred**2 * (1 - gap) ** np.arange(n), n)
            shares.append(variance / (2 / (gap * n) * (pi @ f**2 - (pi @ f) ** 2)))
        assert shares[0] < shares[1] <= 1
    assert tau == pytest.approx(2 / gap, rel=1e-3) and shares[1] == pytest.approx(1, rel=4e-3)


@pytest.mark.equation("eq-chain-cut")
def test_every_cut_bounds_the_gap():
    two = np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([0.75, 0.25])  # two states: equality
    for P, pi in (*(random_reversible(5, seed) for seed in range(3)), two):
        gap, second = markov_chains.spectral_gap(P), np.sort(np.linalg.eigvals(P).real)[-2]
        for inside in events(len(P))[1:-1].astype(bool):
            flow = (pi[inside, None] * P[np.ix_(inside, ~inside)]).sum()
            mass = pi[inside].sum()
            bound = flow / (mass * (1 - mass))
            assert gap <= 1 - second + 1e-12 <= bound + 2e-12
    assert bound == pytest.approx(gap)


@pytest.mark.equation("eq-chain-two-clumps")
@pytest.mark.parametrize("n", [10, 30])
def test_the_gap_of_two_clumps_is_below_the_probability_of_the_top(n):
    x = np.linspace(-1.3, 1.3, n)
    gaps = []
    for barrier in (0.0, 2.0, 5.0, 10.0):
        weight = np.exp(-barrier * (1 - x**2) ** 2)
        top = weight[n // 2] / weight.sum()
        P = markov_chains.double_well(n, barrier)
        half = np.arange(n) < n // 2
        flow = (weight[half, None] / weight.sum() * P[np.ix_(half, ~half)]).sum()
        assert flow == pytest.approx(top / 4)  # so that flow / (1/2 * 1/2) is the probability of one top place
        gaps.append(1 - np.sort(np.linalg.eigvals(P).real)[-2])
        assert 0.01 * top < gaps[-1] <= top
    assert gaps[3] < gaps[2] * math.exp(-0.7 * 5)


def normal(x, mean, variance):
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * math.pi * variance)


@pytest.mark.equation("eq-chain-ar1")
def test_law_of_the_autoregression_by_repeated_integration():
    beta, x0 = 0.3, 1.7
    rho = math.sqrt(1 - beta)
    x, step = np.linspace(-10, 10, 1601, retstep=True)
    kernel = normal(x[None, :], rho * x[:, None], beta)  # from, to
    law = normal(x, rho * x0, beta)
    for t in range(2, 8):
        law = law @ kernel * step
        np.testing.assert_allclose(law, normal(x, rho**t * x0, 1 - rho ** (2 * t)), atol=1e-10)
    np.testing.assert_allclose((normal(x, 0, 1) @ kernel * step)[400:-400], normal(x, 0, 1)[400:-400], atol=1e-10)


@pytest.mark.equation("eq-chain-generating", "eq-chain-hermite")
@pytest.mark.parametrize("beta", [0.1, 0.6])
def test_hermite_polynomials_are_eigenfunctions(beta):
    rho = math.sqrt(1 - beta)
    nodes, weights = hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    for x in (-1.3, 0.4, 2.0):
        after = rho * x + math.sqrt(beta) * nodes
        for s in (-0.8, 0.5, 1.4):
            wanted = math.exp(s * rho * x - (s * rho) ** 2 / 2)
            assert weights @ np.exp(s * after - s**2 / 2) == pytest.approx(wanted, rel=1e-12)
            series = sum(s**k / math.factorial(k) * hermite_e.hermeval(x, np.eye(40)[k]) for k in range(40))
            assert series == pytest.approx(math.exp(s * x - s**2 / 2), rel=1e-10)
        for k in range(8):
            He = np.eye(8)[k]
            found = weights @ hermite_e.hermeval(after, He)
            assert found == pytest.approx(rho**k * hermite_e.hermeval(x, He), abs=1e-10)


@pytest.mark.equation("eq-chain-ar1-chi2")
@pytest.mark.parametrize("x0", [0.0, 1.5, -2.2])
@pytest.mark.parametrize("t", [2, 5])
def test_chi_square_of_the_autoregression_three_ways(x0, t):
    rho = math.sqrt(0.7)
    a = rho ** (2 * t)
    integral = quad(
        lambda x: (normal(x, rho**t * x0, 1 - a) - normal(x, 0, 1)) ** 2 / normal(x, 0, 1),
        -25,
        25,
        epsabs=1e-13,
        limit=200,
    )[0]
    series = sum(a**k / math.factorial(k) * hermite_e.hermeval(x0, np.eye(80)[k]) ** 2 for k in range(1, 80))
    closed = math.exp(a * x0**2 / (1 + a)) / math.sqrt(1 - a**2) - 1
    assert integral == pytest.approx(closed, rel=1e-9)
    assert series == pytest.approx(closed, rel=1e-9)


def test_a_state_is_independent_of_the_earlier_ones_only_given_the_previous_one():
    """What the box on a review's sentence says, by the joint law of three states in a row."""
    P = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.1, 0.6]])  # given
    joint = np.einsum("i,ij,jk->ijk", markov_chains.stationary_distribution(P), P, P)
    given_previous = joint / joint.sum((0, 2), keepdims=True)
    assert np.allclose(given_previous, given_previous.sum(2, keepdims=True) * given_previous.sum(0, keepdims=True))
    pair = joint.sum(0)
    assert np.allclose((pair / pair.sum(1, keepdims=True))[:2, 0], [0.6, 0.2])
    assert abs(pair - np.outer(pair.sum(1), pair.sum(0))).max() > 0.05
