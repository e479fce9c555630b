"""Which of two things costs less, or errs less? Orders of runs, and how sure a ratio of costs or of errors is.

An order is an array of signs (N,): -1 where the first of the two runs, +1 where the second. The contrast of readings
(N,) is the mean of the second's less that of the first's; readings of cost are taken as logarithms, so that a machine
which is slow for a while adds to both.
"""

import math

import numpy as np
from scipy.stats import binom, f

from dpm_lib.core import checks
from dpm_lib.core.types import Array


def blocks(runs: int) -> Array:
    """The order A...AB...B, ``runs`` of each, (2 runs,). Raises ValueError for runs < 1."""
    return np.repeat([-1.0, 1.0], checks.count("runs", runs))


def turns(runs: int) -> Array:
    """The order ABAB..., ``runs`` of each, (2 runs,). Raises ValueError for runs < 1."""
    return np.tile([-1.0, 1.0], checks.count("runs", runs))


def thue_morse(level: int) -> Array:
    """AB, ABBA, ABBABAAB, ...: each half is the other with A and B exchanged, (2^level,). ValueError for level < 1."""
    order = np.array([-1.0])
    for _ in range(checks.count("level", level)):
        order = np.concatenate([order, -order])
    return order


def contrast(order: Array, readings: Array) -> Array:
    """The mean reading of the second less that of the first, over the last axis (..., N) (def-close-contrast).

    Raises ValueError unless the order has as many of both.
    """
    order = _balanced(order)
    return np.asarray(readings) @ order * 2 / len(order)


def walk_variance(order: Array) -> float:
    """Variance of the contrast of a random walk with unit steps, for an order (N,) (eq-close-walk).

    A step between two runs moves all readings after it, so it counts by the sum of the signs that follow. Raises
    ValueError unless the order has as many of both.
    """
    order = _balanced(order)
    after = np.cumsum(order[::-1])[::-1][1:]
    return float((after**2).sum()) * (2 / len(order)) ** 2


def range_level(n: int, cut: int = 0) -> float:
    """The chance that the median of a continuous law lies within the range of n independent draws (eq-close-range).

    With ``cut``, within the range that is left without the ``cut`` largest and smallest. Raises ValueError for n < 1,
    or where nothing is left.
    """
    n, cut = checks.count("n", n), checks.count("cut", cut, 0)
    if 2 * cut > n - 1:
        raise ValueError(f"cut: {cut}: need less than half of the {n} draws")
    return float(1 - 2 * binom.cdf(cut, n, 0.5))


def rmse_ratio_interval(runs: int, others: int | None = None, level: float = 0.95) -> tuple[float, float]:
    """Between which the ratio of two *equal* RMSEs lies with probability ``level`` (eq-close-rmse).

    For errors that are independent, normal and of mean 0: ``runs`` of one, ``others`` (as many) of the other. Raises
    ValueError for runs < 1 or a level outside (0, 1).
    """
    n = checks.count("runs", runs)
    m = checks.count("others", others) if others is not None else n
    if not 0 < level < 1:
        raise ValueError(f"level: {level!r}: need a number between 0 and 1")
    low, high = f.ppf([(1 - level) / 2, (1 + level) / 2], n, m)
    return math.sqrt(low), math.sqrt(high)


def _balanced(order: Array) -> Array:
    order = np.asarray(order, dtype=np.float64)
    if order.ndim != 1 or len(order) < 2 or not (np.abs(order) == 1).all() or order.sum() != 0:
        raise ValueError("order: need signs (N,), as many -1 as +1")
    return order
