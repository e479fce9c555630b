"""Checks of probabilities: of laws over finitely many states, and of the rows of a chain.

Probabilities may come as a list, a NumPy array or a tensor. How near to 1 their sum has to be depends on the precision
they come in: see :func:`dpm_lib.core.checks.float64`. In single precision they are renormalised, so that their sums are
1 to float64's rounding.
"""

from typing import Any

import numpy as np

from dpm_lib.core.checks import float64
from dpm_lib.core.types import Array


def laws(name: str, value: Any) -> Array:
    """Probabilities over the last axis, (..., n), as float64. ValueError for an entry < 0 or NaN, or a sum not 1."""
    return _laws(name, *float64(name, value))


def law(name: str, value: Any, n: int) -> Array:
    """A law over n states as float64, (n,). ValueError as for ``laws``, and for another shape."""
    found = laws(name, value)
    if found.shape != (n,):
        raise ValueError(f"{name}: need shape ({n},), one probability per state, got {found.shape}")
    return found


def chain(name: str, value: Any) -> Array:
    """The matrix of a chain, whose rows are laws, as float64, (n, n). ValueError as for ``laws``, or if not square."""
    rows, tolerance = float64(name, value)
    square(name, rows.shape)
    turned = (np.abs(rows.sum(0) - 1) <= tolerance).all()
    return _laws(name, rows, tolerance, "; its columns do sum to 1, so transpose it" if turned else "")


def square(name: str, shape: tuple[int, ...]) -> None:
    """ValueError unless this is the shape of a square matrix with at least one row."""
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise ValueError(f"{name}: need a square matrix with at least one state, got shape {shape}")


def _laws(name: str, rows: Array, tolerance: float, hint: str = "") -> Array:
    """The rows themselves, or divided by their sums if they came in single precision: with its larger tolerance."""
    if rows.ndim == 0 or 0 in rows.shape:
        raise ValueError(f"{name}: need one probability per state along the last axis, got shape {rows.shape}")
    wrong = np.argwhere(~(rows >= 0))  # NaN is not >= 0
    if len(wrong):
        first = ", ".join(map(str, wrong[0]))
        raise ValueError(f"{name}[{first}]: {rows[tuple(wrong[0])]}: need a probability, which is not negative")
    sums = rows.sum(-1)
    off = np.abs(sums - 1)
    if not (off <= tolerance).all():
        row = np.unravel_index(off.argmax(), sums.shape)
        place = f" at index {', '.join(map(str, row))}" if row else ""
        if not hint and off[row] < 1e-4:
            hint = "; single precision? divide by the sum, in float64"
        raise ValueError(f"{name}: need a sum of 1, got {sums[row]:.12g}{place}{hint}")
    return rows / sums[..., None] if tolerance > 1e-10 else rows
