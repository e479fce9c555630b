"""The Fokker-Planck equation on a grid, by finite volumes: the density of an SDE over time, and its rate matrix.

    dp/dt = -div J,   J_k = mu_k p - (1/2) d(D_k p)/dx_k,   D_k = sigma_k^2   (Ito)

In every dimension the flow between two neighbouring cells is that of the solution with a constant current between
them (exponential fitting; Scharfetter and Gummel 1969). What leaves one cell enters the next, so mass is conserved;
every rate is positive, so the matrix is the generator of a Markov chain; and where the current vanishes in
equilibrium, the discrete equilibrium is the exact one at the cells' centres, whatever the cells' size (up to the error
of one integral per pair of neighbours, which is made about 1e-12 where the coefficients are smooth).

A grid is an array of equally spaced points, or a tuple of two for the plane: the centres of the cells, whose outer
walls reflect. States are numbered row by row (C order). NumPy and SciPy, float64; the SDE itself is given torch
tensors. Steps in time are in :mod:`dpm_lib.markov.matrix_exponential`.
"""

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import exprel

from dpm_lib.core import checks
from dpm_lib.core.types import Array
from dpm_lib.markov.matrix_exponential import EXACT, STEPPERS
from dpm_lib.sde.grids import Grid, _mesh, axes_of, cell_volume, spacing
from dpm_lib.sde.sde import SDE

NODES, WEIGHTS = np.polynomial.legendre.leggauss(6)
STILL, ROUNDING = 1e-9, 1e-11  # a loop in log p above the first, and above the second times |log p|, is a current


def bernoulli(z: ArrayLike) -> Array:
    """Bernoulli's function z / (exp(z) - 1), 1 at z = 0, of z in any shape: the weight of exponential fitting.

    B(-z) = B(z) + z.
    """
    return np.asarray(1 / exprel(z))


# From the SDE to a rate matrix


def generator(sde: SDE, grid: Grid, t: float = 0.0) -> sparse.csr_array:
    """The rate matrix Q (states, states) of the cells at time t: dp/dt = p Q, row convention. Equation eq-sde-rates.

    Q[i, j] >= 0 for neighbours, rows sum to 0. ValueError where the diffusion is not diagonal and positive, or for a
    reversed SDE, whose time runs the other way.
    """
    axes = axes_of(grid)
    shape = tuple(len(x) for x in axes)
    state = np.arange(np.prod(shape)).reshape(shape)
    D, rises = _log_rises(sde, axes, t)
    rows, columns, rates = [], [], []
    for k, rise in enumerate(rises):
        (low, high), (below, above) = _split(state, k), _split(D[k], k)
        rows += [low, high]
        columns += [high, low]
        twice = 2 * spacing(axes[k]) ** 2
        rates += [below * bernoulli(-rise) / twice, above * bernoulli(rise) / twice]
    i, j, rate = (np.concatenate([a.ravel() for a in part]) for part in (rows, columns, rates))
    out = np.bincount(i, rate, state.size)
    i, j, rate = (np.concatenate(pair) for pair in ((i, state.ravel()), (j, state.ravel()), (rate, -out)))
    return sparse.csr_array((rate, (i, j)), shape=(state.size, state.size))


def _log_rises(sde: SDE, axes: list[Array], t: float) -> tuple[list[Array], list[Array]]:
    """For each axis k: D_k at the centres, and the integral of 2 mu_k / D_k from each centre to its next neighbour.

    That is by how much log(D_k p) rises from cell to cell where no current flows.
    """
    shape = tuple(len(x) for x in axes)
    _, D = _coefficients(sde, _mesh(axes), t)
    rises = []
    for k, x in enumerate(axes):
        edges = _mesh([*axes[:k], x[:-1], *axes[k + 1 :]])
        rise = _integrals(sde, edges, spacing(x), k, t)
        rises.append(rise.reshape(*shape[:k], len(x) - 1, *shape[k + 1 :]))
    return [D[:, k].reshape(shape) for k in range(len(axes))], rises


def _integrals(sde: SDE, edges: Array, h: float, k: int, t: float) -> Array:
    """The integral of 2 mu_k / D_k along axis k from each of the ``edges`` (m, d) to h further: (m,).

    By the six-point rule of Gauss on 2, 8 or 64 equal parts, the first that half as many confirm to 1e-12.
    """
    total, todo = np.empty(len(edges)), np.arange(len(edges))
    for parts in (2, 8, 64):
        half, whole = (_gauss(parts // 2), _gauss(parts))
        nodes = h * np.concatenate([half[0], whole[0]])
        place = np.repeat(edges[todo], len(nodes), 0)
        place[:, k] += np.tile(nodes, len(todo))
        mu, D = _coefficients(sde, place, t)
        slopes = (2 * mu[:, k] / D[:, k]).reshape(-1, len(nodes))
        cut = len(half[0])
        rough, found = h * (slopes[:, :cut] @ half[1]), h * (slopes[:, cut:] @ whole[1])
        total[todo], todo = found, todo[np.abs(found - rough) > 1e-12 * (1 + np.abs(found))]
        if not len(todo):
            break
    return total


def _gauss(parts: int) -> tuple[Array, Array]:
    """Nodes in [0, 1] and weights of the six-point rule on equal ``parts``."""
    nodes = (np.arange(parts)[:, None] + 0.5 * (1 + NODES)).ravel() / parts
    return nodes, np.tile(WEIGHTS, parts) * (0.5 / parts)


def _coefficients(sde: SDE, x: Array, t: float) -> tuple[Array, Array]:
    """Drift and squared noise at the points x (m, d), each (m, d)."""
    checks.between("t", t, -np.inf, np.inf)
    if sde.backward:
        raise ValueError("sde: it is a reversed one, which runs over falling times; the grid needs the forward SDE")
    place = torch.from_numpy(np.ascontiguousarray(x))
    with torch.no_grad():
        mu, D = sde.mu(place, t).numpy(), sde.covariance(place, t).numpy()
    if D.ndim == 3:
        if np.abs(D[:, ~np.eye(x.shape[1], dtype=bool)]).max(initial=0) > 0:
            raise ValueError("diffusion: need noise of independent components on a grid: sigma diagonal")
        D = np.diagonal(D, axis1=1, axis2=2)
    if not (D > 0).all():
        i, k = np.argwhere(~(D > 0))[0]
        raise ValueError(f"diffusion: {D[i, k]} at x = {x[i]}, component {k}: need a positive one on a grid")
    return mu, D


def _split(values: NDArray[Any], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """All but the last, and all but the first, along axis k."""
    along = np.moveaxis(values, k, 0)
    return np.moveaxis(along[:-1], 0, k), np.moveaxis(along[1:], 0, k)


# Equilibrium


def stationary(sde: SDE, grid: Grid, t: float = 0.0) -> Array:
    """The stationary density, of mass 1, in the shape of the grid, (m,) or (m, k), for the coefficients at time t.

    The walls reflect. Where every current vanishes (always in one dimension; for gradient drifts with constant,
    isotropic noise in two) log p is summed from neighbour to neighbour. Otherwise by elimination, in rows n and columns
    m in n m^3 operations. Neither subtracts, so no entry is negative, and small ones have as many digits as large ones.
    ValueError where neighbours are so unlike that a rate between them is 0 in double precision.
    """
    axes = axes_of(grid)
    D, rises = _log_rises(sde, axes, t)
    climb = [np.insert(np.cumsum(rise, k), 0, 0.0, axis=k) - np.log(D[k]) for k, rise in enumerate(rises)]
    log_p = climb[0] if len(axes) == 1 else climb[1] - climb[1][:, :1] + climb[0][:, :1]
    p = np.exp(log_p - log_p.max())
    if len(axes) == 2:
        current = np.diff(log_p + np.log(D[0]), axis=0) - rises[0]  # 0 where none flows between two rows
        if np.abs(current).max() > STILL + ROUNDING * np.abs(log_p).max():
            order = np.arange(p.size).reshape(p.shape)
            order = (order if p.shape[0] >= p.shape[1] else order.T).ravel()
            p.ravel()[order] = _null_vector(generator(sde, grid, t)[order][:, order], min(p.shape))
    return np.asarray(p / (p.sum() * cell_volume(grid)))


def _null_vector(Q: sparse.csr_array, m: int) -> Array:
    """p >= 0 with p Q = 0, for jumps to at most m states further. The largest entry is 1.

    Leave out state after state, the last first: who would jump there is sent on to where it jumps next. Nothing is
    subtracted (Grassmann, Taksar and Heyman 1985). The visits of the states left out then follow from those kept.
    """
    n = Q.shape[0]
    visits, rates = np.zeros((n, m)), np.zeros((2 * m, 2 * m))
    rates[m:, m:] = Q[n - m :, n - m :].toarray()
    for first in range(n - m, -1, -m):  # the rates among this block of m states and the one before it
        before = max(first - m, 0)
        if first:
            both = Q[before : first + m, before : first + m].toarray()
            both[m:, m:] = rates[m:, m:]
            rates = both
        for k in range(2 * m - 1, m - (first > 0), -1):
            low = k - m if first else m
            away = rates[k, low:k].sum()
            if not away > 0:
                raise ValueError("grid: a rate between neighbours underflows to 0; take smaller cells")
            share = rates[low:k, k] / away
            rates[low:k, low:k] += share[:, None] * rates[k, low:k]
            visits[first + k - m, m - len(share) :] = share
        rates[m:, m:] = rates[:m, :m]
    p = np.zeros(n)
    p[0] = 1.0
    for k in range(1, n):
        low = max(k - m, 0)
        p[k] = p[low:k] @ visits[k, m - (k - low) :]
        if p[k] > 1e100:  # only ratios matter
            p[: k + 1] /= p[k]
    return np.asarray(p / p.max())


# The density in time


def solve(
    sde: SDE,
    p0: Callable[..., ArrayLike] | ArrayLike,
    grid: Grid,
    times: ArrayLike,
    method: str = "uniformisation",
    steps: int = 100,
    walls: bool = False,
) -> Array:
    """The densities at rising ``times``, the first being p0: (times, m) on a line of m cells, (times, m, k) on a plane.

    ``p0`` is an array of densities at the cells, or a function of the coordinates. Between two times:

    - "uniformisation" is exact in time and never negative; its cost grows with the largest rate times dt. For
      coefficients that depend on t it takes ``steps`` exponentials with the rates at the middle: second order.
    - "chebyshev" is exact in time too (to 1e-13), at the cost of 7 complex solves whatever the rates and dt; for a line
      of cells alone. Coefficients that depend on t as above. A negative mass is treated as in "tr-bdf2".
    - "backward-euler": ``steps`` implicit steps, first order, never negative for any step.
    - "tr-bdf2": ``steps`` implicit steps, second order, for smooth p0. Never negative if dt max|Q_ii| <= 1 + sqrt(2);
      beyond, each step is checked, and ValueError raised if the negative mass is above 1e-12 (else it is cut off).

    Each step conserves the mass up to rounding (of about dt max|Q_ii| units in the last place), which is then put
    right. The ends of the grid are reflecting walls. If the density there comes above 1/20 of its largest value, a
    warning says that the grid is too short; ``walls`` = True says that they belong to the problem.

    Each has mass 1. ValueError too for a p0 whose mass on the grid is not 1 to 1e-4 (else it is scaled to 1), NaN, or
    times that fall.
    """
    if method not in STEPPERS:
        raise ValueError(f"method: {method!r}: choose from {', '.join(STEPPERS)}")
    steps = checks.count("steps", steps)
    path, last_dt = [_initial_law(p0, grid)], np.nan
    for start, end in pairwise(_rising(times)):
        count = 1 if sde.autonomous and method in EXACT else steps
        dt, p = (end - start) / count, path[-1]
        for k in range(count):
            if not sde.autonomous or not abs(dt - last_dt) <= 1e-12 * dt:
                Q, last_dt = generator(sde, grid, start + (k + 0.5) * dt), dt
                step, largest = STEPPERS[method](Q, dt), float(np.abs(Q.diagonal()).max())
            p = _still_a_law(step(p), dt * largest, dt, method)
        path.append(p)
        walls = walls or _warned_of_walls(p.reshape(tuple(len(x) for x in axes_of(grid))), end)
    return np.stack(path).reshape(-1, *(len(x) for x in axes_of(grid))) / cell_volume(grid)


def _warned_of_walls(p: Array, t: float) -> bool:
    for k in range(p.ndim):
        share = p.take([0, -1], k).max() / p.max()
        if share > 0.05:
            text = f"grid: too short? At time {t:g} the density at a wall across axis {k} is {share:.2g} of its largest"
            warnings.warn(f"{text}; walls=True if it is meant", stacklevel=3)
            return True
    return False


def _still_a_law(p: Array, jumps: float, dt: float, method: str) -> Array:
    """p with its mass put right: the rounding of a step is about 1e-16 ``jumps``, which is dt max|Q_ii|; a few 1e-12
    with 100,000 cells and dt = 0.01. A negative mass of up to 1e-12 in all, in far tails, is cut off."""
    if p.min() < 0:
        p, below = p.clip(min=0), -p.clip(max=0).sum()
        if below > 1e-12:
            cure = (
                f"It cannot for dt <= {(1 + np.sqrt(2)) * dt / jumps:.3g}; use more steps, or a method that never does"
            )
            cure = "Take uniformisation" if method == "chebyshev" else cure
            raise ValueError(f"method: {method} gives a negative mass of {below:.3g} with dt = {dt:g}. {cure}")
    mass = p.sum()
    if not abs(mass - 1) < 1e-6:
        raise ValueError(f"steps: too few: dt times the largest rate is {jumps:.3g}, and the mass {mass}")
    return np.asarray(p / mass)


def _rising(times: ArrayLike) -> Array:
    clock = np.asarray(times, np.float64)
    if clock.ndim != 1 or len(clock) < 2 or not (np.diff(clock) > 0).all() or not np.isfinite(clock).all():
        raise ValueError(f"times: need at least two finite ones that rise, got {clock}")
    return clock


def _initial_law(p0: Callable[..., ArrayLike] | ArrayLike, grid: Grid) -> Array:
    """The probabilities of the cells, (states,), of mass 1."""
    axes = axes_of(grid)
    shape = tuple(len(x) for x in axes)
    density = np.asarray(p0(*np.meshgrid(*axes, indexing="ij")) if callable(p0) else p0, np.float64)
    if density.shape != shape:
        raise ValueError(f"p0: needs shape {shape}, a density for each cell, got {density.shape}")
    if not (density >= 0).all() or not np.isfinite(density).all():
        where = tuple(map(int, np.argwhere(~(density >= 0) | ~np.isfinite(density))[0]))
        raise ValueError(f"p0: {density[where]} at index {where}: a density is finite and not negative")
    law = density.ravel() * cell_volume(grid)
    if abs(law.sum() - 1) > 1e-4:
        raise ValueError(f"p0: need a mass of 1 on the grid, got {law.sum():.6g}: hold it all, and resolve it")
    return np.asarray(law / law.sum())
