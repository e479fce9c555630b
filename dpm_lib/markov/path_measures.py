"""Laws of whole paths of jump chains: their density ratio (Girsanov's theorem for jumps) and relative entropy.

On [0, T] a chain that starts from p_0 and jumps from i to j at the rate Q_ij(t) has, at a path that jumps at the times
t_1 < ... < t_m, the density

    p_0(x_0) prod_k Q_{x_{k-1} x_k}(t_k) exp(-int_0^T Q_{x(t)}(t) dt) ,    Q_i = sum_{j != i} Q_ij ,

so that of two chains P, with rates Q, and M, with rates R,

    log dP/dM = log p_0(x_0) / m_0(x_0) + sum_k log Q/R at the jumps + int_0^T [R_{x(t)}(t) - Q_{x(t)}(t)] dt .

Under P jumps from i to j come at the rate p_t(i) Q_ij(t). So the mean is

    D(P || M) = D(p_0 || m_0) + int_0^T sum_i p_t(i) sum_{j != i} [Q_ij log(Q_ij / R_ij) - Q_ij + R_ij] dt .
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import fixed_quad
from scipy.special import kl_div, rel_entr

from dpm_lib.core import check_laws, checks
from dpm_lib.markov.kolmogorov import checked_generator

Rates = Callable[[float], Any]


def loss_rate(Q: ArrayLike, R: ArrayLike, p: ArrayLike) -> float:
    """sum_i p_i sum_{j != i} [Q_ij log(Q_ij / R_ij) - Q_ij + R_ij], nats per unit of time; never negative.

    Q, R (n, n) and p (n,). Infinite where R forbids a jump that Q makes. ValueError for what are no rates, or no law.
    """
    one, other = (checked_generator(np.asarray(rates)) for rates in (Q, R))
    if one.shape != other.shape:
        raise ValueError(f"R: need the shape of Q, {one.shape}, got {other.shape}")
    law = check_laws.law("p", p, len(one))
    terms = kl_div(one, other)  # x log(x / y) - x + y
    np.fill_diagonal(terms, 0.0)
    return float(law[law > 0] @ terms[law > 0].sum(1))


def relative_entropy_of_paths(
    Q: Rates, R: Rates, law: Callable[[float], ArrayLike], start: ArrayLike, end: float, begin: float = 0.0,
    pieces: int = 64,
) -> float:  # fmt: skip
    """D(P || M) of the paths on ``begin``..``end``, nats. P has rates Q(t) and the law p_t = ``law(t)`` (n,).

    M starts from ``start`` (n,), with rates R(t). The integral is taken by five points of Gauss in each of so many
    pieces. ValueError for bad rates or laws, and an end that is not after the beginning.
    """
    if not begin < end < math.inf:
        raise ValueError(f"end: {end}: need a finite time after {begin}")
    first = check_laws.laws("law", law(begin))
    total = float(rel_entr(first, check_laws.law("start", start, len(first))).sum())
    edges = np.linspace(begin, end, checks.count("pieces", pieces) + 1)
    for low, high in pairwise(edges):
        value, _ = fixed_quad(lambda times: np.array([loss_rate(Q(t), R(t), law(t)) for t in times]), low, high, n=5)
        total += float(value)
    return total


def log_density_ratio(
    times: ArrayLike, states: ArrayLike, end: float, Q: ArrayLike, R: ArrayLike, p: ArrayLike, m: ArrayLike
) -> float:
    """log dP/dM at one path, nats: the chain is in ``states`` (k,) from ``times`` (k,) on, 0 first, until ``end``.

    P has rates Q (n, n) and starts from p (n,), M has R and m; Q and R do not change in time. Minus infinity where P
    forbids a jump of the path, infinity where M does. ValueError for bad rates or laws, or states without times.
    """
    one, other = (checked_generator(np.asarray(rates)) for rates in (Q, R))
    starts = [check_laws.law(name, law, len(one)) for name, law in (("p", p), ("m", m))]
    at, clock = np.asarray(states, np.int64), np.asarray(times, np.float64)
    if at.shape != clock.shape or not len(at):
        raise ValueError(f"times: need one for each of {len(at)} states, got {len(clock)}")
    stay = np.diff(np.append(clock, checks.between("end", end, float(clock[-1]))))
    with np.errstate(divide="ignore"):
        jumps = np.log(one[at[:-1], at[1:]]) - np.log(other[at[:-1], at[1:]])
        start = np.log(starts[0][at[0]]) - np.log(starts[1][at[0]])
    return float(start + jumps.sum() + stay @ (one[at, at] - other[at, at]))
