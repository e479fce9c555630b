"""Kolmogorov's forward and backward equations: rate matrices of chains in continuous time, and their transitions.

A generator on the states 0, ..., n - 1 is a matrix Q (n, n) of rates: Q[i, j] >= 0 is the rate of jumps from i to j,
in jumps per unit of time, and Q[i, i] makes every row sum to 0. Laws are row vectors and functions are columns:

    forward   dp/dt = p Q        the law of X_t
    backward -du/ds = Q u        u_s(i) = E[f(X_T) | X_s = i]

Q is a NumPy array, a SciPy sparse matrix, or a function of time that returns either. Nothing here divides by a grid
spacing or asks where Q came from: ``fokker_planck.generator`` makes one of a diffusion. Paths are in ``gillespie``.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from dpm_lib.core import check_laws, checks
from dpm_lib.core.types import Array
from dpm_lib.markov.matrix_exponential import uniformisation

Matrix = Any  # float64: an array (n, n), or a scipy.sparse CSR array of that shape
Generator = Any  # what a Matrix can be made of, or a function of time that returns that
LARGEST_DENSE = checks.LARGEST_DENSE  # states: exp(Qt) is a full matrix
LARGEST_JACOBIAN = 500  # states: for fast rates that change, full matrices are factorised


def checked_generator(Q: Any) -> Matrix:
    """Q as a float64 array or CSR array (n, n), or a ``ValueError`` naming the entry or the row that is wrong.

    A row's sum may be off by 1e-10 times the sum of its absolute entries: that is rounding. (For a matrix in single
    precision, by 2e-6; its diagonal is then computed anew.) Each row is judged by itself, so that fast states do not
    hide what is wrong with slow ones.
    """
    if sparse.issparse(Q):
        _, tolerance = checks.float64("Q", Q.data)
        rates: Any = sparse.csr_array(Q, dtype=np.float64)
    else:
        rates, tolerance = checks.float64("Q", Q)
    check_laws.square("Q", rates.shape)
    entries = rates.tocoo() if sparse.issparse(rates) else None
    values = rates if entries is None else entries.data
    diagonal = np.eye(len(rates), dtype=bool) if entries is None else np.equal(*entries.coords)
    wrong = np.argwhere(~np.isfinite(values) | ((values < 0) & ~diagonal))
    if len(wrong):
        i, j = wrong[0] if entries is None else (int(c[wrong[0, 0]]) for c in entries.coords)
        value = values[tuple(wrong[0])]
        raise ValueError(f"Q[{i}, {j}]: {value}: need a finite rate, which is not negative off the diagonal")
    excess = np.abs(rates.sum(axis=1)) - tolerance * abs(rates).sum(axis=1)
    if (excess > 0).any():
        row = int(excess.argmax())
        columns = (np.abs(rates.sum(axis=0)) <= tolerance * abs(rates).sum(axis=0)).all()
        hint = "; its columns do sum to 0, so transpose it" if columns else ""
        raise ValueError(f"Q: need rows that sum to 0, got {rates.sum(axis=1)[row]:.6g} in row {row}{hint}")
    if tolerance > 1e-10:
        rates = rates - (sparse.diags_array if entries is not None else np.diag)(rates.sum(axis=1))
        rates = sparse.csr_array(rates) if entries is not None else rates
    return rates


def exit_rates(Q: Any) -> Array:
    """The rates -Q[i, i] at which the states are left, (n,). ValueError where Q is no matrix of rates."""
    return np.maximum(-checked_generator(Q).diagonal(), 0.0)


def uniformise(Q: Any) -> tuple[Matrix, float]:
    """(P, rate) with Q = rate (P - 1): the chain P in steps, run by a clock that rings at ``rate``.

    The rate is the largest exit rate (1 if nothing ever moves), the smallest for which P has no negative entry.
    ValueError where Q is no matrix of rates. Equation eq-kolm-uniform.
    """
    rates = checked_generator(Q)
    rate = float(exit_rates(rates).max()) or 1.0
    if sparse.issparse(rates):
        return sparse.csr_array(sparse.eye_array(rates.shape[0]) + rates / rate), rate
    P = np.maximum(np.eye(len(rates)) + rates / rate, 0.0)
    return P / P.sum(1, keepdims=True), rate


# The two equations


def transition_matrix(Q: Generator, t: float, start: float = 0.0) -> Array:
    """P[i, j] = Pr(X_t = j | X_start = i), a full array (n, n). Equations eq-kolm-exp and eq-kolm-uniform.

    For constant Q it is exp(Q (t - start)), by a series without a minus sign, over a time so short that the clock
    rings once or less on average, and then squared as often as needed. For Q(t) it is integrated, with an error of
    about 1e-10. No entry is negative; rows sum to 1. Raises ``ValueError`` for t before start, and beyond 4000 states
    (500 for fast Q(t), whose clock rings more than 30,000 times).
    """
    start = float(start)
    t = checks.between("t", t, start)
    n = number_of_states(Q, start)
    if n > LARGEST_DENSE:
        raise ValueError(
            f"Q: {n} states: exp(Qt) would be a full matrix; use forward or backward, which need only vectors"
        )
    if callable(Q):
        return _integrate(np.eye(n), Q, [start, t], forward=True)[-1]
    P, rate = uniformise(Q.toarray() if sparse.issparse(Q) else Q)
    rings = rate * (t - start)
    halvings = max(0, math.ceil(math.log2(max(rings, 1.0))))
    return _squared(_series(P, rings / 2**halvings), halvings)


def _series(P: Array, rings: float) -> Array:
    """sum_k Poisson(k; rings) P^k for rings <= 1; the rest is below 1e-18."""
    term = math.exp(-rings) * np.eye(len(P))
    total = term
    for k in range(1, 20):
        term = term @ P * (rings / k)
        total = total + term
    return total


def _squared(P: Array, times: int) -> Array:
    for _ in range(times):
        P = P @ P
        P /= P.sum(1, keepdims=True)
    return P


def forward(p0: ArrayLike, Q: Generator, times: ArrayLike) -> Array:
    """The laws p_t at ``times`` (m,), increasing, for p0 at times[0]: (m, n). Equation eq-kolm-forward.

    A full Q is exponentiated; a sparse one costs about rate * (times[-1] - times[0]) products with a vector, where
    rate is the largest exit rate: fine for 1e5 states and moderate rates. For the stiff generators of fine grids over
    long times, ``fokker_planck.solve`` is the tool. A function Q(t) is integrated to about 1e-10; if it jumps, call
    once for each smooth piece. Where the clock of Q(t) rings more than 2000 times it is integrated implicitly, for up
    to 500 states; for more states, 30,000 times are refused (ValueError). A full Q keeps the digits of small entries;
    a sparse Q has an absolute error of about 1e-16, a function one of 1e-10, and entries below that may come out as 0.
    None is ever negative.
    """
    clock = _checked_times(times)
    return _propagate(check_laws.law("p0", p0, number_of_states(Q, clock[0])), Q, clock, forward=True)


def backward(f: ArrayLike, Q: Generator, times: ArrayLike) -> Array:
    """u_s(i) = E[f(X_T) | X_s = i] at ``times`` (m,), with T = times[-1]: (m, n), the last row is f. eq-kolm-backward.

    ``f`` (n,) holds one finite number per state, else ValueError. Cost and accuracy are those of ``forward``.
    """
    clock = _checked_times(times)
    n = number_of_states(Q, clock[-1])
    values = np.array(f, dtype=np.float64)
    if values.shape != (n,) or not np.isfinite(values).all():
        raise ValueError(f"f: need {n} finite numbers, one per state, got {values}")
    return _propagate(values, Q, clock, forward=False)


def _propagate(start: Array, Q: Generator, clock: Array, forward: bool) -> Array:
    if callable(Q):
        path = _integrate(start[None], Q, clock if forward else clock[::-1], forward)[:, 0]
        return path if forward else path[::-1]
    rates, rows = checked_generator(Q), [start]
    kernels: dict[float, Callable[[Array], Array]] = {}
    for step in np.diff(clock) if forward else np.diff(clock)[::-1]:
        if step not in kernels:
            kernels[step] = _kernel(rates, step, forward)
        rows.append(kernels[step](rows[-1]))
    return np.stack(rows if forward else rows[::-1])


def _kernel(rates: Matrix, step: float, forward: bool) -> Callable[[Array], Array]:
    """v -> v P for laws, or v -> P v for functions, with P = exp(rates * step)."""
    if step == 0 or not exit_rates(rates).any():
        return np.copy
    if sparse.issparse(rates):
        try:
            return uniformisation(rates if forward else rates.T.tocsr(), step)
        except ValueError:
            rings = exit_rates(rates).max() * step
            raise ValueError(
                f"Q: too stiff for a step of {step:.6g} in times: its clock rings {rings:.3g} times, each a product; "
                "make Q a full array if it has few states; for grids use fokker_planck.solve"
            ) from None
    P = transition_matrix(rates, step)
    return lambda v: v @ P if forward else P @ v


def _integrate(v: Array, Q: Callable[[float], Any], clock: ArrayLike, forward: bool) -> Array:
    """dv/dt = v Q(t) along rising times, or dv/ds = -Q(s) v along falling ones, for the rows of v (m, n).

    Explicitly (DOP853), unless the clock rings so often that the steps would be tiny: then by implicit ones (BDF), row
    by row, for up to 500 states.
    """
    times = np.asarray(clock, np.float64)
    if times[0] == times[-1]:
        return np.stack([v] * len(times))
    start, elapsed = times[0], np.abs(times - times[0])
    n, sign = v.shape[1], 1 if forward else -1
    ends = (start, 0.5 * (start + times[-1]), times[-1])
    rings = max(exit_rates(Q(float(t))).max() for t in ends) * elapsed[-1]
    implicit = rings > 2000 and n <= LARGEST_JACOBIAN
    if rings > 30_000 and not implicit:
        raise ValueError(
            f"Q: too stiff for {n} states: its clock rings {rings:.3g} times from {start:.6g} to {times[-1]:.6g}; "
            f"beyond 30000 times it is integrated for up to {LARGEST_JACOBIAN} states"
        )
    if implicit and len(v) > 1:
        return np.concatenate([_integrate(row[None], Q, times, forward) for row in v], 1)

    def slope(s: float, flat: Array) -> Array:
        rates = checked_generator(Q(start + sign * s))
        rows = flat.reshape(v.shape)
        return np.asarray(rows @ rates if forward else (rates @ rows.T).T).ravel()

    def jacobian(s: float, row: Array) -> Array:
        rates = checked_generator(Q(start + sign * s))
        rates = rates.toarray() if sparse.issparse(rates) else rates
        return rates.T if forward else rates

    from scipy.integrate import solve_ivp  # here, for it is slow to import

    how: dict[str, Any] = {"method": "DOP853", "rtol": 1e-11, "atol": 1e-13}
    if implicit:
        how = {"method": "BDF", "rtol": 1e-12, "atol": 1e-14, "jac": jacobian}
    different = np.concatenate([[True], np.diff(times) != 0])
    wanted = times[different]
    run = solve_ivp(slope, (0, elapsed[-1]), v.ravel(), t_eval=elapsed[different], **how)
    if not run.success:
        raise ValueError(f"Q: could not be integrated from {times[0]} to {times[-1]}: {run.message}")
    found = run.y.T.reshape(len(wanted), *v.shape)
    return (_as_laws(found, wanted) if forward else found)[different.cumsum() - 1]


def _as_laws(rows: Array, times: Array) -> Array:
    """Rows (m, ..., n) of m times without the negative entries that an integrator's error makes of tiny ones."""
    if rows.min() < -1e-10:
        k = int(rows.reshape(len(rows), -1).min(1).argmin())
        raise ValueError(f"Q: could not be integrated: at time {times[k]:.6g} a probability is {rows.min():.3g}")
    laws: Array = np.maximum(rows, 0.0)
    return laws / laws.sum(-1, keepdims=True)


def number_of_states(Q: Generator, t: float) -> int:
    """n of Q, or of Q(t), (n, n). ValueError as in ``checked_generator``."""
    return int(checked_generator(Q(t) if callable(Q) else Q).shape[0])


def _checked_times(times: ArrayLike) -> Array:
    clock = np.array(times, dtype=np.float64)
    if clock.ndim != 1 or len(clock) == 0 or not np.isfinite(clock).all() or (np.diff(clock) < 0).any():
        raise ValueError(f"times: need a list of finite times that never decrease, got {clock}")
    return clock
