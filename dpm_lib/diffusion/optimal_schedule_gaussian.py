"""The schedule that is best for the bound, where it is known: Gaussian data, the right mean, and DDPM's variance.

Data N(0, s2) on the line, the Gaussian kernel, and a reverse kernel with the exact E[x_0 | x_t] and variance v_t, that
of q(x_{t-1} | x_t, x_0). Then K, its gradient in beta, and the best beta are closed forms in u_t = 1 + s2 SNR_t, and
what is learned through samples can be checked against them. NumPy; ``beta`` is (T,): beta_1..beta_T; nats.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from dpm_lib.core import checks
from dpm_lib.core.types import Array


def ratios(beta: ArrayLike, s2: float) -> Array:
    """u_t = 1 + s2 alpha_bar_t / (1 - alpha_bar_t), (T,). ValueError for rates outside of (0, 1), or s2 <= 0."""
    checks.positive("s2", s2)
    kept = np.cumprod(1 - checked_rates(beta))
    return np.asarray(1 + s2 * kept / (1 - kept))


def bound(beta: ArrayLike, s2: float) -> float:
    """K of ``beta`` (T,), nats: eq-bound-beta-K. ValueError as for ``ratios``."""
    rates, u = checked_rates(beta), ratios(beta, s2)
    last = float(np.prod(1 - rates))
    ends = -math.log(2 * math.pi) - 1 - last * (s2 - 1) + rates[0] * (1 - s2) + math.log((1 - last) / rates[0])
    return float(0.5 * (ends - (u[:-1] / u[1:] - 1).sum()))


def gradient(beta: ArrayLike, s2: float) -> Array:
    """dK / dbeta_j, (T+1,), indexed by j; entries 0 and 1 are NaN, for beta_1 is held fixed.

    eq-bound-beta-gradient. ValueError as for ``ratios``.
    """
    rates, u = checked_rates(beta), ratios(beta, s2)
    r, last = (u - 1) / s2, float(np.prod(1 - rates))
    before, after = np.append(np.nan, u[:-1]), np.append(1 / u[1:], 0.0)
    by_time = s2 * r * (1 + r) * (after - before / u**2)
    end = last * (s2 - 1 + 1 / (1 - last))
    later = np.cumsum(by_time[:0:-1])[::-1]  # sums over t = j..T, for j = 2..T
    return np.concatenate([[np.nan, np.nan], (later + end) / (2 * (1 - rates[1:]))])


def best(beta_1: float, T: int, s2: float) -> tuple[float, Array]:
    """The largest K, and the beta (T,) that has it: every u_{t-1} / u_t the same (eq-bound-beta-best), by search.

    Along those schedules K can have two maxima: a coarse grid finds the hill, and a bounded search its top. Raises
    ValueError unless 0 < beta_1 < 1, T >= 2 and 0 < s2 < infinity.
    """
    if not 0 < beta_1 < 1 or T < 2 or not 0 < s2 < math.inf:
        raise ValueError(f"beta_1, T, s2: need 0 < beta_1 < 1, T >= 2 and 0 < s2 < inf, got {beta_1}, {T}, {s2}")
    first = s2 * (1 - beta_1) / beta_1  # u_1 - 1

    def even(log_last: float) -> Array:
        u = np.geomspace(1 + first, 1 + math.exp(log_last), T)
        kept = (u - 1) / (u - 1 + s2)
        return np.concatenate([[beta_1], 1 - kept[1:] / kept[:-1]])

    def score(log_last: float) -> float:
        return bound(even(log_last), s2)

    grid = math.log(first) - np.geomspace(1e-6, 30, 400)  # falling
    values = [score(v) for v in grid]
    i = int(np.argmax(values))
    around = (grid[min(i + 1, 399)], grid[max(i - 1, 0)])
    found = minimize_scalar(lambda v: -score(v), bounds=around, method="bounded", options={"xatol": 1e-10})
    return score(found.x), even(found.x)


def checked_rates(beta: ArrayLike) -> Array:
    """``beta`` as float64 (T,), T >= 2; ValueError names a rate outside (0, 1)."""
    rates = np.asarray(beta, np.float64)
    if rates.ndim != 1 or len(rates) < 2:
        raise ValueError(f"beta: need shape (T,) with T >= 2, got {rates.shape}")
    outside = ~((rates > 0) & (rates < 1))
    if outside.any():
        t = int(np.argmax(outside))
        raise ValueError(f"beta: beta_{t + 1} = {rates[t]} is outside (0, 1)")
    return rates
