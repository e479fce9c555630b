"""Paths that jump: against exact rates, and brute force on long rows."""

import numpy as np
import pytest
from problems import random_generator
from scipy import sparse

from dpm_lib.markov import gillespie

Q3 = random_generator(3)


def changing(t: float) -> np.ndarray:
    return Q3 + t * random_generator(3, 1)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="x0: need states from 0 to 2, got 3"):
        gillespie.simulate(Q3, [0, 3], 1.0, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"x0: need states from 0 to 2, got 0\.7 at index 1"):
        gillespie.simulate(Q3, [0, 0.7], 1.0, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"x0: need one state, or n = 2 states, got shape \(3,\)"):
        gillespie.simulate(Q3, [0, 1, 2], 1.0, 2, np.random.default_rng(0))
    for x0 in (-1, 3, 0.7, np.nan):
        with pytest.raises(ValueError, match=f"x0: need states from 0 to 2, got {x0}"):
            gillespie.path(Q3, x0, 1.0, np.random.default_rng(0))
    for t_end in (-5.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=rf"t_end: {t_end}: need a finite number, at least 0"):
            gillespie.path(Q3, 0, t_end, np.random.default_rng(0))
        with pytest.raises(ValueError, match=rf"t_end: {t_end}: need a finite number, at least 0"):
            gillespie.simulate(Q3, 0, t_end, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"t_end: 1\.0: need a finite number, at least 2"):
        gillespie.simulate(Q3, 0, 1.0, 2, np.random.default_rng(0), start=2.0)
    with pytest.raises(ValueError, match=r"rate: None: need a finite bound on the exit rates of Q\(t\)"):
        gillespie.simulate(changing, 0, 1.0, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"rate: 0\.1 is less than the exit rate .* of state 0 at time"):
        gillespie.simulate(changing, 0, 1000.0, 2, np.random.default_rng(0), rate=0.1)


def test_one_path_is_a_path():
    times, states = gillespie.path(Q3, 2, 50.0, np.random.default_rng(0))
    assert times[0] == 0 and states[0] == 2 and len(times) == len(states) > 10
    assert (np.diff(times) > 0).all() and times[-1] <= 50 and (np.diff(states) != 0).all()


def test_walkers_never_take_a_jump_of_rate_zero():
    ring = np.roll(np.eye(4), 1, axis=1) - np.eye(4)
    rng = np.random.default_rng(0)
    for _ in range(20):
        _, states = gillespie.path(sparse.csr_array(ring), 0, 20.0, rng)
        assert (np.diff(states) % 4 == 1).all()


def test_slow_states_beside_fast_ones_keep_their_rates():
    """Rates 1e12 and 1e-5: a ladder for all rows would make the slow state absorbing."""
    Q = np.array([[-1e12, 1e12, 0], [1e12, -1e12, 0], [1e-5, 2e-5, -3e-5]])
    for matrix in (Q, sparse.csr_array(Q)):
        np.testing.assert_allclose(gillespie._Jumps(matrix).exit, [1e12, 1e12, 3e-5], rtol=1e-15)
    n, rng = 2000, np.random.default_rng(0)
    Q[:2] = 0
    Q[0, :2] = -1e12, 1e12
    last = gillespie.simulate(Q, 2, 3e4, n, rng)
    left = 1 - np.exp(-0.9)
    assert abs((last == 1).mean() - left) < 4 * np.sqrt(left * (1 - left) / n)


def test_targets_on_long_rows_are_those_of_a_search():
    Q = random_generator(50, 1, zeros=0.5)
    rates, rng = gillespie._Jumps(Q), np.random.default_rng(0)
    x, turn = rng.integers(50, size=400), rng.random(400)
    for i, j, u in zip(x, rates.targets(x, turn * rates.exit[x]), turn, strict=True):
        row = np.where(np.arange(50) == i, 0, Q[i])
        assert j == np.searchsorted(row.cumsum() / row.sum(), u, side="right")


def test_the_same_seed_gives_the_same_walkers():
    a, b = (gillespie.simulate(Q3, 0, 3.0, 50, np.random.default_rng(7)) for _ in range(2))
    assert (a == b).all()
