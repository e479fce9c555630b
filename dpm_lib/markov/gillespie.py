"""Gillespie's algorithm: exact paths of chains in continuous time; and thinning, where the rates change.

Q is what ``kolmogorov`` takes: rates (n, n), full or sparse, or a function of time that returns them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from dpm_lib.core import checks
from dpm_lib.core.types import Array
from dpm_lib.markov.kolmogorov import Generator, checked_generator, number_of_states


def simulate(
    Q: Generator,
    x0: ArrayLike,
    t_end: float,
    n: int,
    generator: np.random.Generator,
    start: float = 0.0,
    rate: float | None = None,
) -> NDArray[np.int64]:
    """The states at ``t_end`` of n independent chains that are in ``x0`` (a state, or n states) at ``start``: (n,).

    Exact: every chain waits an exponential time and jumps (Gillespie). For Q(t) the clock rings at ``rate``, which no
    exit rate may exceed, and a ring at time t moves a chain out of i with probability -Q_ii(t) / rate (thinning).
    Raises ``ValueError`` for a start that is not a state, for a ``t_end`` that is not finite or is before ``start``,
    and, with the time and the state, for a rate too small.
    """
    checks.between("t_end", t_end, checks.between("start", start, -np.inf))
    x = _checked_starts(x0, checks.count("n", n, 0), number_of_states(Q, start))
    bound = float(rate or 0)
    if callable(Q) and not 0 < bound < np.inf:
        raise ValueError(f"rate: {rate}: need a finite bound on the exit rates of Q(t)")
    jumps = None if callable(Q) else _Jumps(Q)
    clock, moving = np.full(n, float(start)), np.arange(n)
    while len(moving):
        with np.errstate(divide="ignore"):
            clock[moving] += generator.exponential(size=len(moving)) / (jumps.exit[x[moving]] if jumps else bound)
        moving = moving[clock[moving] <= t_end]
        turn = generator.random(len(moving))
        if jumps:
            x[moving] = jumps.targets(x[moving], turn * jumps.exit[x[moving]])
        else:
            x[moving] = [_thinned(Q, t, i, u, bound) for t, i, u in zip(clock[moving], x[moving], turn, strict=True)]
    return x


def path(Q: Any, x0: int, t_end: float, generator: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
    """One path of a chain with constant Q from time 0: the times (m,) of its jumps, 0 first, and its states then (m,).

    Raises ``ValueError`` for an ``x0`` that is not a state, and for a ``t_end`` that is negative or not finite.
    """
    jumps = _Jumps(Q)
    checks.between("t_end", t_end, 0)
    times, states = [0.0], [int(_checked_starts(x0, 1, len(jumps.exit))[0])]
    while jumps.exit[states[-1]] > 0:
        rate = jumps.exit[states[-1]]
        t = times[-1] + generator.exponential() / rate
        if t > t_end:
            break
        times.append(t)
        states.append(int(jumps.targets(np.array(states[-1:]), np.array([rate * generator.random()]))[0]))
    return np.array(times), np.array(states)


def _checked_starts(x0: ArrayLike, n: int, states: int) -> NDArray[np.int64]:
    """x0, a state or n states, as n whole numbers, or a ``ValueError`` that names the first that is no state."""
    given = np.asarray(x0)
    if given.shape not in ((), (1,), (n,)):
        raise ValueError(f"x0: need one state, or n = {n} states, got shape {given.shape}")
    wrong = np.argwhere(~((given >= 0) & (given < states) & (given == np.floor(given))))
    if len(wrong):
        place = f" at index {wrong[0, 0]}" if given.ndim else ""
        raise ValueError(f"x0: need states from 0 to {states - 1}, got {given[tuple(wrong[0])]}{place}")
    return np.array(np.broadcast_to(given, (n,)), dtype=np.int64)


class _Jumps:
    """The rates off the diagonal: each row a ladder of its own, on which a uniform number finds its target.

    Rows are summed by themselves: on one ladder for all, the rungs of slow states drown in those of fast ones.
    """

    def __init__(self, Q: Any) -> None:
        rates = sparse.csr_array(checked_generator(Q))
        rates = sparse.csr_array(rates - sparse.diags_array(rates.diagonal()))
        rates.eliminate_zeros()
        self.first, self.column = rates.indptr, rates.indices
        self.ladder, lengths = rates.data.copy(), np.diff(self.first)
        rung, rows = 1, np.flatnonzero(lengths > 1)
        while len(rows):  # all rows climb at once
            at = self.first[rows] + rung
            self.ladder[at] += self.ladder[at - 1]
            rung, rows = rung + 1, rows[lengths[rows] > rung + 1]
        self.exit = np.zeros(len(lengths))
        self.exit[lengths > 0] = self.ladder[self.first[1:][lengths > 0] - 1]

    def targets(self, x: NDArray[np.int64], height: Array) -> NDArray[np.int64]:
        """Where chains in ``x`` (m,) jump to, for heights (m,) that are uniform on [0, exit rate): by bisection."""
        low, high = self.first[x], self.first[x + 1] - 1
        while (low < high).any():  # the first rung above the height is from low to high
            middle = (low + high) // 2
            below = self.ladder[middle] <= height
            low, high = np.where(below, np.minimum(middle + 1, high), low), np.where(below, high, middle)
        return self.column[low]


def _thinned(Q: Callable[[float], Any], t: float, i: int, u: float, rate: float) -> int:
    """Where a ring at time t moves a chain in i, for u uniform on (0, 1); mostly nowhere, if the rate is generous."""
    rates = checked_generator(Q(t))
    row = rates[[i]].toarray()[0] if sparse.issparse(rates) else rates[i].copy()
    row[i] = 0.0
    ladder = row.cumsum()
    if ladder[-1] > rate * (1 + 1e-12):
        raise ValueError(f"rate: {rate} is less than the exit rate {ladder[-1]:.6g} of state {i} at time {t:.6g}")
    return int(np.searchsorted(ladder, u * rate, side="right")) if u * rate < ladder[-1] else i
