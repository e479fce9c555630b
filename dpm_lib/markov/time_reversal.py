"""A Markov chain in reverse time: its kernel, its generator, and the entropy that it loses on the way."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import rel_entr

from dpm_lib.core import check_laws
from dpm_lib.core.types import Array
from dpm_lib.markov.kolmogorov import Generator, checked_generator

# Backwards in time


def reverse_kernel(P: ArrayLike, p: ArrayLike) -> Array:
    """Bayes: B[j, i] = Pr(X_0 = i | X_t = j) = p_i P_ij / (p P)_j, for X_0 ~ p (n,), P (n, n): rows sum to 1.

    Equation eq-kolm-bayes. Raises ``ValueError`` for a state j that X_t cannot be in: there is nothing to condition on.
    """
    chain = check_laws.chain("P", P)
    joint = check_laws.law("p", p, len(chain))[:, None] * chain
    after = joint.sum(0)
    if (after <= 0).any():
        raise ValueError(f"P, p: state {int(after.argmin())} has probability 0 after the step, so no step back from it")
    return (joint / after).T


def reverse_generator(Q: Generator, p: ArrayLike | Callable[[float], ArrayLike]) -> Any:
    """The rates R_ij = Q_ji p_j / p_i of the chain run backwards, with R_ii = -(sum of the others). eq-kolm-reverse.

    ``p`` (n,) is the law of X_t at the time in question; if it is stationary, R holds at all times, and else at that
    time only. Where Q or p is a function of time, so is the result: t -> R(t), with t the forward time, to be met in
    falling order: run ``lambda s: R(T - s)``. Sparse Q give sparse R. Raises ``ValueError`` where some p_i is 0: the
    film never shows i then, so no rates out of i are right or wrong. For t > 0 an irreducible chain has none; yet
    ``forward`` may round a tiny p_i to 0.
    """
    if callable(Q) or callable(p):
        return lambda t: reverse_generator(Q(t) if callable(Q) else Q, p(t) if callable(p) else p)
    rates = checked_generator(Q)
    law = check_laws.law("p", p, rates.shape[0])
    if (law <= 0).any():
        raise ValueError(f"p[{int(law.argmin())}]: {law.min()}: need positive probabilities to run backwards")
    diagonal = sparse.diags_array if sparse.issparse(rates) else np.diag
    off = rates - diagonal(rates.diagonal())
    back = diagonal(1 / law) @ off.T @ diagonal(law)
    return back - diagonal(back.sum(1))


def relative_entropy(p: ArrayLike, q: ArrayLike) -> Array:
    """D(p || q) = sum_i p_i log(p_i / q_i) of laws (..., n), (...), nats; infinite where q_i = 0 < p_i.

    Equation def-kolm-divergence. Raises ``ValueError`` for an entry below 0 (or NaN), or a sum that is not 1.
    """
    return np.asarray(rel_entr(check_laws.laws("p", p), check_laws.laws("q", q)).sum(-1))


def entropy_loss(Q: Any, p: ArrayLike, q: ArrayLike) -> float:
    """-d/dt D(p_t || q_t) for two laws (n,) that both follow Q, nats per unit of time; never negative. eq-kolm-loss.

    ValueError for laws that are not positive.
    """
    jumps = sparse.coo_array(checked_generator(Q))
    i, j = jumps.coords
    p, q = (check_laws.law(name, value, jumps.shape[0]) for name, value in (("p", p), ("q", q)))
    if not (p > 0).all() or not (q > 0).all():
        raise ValueError(f"p, q: need positive probabilities, got {p.min()} and {q.min()} for the least")
    step = (p[j] / q[j]) / (p[i] / q[i])
    flow = np.where(i == j, 0.0, p[i] * jumps.data)
    return float(flow @ (step - 1 - np.log(step)))
