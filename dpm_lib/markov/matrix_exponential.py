"""The matrix exponential p exp(Q dt) for a sparse rate matrix Q: three steppers of a law through time.

Row convention: p (states,) is a row, dp/dt = p Q, Q[i, j] >= 0 for i != j, rows sum to 0. A stepper takes Q and dt,
does what can be done beforehand, and returns the map p -> p. Each conserves the mass of p. To stay non-negative for
every dt a step that is a rational function of dt Q can be at most of first order (Bolley and Crouzeix 1978): hence
three of them.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sparse
from scipy.linalg import lapack
from scipy.sparse.linalg import splu

from dpm_lib.core import checks
from dpm_lib.core.types import Array

Step = Callable[[Array], Array]
SQRT2 = np.sqrt(2)


def uniformisation(Q: sparse.csr_array, dt: float) -> Step:
    """p exp(Q dt) = sum_k Poisson(k; r dt) p P^k, with P = I + Q/r and r the largest rate: exact, and never negative.

    The series stops where its tail is below 1e-16. ValueError where that takes more than 200,000 products.
    Equation eq-sde-uniformisation.
    """
    from scipy.stats import poisson  # here, for it is slow to import

    checks.between("dt", dt, 0, np.inf)
    r = float(np.abs(Q.diagonal()).max())
    last = int(poisson.isf(1e-16, r * dt)) + 1
    if last > 200_000:
        raise ValueError(f"method: uniformisation would take {last} products; choose backward-euler or tr-bdf2")
    weights = poisson.pmf(np.arange(last + 1), r * dt)
    weights /= weights.sum()
    PT = (sparse.eye_array(Q.shape[0]) + Q / r).T.tocsr()

    def step(p: Array) -> Array:
        total = weights[0] * p
        for weight in weights[1:]:
            p = PT @ p
            total += weight * p
        return np.asarray(total)

    return step


def backward_euler(Q: sparse.csr_array, dt: float) -> Step:
    """p (I - dt Q)^-1, first order. I - dt Q is an M-matrix, whose inverse is never negative, for any dt."""
    return implicit(Q, dt)


def tr_bdf2(Q: sparse.csr_array, dt: float) -> Step:
    """p [I + (sqrt 2 - 1) dt Q] (I - a dt Q)^-2 with a = 1 - 1/sqrt 2: second order, and fast modes die out.

    Never negative if dt max|Q_ii| <= 1 + sqrt 2, for then the first bracket is not. It is what the method TR-BDF2 of
    Bank et al. (1985) is for a linear equation.
    """
    back, QT = implicit(Q, (1 - 1 / SQRT2) * dt), Q.T
    return lambda p: back(back(p + (SQRT2 - 1) * dt * (QT @ p)))


STEPPERS = {"uniformisation": uniformisation, "backward-euler": backward_euler, "tr-bdf2": tr_bdf2}


def implicit(Q: sparse.csr_array, dt: float) -> Step:
    """p -> p (I - dt Q)^-1, factorised once. Its columns dominate, so no pivots are needed. ValueError for dt < 0."""
    checks.between("dt", dt, 0, np.inf)
    n = Q.shape[0]
    if n > 2 and np.abs(np.repeat(np.arange(n), np.diff(Q.indptr)) - Q.indices).max() <= 1:  # a line of cells
        up, middle, down = (Q.diagonal(k) for k in (1, 0, -1))
        *factors, _ = lapack.dgttrf(-dt * up, 1 - dt * middle, -dt * down)
        return lambda p: lapack.dgttrs(*factors, p)[0]
    return factorised(sparse.eye_array(n) - dt * Q.T)


def factorised(A: sparse.sparray) -> Step:
    """b -> the solution x of A x = b, for a sparse M-matrix A that needs no pivots."""
    return splu(A.tocsc(), diag_pivot_thresh=0.0, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve
