"""The matrix exponential p exp(Q dt) for a sparse rate matrix Q: steppers of a law through time.

Row convention: p (states,) is a row, dp/dt = p Q, Q[i, j] >= 0 for i != j, rows sum to 0. A stepper takes Q and dt,
does what can be done beforehand, and returns the map p -> p. Each conserves the mass of p. To stay non-negative for
every dt a step that is a rational function of dt Q can be at most of first order (Bolley and Crouzeix 1978): hence
several of them.
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
CHEBYSHEV = (  # poles z and residues c of order 14, and their conjugates: exp(x) = 2 Re sum c / (x - z) for x <= 0
    (5.623158544960684 + 1.1940650089450893j, -27.875883888575082 - 102.14852925423567j),
    (5.089360791674981 + 3.588811802922035j, 46.93437269716732 + 45.64371009939153j),
    (3.99338484086075 + 6.00481087106402j, -23.49863709240672 - 5.807987039362784j),
    (2.269797611406378 + 8.461707990927524j, 4.807132826299541 - 1.3211277783433177j),
    (-0.20874807842864476 + 10.991220724945983j, -0.37635127962839887 + 0.3352007410088586j),
    (-3.703271155952258 + 13.65632362095924j, 0.009438272779782424 - 0.017185308708013526j),
    (-8.89777661886301 + 16.630933425563992j, -7.153555321737821e-05 + 0.00014361358453387734j),
)  # by the Caratheodory-Fejer method (Trefethen, Weideman and Schmelzer 2006), to 1e-13


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
    back, forth = implicit(Q, (1 - 1 / SQRT2) * dt), (SQRT2 - 1) * dt * Q.T
    return lambda p: back(back(p + forth @ p))


def chebyshev(Q: sparse.csr_array, dt: float) -> Step:
    """p exp(Q dt) by the Chebyshev rational approximation of order 14, for a line of cells: 7 complex solves, any dt.

    A chain on a line is reversible in its stationary law pi, so Q has real eigenvalues, none above 0, where the
    rational function is exp to 1e-13: the sum of all |errors| of a step is at most 1e-13 sqrt(sum_i p_i^2 / pi_i). So
    much may also be negative. ValueError for states that are not a line of at least 3, and for dt < 0.
    """
    checks.between("dt", dt, 0, np.inf)
    if not _is_line(Q):
        raise ValueError(f"method: chebyshev is for a line of at least 3 cells: choose {WIDER}")
    up, middle, down = (dt * Q.diagonal(k) for k in (1, 0, -1))
    solves = [(c, lapack.zgttrf(up, middle - z, down)[:-1]) for z, c in CHEBYSHEV]
    return lambda p: sum(2 * (c * lapack.zgttrs(*factors, p)[0]).real for c, factors in solves)


STEPPERS = {"uniformisation": uniformisation, "backward-euler": backward_euler, "tr-bdf2": tr_bdf2}
WIDER = ", ".join(STEPPERS)
STEPPERS["chebyshev"] = chebyshev
EXACT = ("uniformisation", "chebyshev")  # in time, whatever dt


def implicit(Q: sparse.csr_array, dt: float) -> Step:
    """p -> p (I - dt Q)^-1, factorised once. Its columns dominate, so no pivots are needed. ValueError for dt < 0."""
    checks.between("dt", dt, 0, np.inf)
    n = Q.shape[0]
    if _is_line(Q):
        up, middle, down = (Q.diagonal(k) for k in (1, 0, -1))
        *factors, _ = lapack.dgttrf(-dt * up, 1 - dt * middle, -dt * down)
        return lambda p: lapack.dgttrs(*factors, p)[0]
    return factorised(sparse.eye_array(n) - dt * Q.T)


def _is_line(Q: sparse.csr_array) -> bool:
    """Do all jumps lead to the state before or after, of 3 or more?"""
    n = Q.shape[0]
    return n > 2 and bool(np.abs(np.repeat(np.arange(n), np.diff(Q.indptr)) - Q.indices).max() <= 1)


def factorised(A: sparse.sparray) -> Step:
    """b -> the solution x of A x = b, for a sparse M-matrix A that needs no pivots."""
    return splu(A.tocsc(), diag_pivot_thresh=0.0, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve
