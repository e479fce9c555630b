"""Grids of cells in one or more dimensions, for densities."""

import math

import numpy as np
from numpy.typing import ArrayLike

from dpm_lib.core.types import Array

Grid = ArrayLike | tuple[ArrayLike, ...]


# The grid


def axes_of(grid: Grid) -> list[Array]:
    """The points along each axis, one or two arrays (m,).

    ValueError for fewer than two points, unequal spacing, or more than two axes.
    """
    axes = [np.asarray(a, np.float64) for a in (grid if isinstance(grid, tuple) else (grid,))]
    if not 1 <= len(axes) <= 2:
        raise ValueError(f"grid: {len(axes)} axes; this solver is for one or two")
    for k, x in enumerate(axes):
        if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
            raise ValueError(f"grid: axis {k} needs at least two finite points in one row, got shape {x.shape}")
        steps, h = np.diff(x), spacing(x)
        if not h > 0 or np.abs(steps - h).max() > 1e-8 * h:
            raise ValueError(f"grid: need equal, rising steps, got {steps.min():g} to {steps.max():g} along axis {k}")
    return axes


def points(grid: Grid) -> Array:
    """The centres of all cells, (states, d), in the order of the states."""
    return _mesh(axes_of(grid))


def _mesh(axes: list[Array]) -> Array:
    return np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], -1)


def spacing(x: Array) -> float:
    """The width of a cell, for even places (m,)."""
    return float((x[-1] - x[0]) / (len(x) - 1))


def cell_volume(grid: Grid) -> float:
    """Length or area of a cell: a density times this is the probability of the cell."""
    return math.prod(spacing(x) for x in axes_of(grid))
