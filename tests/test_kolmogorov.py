"""Generators, both equations, and reversal: against SciPy, closed forms and brute force."""

import numpy as np
import pytest
import torch
from problems import random_generator
from scipy import sparse, stats
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from dpm_lib.markov import gillespie, kolmogorov, time_reversal

Q3 = random_generator(3)
P0 = np.array([0.5, 0.3, 0.2])


def changing(t: float) -> np.ndarray:
    return Q3 + t * random_generator(3, 1)


# --- Bad input ---


@pytest.mark.parametrize(
    ("Q", "message"),
    [
        (np.zeros((2, 3)), r"square matrix with at least one state, got shape \(2, 3\)"),
        ([[-1, 1], [-0.5, 0.5]], r"Q\[1, 0\]: -0.5: need a finite rate"),
        ([[-1, 1], [np.nan, 0]], r"Q\[1, 0\]: nan: need a finite rate"),
        ([[-1, 1], [0.5, 0.5]], "rows that sum to 0, got 1 in row 1"),
        ([[-1, 2], [1, -2]], "got 1 in row 0; its columns do sum to 0, so transpose it"),
        ([[-1e12, 1e12, 0], [0, -1, 50], [1e12, 0, -1e12]], "got 49 in row 1"),
    ],
)
@pytest.mark.parametrize("make", [np.array, sparse.csr_array])
def test_bad_generators_are_named(Q, message, make):
    with pytest.raises(ValueError, match=message):
        kolmogorov.checked_generator(make(Q))


def test_other_bad_input_is_named():
    with pytest.raises(ValueError, match=r"t: 0\.5: need a finite number, at least 1"):
        kolmogorov.transition_matrix(Q3, 0.5, start=1.0)
    with pytest.raises(ValueError, match=r"5000 states: .*; use forward or backward"):
        kolmogorov.transition_matrix(sparse.csr_array((5000, 5000)), 1.0)
    with pytest.raises(ValueError, match=r"p0: need shape \(3,\)"):
        kolmogorov.forward([1, 0], Q3, [0, 1])
    with pytest.raises(ValueError, match="f: need 3 finite numbers"):
        kolmogorov.backward([1, np.inf, 0], Q3, [0, 1])
    with pytest.raises(ValueError, match="times: need a list of finite times that never decrease"):
        kolmogorov.forward(P0, Q3, [1, 0])
    with pytest.raises(ValueError, match=r"p\[2\]: 0\.0: need positive probabilities to run backwards"):
        time_reversal.reverse_generator(Q3, [0.5, 0.5, 0])
    with pytest.raises(ValueError, match="state 1 has probability 0 after the step"):
        time_reversal.reverse_kernel(np.eye(2), [1, 0])


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        ([0.1, 0.1], [0.5, 0.5], r"p: need a sum of 1, got 0\.2"),
        ([np.nan, 0.1], [0.5, 0.5], r"p\[0\]: nan"),
        ([0.5, 0.5], [[0.5, 0.5], [1.5, -0.5]], r"q\[1, 1\]: -0\.5"),
        ([0.5, 0.5], [[0.5, 0.5], [0.5, 0.7]], r"q: need a sum of 1, got 1\.2 at index 1"),
        (1.0, [1.0], r"p: need one probability per state along the last axis, got shape \(\)"),
    ],
)
def test_relative_entropy_is_of_laws(p, q, message):
    with pytest.raises(ValueError, match=message):
        time_reversal.relative_entropy(p, q)


@pytest.mark.parametrize("solve", [kolmogorov.forward, kolmogorov.backward])
def test_a_sparse_generator_too_stiff_for_its_series_is_named(solve):
    stiff = sparse.csr_array([[-1e7, 1e7], [1e7, -1e7]])
    with pytest.raises(ValueError, match=r"Q: too stiff for a step of 1 in times: .* 1e\+07 times.*fokker_planck"):
        solve([1, 0], stiff, [0, 1])
    np.testing.assert_allclose(solve([1, 0], stiff.toarray(), [0, 1])[0 if solve is kolmogorov.backward else 1], 0.5)


# --- Transition matrices ---


@pytest.mark.equation("eq-kolm-exp")
@pytest.mark.parametrize("n", [1, 2, 5, 30])
@pytest.mark.parametrize("t", [0.0, 1e-9, 0.3, 2.0, 300.0])
def test_transition_matrix_is_scipys_exponential_and_stochastic(n, t):
    Q = random_generator(n, n, zeros=0.4)
    P = kolmogorov.transition_matrix(Q, t)
    np.testing.assert_allclose(P, expm(Q * t), atol=1e-12)
    assert (P >= 0).all()
    np.testing.assert_allclose(P.sum(1), 1, atol=1e-14)
    np.testing.assert_array_equal(kolmogorov.transition_matrix(sparse.csr_array(Q), t), P)
    jump, rate = kolmogorov.uniformise(sparse.csr_array(Q))
    np.testing.assert_allclose(rate * (jump.toarray() - np.eye(n)), Q, atol=1e-12)
    np.testing.assert_allclose(kolmogorov.transition_matrix(Q, 2.0 + t, start=2.0), P, atol=1e-12)


def test_small_probabilities_keep_their_digits():
    """A walk along a line of 20 places: to its end in a short time, t^19/19! and a factor near 1. expm loses it."""
    n, t = 20, 1e-3
    Q = np.diag(np.ones(n - 1), 1)
    Q -= np.diag(Q.sum(1))
    wanted = stats.poisson.sf(n - 2, t)  # the clock of a Poisson process has rung 19 times or more
    assert kolmogorov.transition_matrix(Q, t)[0, -1] == pytest.approx(wanted, rel=1e-12)


def test_changing_rates_are_integrated():
    fine = np.eye(3)
    for k in range(4000):
        fine = fine @ expm(changing((k + 0.5) / 2000) / 2000)
    np.testing.assert_allclose(kolmogorov.transition_matrix(changing, 2.0), fine, atol=1e-7)
    split = kolmogorov.transition_matrix(changing, 0.7) @ kolmogorov.transition_matrix(changing, 2.0, start=0.7)
    np.testing.assert_allclose(kolmogorov.transition_matrix(changing, 2.0), split, atol=1e-10)


def test_fast_rates_that_change_are_integrated_implicitly():
    """A fast pair that is always in balance, and slow jumps: an explicit method took a minute at rates of 1e5."""

    def fast(t: float, rate: float = 1e5) -> np.ndarray:
        up, down = rate * (1.5 + np.sin(t)), rate * (1.5 + np.cos(t))
        return np.array([[-up - 1, up, 1], [down, -down - 2, 2], [3, 0, -3]])

    times = [0.0, 0.4, 1.0]
    law = kolmogorov.forward(P0, fast, times)
    share = (1.5 + np.sin(1.0)) / (3 + np.sin(1.0) + np.cos(1.0))  # of the pair's walkers that are in 1
    assert law[-1, 1] / law[-1, :2].sum() == pytest.approx(share, rel=1e-4)
    P = kolmogorov.transition_matrix(fast, 1.0)
    np.testing.assert_allclose(P0 @ P, law[-1], atol=1e-10)
    f = np.array([1.0, -3.0, 2.0])
    pairs = (law * kolmogorov.backward(f, fast, times)).sum(1)
    np.testing.assert_allclose(pairs, pairs[-1], atol=1e-9)
    line = np.diag(np.full(600, 4e4), 1)
    line -= np.diag(line.sum(1))
    with pytest.raises(ValueError, match=r"Q: too stiff for 601 states: its clock rings 4e\+04 times"):
        kolmogorov.forward(np.eye(601)[0], lambda t: line, [0.0, 1.0])


def test_a_time_may_be_a_tensor():
    np.testing.assert_array_equal(
        kolmogorov.transition_matrix(Q3, torch.tensor(1.0)), kolmogorov.transition_matrix(Q3, 1.0)
    )


def test_changing_rates_give_laws_without_negative_entries():
    n = 40
    line = np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)
    line -= np.diag(line.sum(1))
    law = kolmogorov.forward(np.eye(n)[0], lambda t: (1 + t) * line, [0, 0.01, 0.5])
    assert law.min() == 0 and np.abs(law.sum(1) - 1).max() < 1e-14
    assert time_reversal.relative_entropy(law[0], law[1]) == pytest.approx(0.01, rel=0.05)
    P = kolmogorov.transition_matrix(lambda t: (1 + t) * line, 0.01)
    assert P.min() == 0 and np.abs(P.sum(1) - 1).max() < 1e-14
    with pytest.raises(ValueError, match=r"at time 0\.5 a probability is -1e-05"):
        kolmogorov._as_laws(np.array([[0.5, 0.5], [1.00001, -0.00001]]), np.array([0.0, 0.5]))


# --- Both equations ---


@pytest.mark.parametrize("Q", [Q3, sparse.csr_array(Q3), lambda t: Q3, lambda t: sparse.csr_array(Q3)])
def test_three_forms_of_a_generator_agree(Q):
    times = [0.2, 0.2, 0.5, 2.0]
    f = np.array([1.0, -3.0, 2.0])
    for k, t in enumerate(times):
        law = P0 @ expm(Q3 * (t - 0.2))
        value = expm(Q3 * (2.0 - t)) @ f
        np.testing.assert_allclose(kolmogorov.forward(P0, Q, times)[k], law, atol=1e-11)
        np.testing.assert_allclose(kolmogorov.backward(f, Q, times)[k], value, atol=1e-10)


def test_a_chain_that_never_moves():
    for still in (np.zeros((3, 3)), sparse.csr_array((3, 3))):
        np.testing.assert_array_equal(kolmogorov.forward(P0, still, [0, 5])[-1], P0)
        assert (gillespie.simulate(still, 1, 5.0, 4, np.random.default_rng(0)) == 1).all()


def test_a_hundred_thousand_states():
    """A walk on a long line; seen from the middle, it is a difference of two Poisson processes."""
    n, t = 100_000, 50.0
    off = sparse.diags_array([np.full(n - 1, 0.7), np.full(n - 1, 0.4)], offsets=[1, -1])
    Q = sparse.csr_array(off - sparse.diags_array(off.sum(1)))
    p0, f = np.eye(1, n, n // 2)[0], np.cos(0.1 * np.arange(n))
    law = kolmogorov.forward(p0, Q, [0, t])[-1]
    wanted = stats.skellam.pmf(np.arange(-100, 101), 0.7 * t, 0.4 * t)
    np.testing.assert_allclose(law[n // 2 - 100 : n // 2 + 101], wanted, atol=1e-13)
    assert abs(law.sum() - 1) < 1e-12 and law.min() >= 0
    assert abs(kolmogorov.backward(f, Q, [0, t])[0] @ p0 - law @ f) < 1e-12
    ends = gillespie.simulate(Q, n // 2, t, 20_000, np.random.default_rng(0)) - n // 2
    assert abs(ends.mean() - 0.3 * t) < 4 * np.sqrt(1.1 * t / 20_000)


# --- Reversal ---


def test_sparse_and_full_reversals_agree():
    Q = random_generator(6, 3, zeros=0.3)
    p = np.random.default_rng(0).dirichlet(np.ones(6))
    full = time_reversal.reverse_generator(Q, p)
    kolmogorov.checked_generator(full)
    np.testing.assert_allclose(time_reversal.reverse_generator(sparse.csr_array(Q), p).toarray(), full, atol=1e-14)
    np.testing.assert_allclose(time_reversal.reverse_generator(full, p), Q, atol=1e-13)  # the same law: only at once


def test_reversal_of_changing_rates_brings_the_law_back():
    T = 1.2
    ahead = solve_ivp(lambda t, p: p @ changing(t), (0, T), P0, "DOP853", dense_output=True, rtol=1e-12, atol=1e-14)
    law = ahead.sol

    R = time_reversal.reverse_generator(changing, law)
    path = kolmogorov.forward(law(T), lambda s: R(T - s), [0, 0.5, T])
    np.testing.assert_allclose(path, [law(T), law(T - 0.5), P0], atol=1e-8)
