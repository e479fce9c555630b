"""Finite chains: against exact rational arithmetic, brute force, and closed forms."""

import math
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from scipy import sparse

from dpm_lib.markov import markov_chains

FORGETS = np.array([[0.5, 0.4, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]])
CYCLE = np.roll(np.eye(3), 1, axis=1)
TWO_CLASSES = np.array([[0.5, 0.5, 0, 0], [0.25, 0.75, 0, 0], [0, 0, 1, 0], [0.1, 0.2, 0.3, 0.4]])


def random_chain(n: int, seed: int, zeros: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    P = rng.random((n, n)) ** 3 * (rng.random((n, n)) >= zeros)
    P[np.arange(n), rng.integers(0, n, n)] += 0.1
    return P / P.sum(1, keepdims=True)


def exact_stationary(P: list[list[Fraction]]) -> list[Fraction]:
    """Gauss-Jordan elimination of pi (P - 1) = 0, sum pi = 1, in fractions."""
    n = len(P)
    rows = [[P[j][i] - (i == j) for j in range(n)] + [Fraction(0)] for i in range(n - 1)]
    rows.append([Fraction(1)] * (n + 1))
    for k in range(n):
        pivot = next(i for i in range(k, n) if rows[i][k] != 0)
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [value / rows[k][k] for value in rows[k]]
        for i in range(n):
            if i != k:
                rows[i] = [a - rows[i][k] * b for a, b in zip(rows[i], rows[k], strict=True)]
    return [row[n] for row in rows]


@pytest.mark.parametrize(
    ("P", "message"),
    [
        (np.ones((2, 3)) / 3, r"square.*\(2, 3\)"),
        (np.zeros((0, 0)), "at least one state"),
        ([[0.5, 0.5], [0.4, 0.5]], r"P: need a sum of 1, got 0\.9 at index 1$"),
        ([[0.5, 0.2], [0.5, 0.8]], r"P: need a sum of 1, got .* at index \d; .* transpose it"),
        ([[1.5, -0.5], [0.5, 0.5]], r"P\[0, 1\]: -0\.5"),
        ([[math.nan, 1], [0.5, 0.5]], r"P\[0, 0\]: nan"),
        ([[math.inf, 1], [0.5, 0.5]], r"P: need a sum of 1, got inf at index 0"),
    ],
)
def test_a_matrix_that_is_no_chain_is_refused(P, message):
    for function in (
        markov_chains.stationary_distribution,
        markov_chains.is_ergodic,
        markov_chains.spectral_gap,
        markov_chains.mixing_time,
    ):
        with pytest.raises(ValueError, match=message):
            function(P)


def test_the_argument_is_left_alone():
    P = FORGETS.copy()
    markov_chains.stationary_distribution(P)
    markov_chains.spectral_gap(P)
    assert (P == FORGETS).all()


@pytest.mark.parametrize("seed", range(6))
def test_stationary_law_against_exact_arithmetic(seed):
    """Weak links of 2^-40 among strong ones cost no digits: elimination never looks at the (rounded) diagonal."""
    rng = np.random.default_rng(seed)
    n = 6
    weak = 2 ** (40 * rng.integers(0, 2, (n, n)))
    P = [[Fraction(int(rng.integers(1, 100)), 1024 * int(weak[i, j])) for j in range(n)] for i in range(n)]
    for i in range(n):
        P[i][i] += 1 - sum(P[i])
    floats = np.array([[float(value) for value in row] for row in P])
    exact = [float(value) for value in exact_stationary(P)]
    np.testing.assert_allclose(markov_chains.stationary_distribution(floats), exact, rtol=1e-13)


def test_stationary_law_of_a_long_ladder_keeps_its_relative_digits():
    """Birth and death with ratio 1/3: pi_i is proportional to 3^-i, down to 1e-48."""
    n = 101
    P = np.diag(np.full(n - 1, 0.2), 1) + np.diag(np.full(n - 1, 0.6), -1)
    P += np.diag(1 - P.sum(1))
    pi = markov_chains.stationary_distribution(P)
    np.testing.assert_allclose(pi / pi[0], 3.0 ** -np.arange(n), rtol=1e-11)


def test_transient_states_get_zero():
    P = [[0.5, 0.25, 0.25], [0, 0.4, 0.6], [0, 0.3, 0.7]]
    pi = markov_chains.stationary_distribution(P)
    np.testing.assert_allclose(pi, [0, 1 / 3, 2 / 3], rtol=1e-14)
    assert pi[0] == 0
    assert markov_chains.is_ergodic(P) and not markov_chains.is_irreducible(P)
    assert markov_chains.stationary_distribution([[1.0]]) == [1.0]


def test_two_recurrent_classes_are_named():
    assert [states.tolist() for states in markov_chains.recurrent_classes(TWO_CLASSES)] == [[0, 1], [2]]
    for function in (markov_chains.stationary_distribution, markov_chains.period):
        with pytest.raises(ValueError, match=r"2 recurrent classes, \{0, 1\}, \{2\}, so .* not unique"):
            function(TWO_CLASSES)
    assert not markov_chains.is_ergodic(TWO_CLASSES)
    assert markov_chains.spectral_gap(TWO_CLASSES) == 0.0


@pytest.mark.parametrize("seed", range(40))
def test_structure_against_brute_force(seed):
    """Classes from the transitive closure; ergodic if all rows of a high power of the pattern share a full column."""
    P = random_chain(5, seed, zeros=0.75)
    reach = np.linalg.matrix_power((P > 0) + np.eye(5), 5) > 0
    recurrent = [i for i in range(5) if all(reach[j, i] for j in range(5) if reach[i, j])]
    classes = {tuple(j for j in range(5) if reach[i, j]) for i in recurrent}
    assert {tuple(states.tolist()) for states in markov_chains.recurrent_classes(P)} == classes
    power = np.eye(5, dtype=bool)
    for _ in range(60):
        power = (power.astype(int) @ (P > 0).astype(int)) > 0
    assert markov_chains.is_ergodic(P) == power.all(0).any()


@pytest.mark.parametrize(("loops", "expected"), [((4, 6), 2), ((3, 5), 1), ((6, 9), 3), ((4,), 4), ((1, 7), 1)])
def test_period_is_the_gcd_of_the_loops(loops, expected):
    n = 1 + sum(length - 1 for length in loops)
    P = np.zeros((n, n))
    free = 1
    for length in loops:
        path = [0, *range(free, free + length - 1), 0]
        free += length - 1
        for i, j in pairwise(path):
            P[i, j] = 1
    P /= P.sum(1, keepdims=True)
    assert markov_chains.period(P) == expected
    assert markov_chains.is_ergodic(P) == (expected == 1)


def test_a_weak_link_still_counts():
    """By eigenvalue thresholds these would pass for reducible and periodic; by their graphs they are neither."""
    tiny = 1e-18
    assert markov_chains.is_ergodic([[1 - tiny, tiny], [tiny, 1 - tiny]])
    assert markov_chains.is_ergodic([[tiny, 1 - tiny], [1, 0]])
    np.testing.assert_allclose(
        markov_chains.stationary_distribution([[1, tiny], [3 * tiny, 1]]), [0.75, 0.25], rtol=1e-14
    )


@pytest.mark.parametrize("seed", range(5))
def test_eigenvalues_against_numpy(seed):
    P = random_chain(6, seed)
    found, wanted = markov_chains.eigenvalues(P), np.linalg.eigvals(P)
    assert found[0] == 1
    for value in wanted:
        assert np.abs(found - value).min() < 1e-10
    assert markov_chains.spectral_gap(P) == pytest.approx(1 - sorted(np.abs(wanted))[-2], abs=1e-10)


def test_gap_of_known_chains():
    assert markov_chains.spectral_gap(CYCLE) == 0.0
    assert markov_chains.spectral_gap([[0.5, 0.5], [0.5, 0.5]]) == pytest.approx(1.0, rel=1e-14)
    assert markov_chains.spectral_gap([[1.0]]) == 1.0
    assert markov_chains.spectral_gap([[0.9, 0.1], [0.3, 0.7]]) == pytest.approx(0.4, rel=1e-13)
    assert markov_chains.spectral_gap([[0.1, 0.9], [0.9, 0.1]]) == pytest.approx(0.2, rel=1e-13)  # lambda_2 = -0.8
    n = 12
    flat = markov_chains.double_well(n, 0.0)
    assert markov_chains.spectral_gap(flat) == pytest.approx(0.5 * (1 - math.cos(math.pi / n)), rel=1e-12)


def test_gap_of_two_clumps_is_right_down_to_1e_9():
    tiny = 1e-9
    P = np.array([[1 - tiny, tiny], [3 * tiny, 1 - 3 * tiny]])
    assert markov_chains.spectral_gap(P) == pytest.approx(4 * tiny, rel=1e-6)


def test_reversible_or_not():
    assert markov_chains.is_reversible(markov_chains.double_well(20, 5.0))
    assert markov_chains.is_reversible([[0.9, 0.1], [0.3, 0.7]])
    assert not markov_chains.is_reversible(FORGETS + 0.05 * (CYCLE - CYCLE.T))
    assert not markov_chains.is_reversible(CYCLE)
    rare = np.array([[0.0, 2.0, 1.0], [1.0, 0.0, 2.0], [2.0, 1.0, 0.0]]) * 1e-11  # a current among rare moves
    assert not markov_chains.is_reversible(rare + np.diag(1 - rare.sum(1)))


def test_total_variation_is_the_largest_difference_over_events():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5), 2)
    events = product([0, 1], repeat=5)
    assert markov_chains.total_variation(p, q) == pytest.approx(max(np.dot(p - q, event) for event in events))


@pytest.mark.parametrize("seed", range(4))
def test_mixing_time_is_the_first_time(seed):
    P = 0.05 * random_chain(4, seed) + 0.95 * np.eye(4)
    pi = markov_chains.stationary_distribution(P)
    for distance in (0.25, 0.01):
        t = markov_chains.mixing_time(P, distance)
        worst = [markov_chains.total_variation(np.linalg.matrix_power(P, s), pi).max() for s in (t - 1, t)]
        assert worst[0] > distance >= worst[1]
    assert markov_chains.mixing_time(P, 1.0) == 0
    assert markov_chains.mixing_time(np.full((2, 2), 0.5)) == 1
    with pytest.raises(ValueError, match="P: need an ergodic chain"):
        markov_chains.mixing_time(CYCLE)


def test_mixing_time_of_a_very_slow_chain():
    """Two states, rate 1e-8 each way: the distance is (1 - 2e-8)^t / 2."""
    P = [[1 - 1e-8, 1e-8], [1e-8, 1 - 1e-8]]
    assert markov_chains.mixing_time(P) == pytest.approx(math.log(2) / 2e-8, rel=1e-6)


def test_evolve_and_its_check_of_the_start():
    laws = markov_chains.evolve(FORGETS, [1, 0, 0], 3)
    np.testing.assert_allclose(laws[3], np.linalg.matrix_power(FORGETS, 3)[0], rtol=1e-13)
    with pytest.raises(ValueError, match=r"p0: need shape \(3,\)"):
        markov_chains.evolve(FORGETS, [1, 0], 3)
    with pytest.raises(ValueError, match=r"p0: need a sum"):
        markov_chains.evolve(FORGETS, [1, 1, 0], 3)


def test_walkers_follow_the_law():
    m, steps = 20_000, 4
    path = markov_chains.walk(FORGETS, np.zeros(m, int), steps, np.random.default_rng(0))
    again = markov_chains.walk(FORGETS, np.zeros(m, int), steps, np.random.default_rng(0))
    assert path.shape == (steps + 1, m) and (path == again).all()
    law = markov_chains.evolve(FORGETS, [1, 0, 0], steps)[-1]
    share = np.bincount(path[-1], minlength=3) / m
    assert (np.abs(share - law) <= 4 * np.sqrt(law * (1 - law) / m)).all()
    with pytest.raises(ValueError, match="states from 0 to 2"):
        markov_chains.walk(FORGETS, [3], 1, np.random.default_rng(0))


def test_walkers_never_take_an_arrow_that_is_not_there():
    path = markov_chains.walk(CYCLE, [0, 1, 2], 10, np.random.default_rng(0))
    assert (path[1:] == (path[:-1] + 1) % 3).all()


def test_double_well():
    n, barrier = 30, 6.0
    P = markov_chains.double_well(n, barrier)
    x = np.linspace(-1.3, 1.3, n)
    wanted = np.exp(-barrier * (1 - x**2) ** 2)
    np.testing.assert_allclose(markov_chains.stationary_distribution(P), wanted / wanted.sum(), rtol=1e-12)
    assert markov_chains.is_ergodic(P)
    with pytest.raises(ValueError, match="barrier: -1"):
        markov_chains.double_well(10, -1)
    with pytest.raises(ValueError, match="n: 1: need at least 2"):
        markov_chains.double_well(1, 1)


def test_contraction_by_hand():
    assert markov_chains.contraction(CYCLE) == 1.0
    assert markov_chains.contraction([[0.9, 0.1], [0.3, 0.7]]) == pytest.approx(0.6)


# --- Edges ---


def test_a_law_too_small_for_a_float_is_refused_and_not_made_up():
    assert markov_chains.is_ergodic(markov_chains.double_well(30, 760))
    with pytest.raises(ValueError, match="stationary probability of state"):
        markov_chains.stationary_distribution(markov_chains.double_well(30, 760))
    np.testing.assert_allclose(
        markov_chains.stationary_distribution(markov_chains.double_well(30, 600))[:15].sum(), 0.5, rtol=1e-9
    )


def test_arguments_of_time_and_place_are_checked():
    P = np.full((2, 2), 0.5)
    for distance in (0.0, -0.1, np.nan):
        with pytest.raises(ValueError, match=f"distance: {distance}: need a positive"):
            markov_chains.mixing_time(P, distance)
    with pytest.raises(ValueError, match="steps: -3: need at least 0"):
        markov_chains.evolve(P, [1, 0], -3)
    with pytest.raises(ValueError, match="start: need a list of states"):
        markov_chains.walk(P, [0.9], 1, np.random.default_rng(0))


def test_a_walk_of_negative_length_is_refused():
    with pytest.raises(ValueError, match="steps: -3: need at least 0"):
        markov_chains.walk(FORGETS, [0], -3, np.random.default_rng(0))
    assert markov_chains.walk(FORGETS, [0, 1], 0, np.random.default_rng(0)).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        ([0.5, 0.6], [0.5, 0.5], r"p: need a sum of 1, got 1\.1"),
        ([0.5, 0.5], [1.5, -0.5], r"q\[1\]: -0\.5: need a probability"),
        ([0.5, 0.5], [0.2, 0.3, 0.5], r"p, q: need laws over the same states, got shapes \(2,\) and \(3,\)"),
        ([1.0], [0.5, 0.5], "the same states"),
    ],
)
def test_total_variation_is_of_laws(p, q, message):
    with pytest.raises(ValueError, match=message):
        markov_chains.total_variation(p, q)


def test_each_class_has_a_law():
    laws = markov_chains.stationary_laws(TWO_CLASSES)
    np.testing.assert_allclose(laws, [[1 / 3, 2 / 3, 0, 0], [0, 0, 1, 0]], rtol=1e-14)
    np.testing.assert_allclose(laws @ TWO_CLASSES, laws, atol=1e-15)
    np.testing.assert_allclose(markov_chains.stationary_laws(FORGETS), [markov_chains.stationary_distribution(FORGETS)])


def test_a_sparse_matrix_is_a_chain():
    law = markov_chains.stationary_distribution(FORGETS)
    np.testing.assert_allclose(markov_chains.stationary_distribution(sparse.csr_matrix(FORGETS)), law, rtol=1e-15)
    with pytest.raises(ValueError, match=r"P\[0, 1\]: -1"):
        markov_chains.period(sparse.coo_array([[2.0, -1.0], [0.5, 0.5]]))
