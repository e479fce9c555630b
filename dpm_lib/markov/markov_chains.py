"""Finite Markov chains: stationary laws, mixing, and the spectral gap.

A chain on the states 0, ..., n - 1 is a row-stochastic matrix: P[i, j] is the probability to go from i to j, every
row sums to 1, and a distribution is a row vector, so that p_{t+1} = p_t P. A stationary distribution is a *left*
eigenvector. What a chain can reach is decided on its graph, exactly, not by comparing eigenvalues with a threshold.
Everything is NumPy in float64; time is counted in steps.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csgraph

from dpm_lib.core import check_laws, checks
from dpm_lib.core.types import Array

# What can be reached from where


def recurrent_classes(P: ArrayLike) -> list[NDArray[np.int64]]:
    """The sets of states, each (m,), that once entered are never left; the other states are transient.

    Each is a strongly connected part of the graph with an edge i -> j wherever P[i, j] > 0, without an edge out of it.
    ValueError here and below where P (n, n) is no chain.
    """
    edges = check_laws.chain("P", P) > 0
    count, part = csgraph.connected_components(edges, connection="strong")
    sources, ends = np.nonzero(edges)
    leaking = set(part[sources[part[sources] != part[ends]]].tolist())
    closed = [np.flatnonzero(part == c) for c in range(count) if c not in leaking]
    return sorted(closed, key=lambda states: int(states[0]))


def period(P: ArrayLike) -> int:
    """The greatest common divisor of the lengths of all loops of the recurrent class of P (n, n).

    With d(i) the number of edges on a shortest path from one state to i, it is the gcd of d(i) + 1 - d(j) over the
    edges i -> j. Raises ``ValueError`` for two or more recurrent classes, whose periods may differ.
    """
    chain = check_laws.chain("P", P)
    states = _only_class(chain, "the period")
    edges = chain[np.ix_(states, states)] > 0
    depth = csgraph.shortest_path(edges, unweighted=True, indices=0).astype(np.int64)
    sources, ends = np.nonzero(edges)
    return math.gcd(*(depth[sources] + 1 - depth[ends]).tolist())


def is_irreducible(P: ArrayLike) -> bool:
    """Can every state of P (n, n) be reached from every other? ValueError where P is no chain."""
    chain = check_laws.chain("P", P)
    return csgraph.connected_components(chain > 0, connection="strong")[0] == 1


def is_ergodic(P: ArrayLike) -> bool:
    """Does p_t tend to one and the same law from every start? P (n, n) does with one recurrent class, of period 1.

    Transient states are allowed: they empty in the long run. Many texts ask for an irreducible chain besides; for that,
    add ``is_irreducible``.
    """
    return len(recurrent_classes(P)) == 1 and period(P) == 1


def _only_class(chain: Array, wanted: str) -> NDArray[np.int64]:
    classes = recurrent_classes(chain)
    if len(classes) > 1:
        named = ", ".join("{" + ", ".join(map(str, states)) + "}" for states in classes)
        raise ValueError(f"P: has {len(classes)} recurrent classes, {named}, so {wanted} is not unique")
    return classes[0]


# Stationary law and detailed balance


def stationary_distribution(P: ArrayLike) -> Array:
    """The one law with pi = pi P, shape (n,); transient states get 0. Equation def-chain-invariance.

    By the elimination of Grassmann, Taksar and Heyman (1985), which never subtracts, so that even tiny entries are
    right to nearly all digits. Raises ``ValueError`` naming the classes if there are two or more recurrent ones, and
    naming the state if its probability is too small for a float64 (below 1e-308).
    """
    chain = check_laws.chain("P", P)
    states = _only_class(chain, "the stationary distribution")
    pi = stationary_laws(chain)[0]
    if not pi[states].all():
        lost = states[int(pi[states].argmin())]
        raise ValueError(f"P: the stationary probability of state {lost} is positive, but too small for a float64")
    return pi


def stationary_laws(P: ArrayLike) -> Array:
    """The stationary law of each recurrent class, in the order of ``recurrent_classes``: (classes, n).

    All stationary laws are their mixtures. An entry too small for a float64 comes out as 0. ValueError where P is no
    chain.
    """
    chain = check_laws.chain("P", P)
    classes = recurrent_classes(chain)
    laws = np.zeros((len(classes), len(chain)))
    for law, states in zip(laws, classes, strict=True):
        law[states] = _eliminate(chain[np.ix_(states, states)])
    return laws


def _eliminate(P: Array) -> Array:
    """The stationary law (n,) of an irreducible chain, by elimination."""
    watched = P.copy()
    n = len(P)
    for k in range(n - 1, 0, -1):
        leave = watched[k, :k].sum()  # not 1 - watched[k, k]: it cancels
        watched[:k, k] /= leave
        watched[:k, :k] += np.outer(watched[:k, k], watched[k, :k])
    pi = np.ones(n)
    for k in range(1, n):
        pi[k] = pi[:k] @ watched[:k, k]
        pi[: k + 1] /= pi[: k + 1].sum()
    return pi


def is_reversible(P: ArrayLike, tolerance: float = 1e-9) -> bool:
    """Detailed balance: is pi_i P_ij = pi_j P_ji for all pairs of P (n, n), each flow relative to its pair?

    ValueError where P is no chain, or has two recurrent classes.
    """
    checks.between("tolerance", tolerance, 0, np.inf)
    chain = check_laws.chain("P", P)
    flow = stationary_distribution(chain)[:, None] * chain
    return bool((np.abs(flow - flow.T) <= tolerance * (flow + flow.T)).all())


# Speed


def eigenvalues(P: ArrayLike) -> NDArray[np.complex128]:
    """All n eigenvalues, (n,) complex, by falling modulus; the eigenvalue 1 of the stationary law is exact, and first.

    That one is taken out before the others are computed: P - 1 pi has a 0 in its place. A reversible chain without
    transient states is made symmetric first, so that its eigenvalues come out real, and within rounding.
    ValueError where P is no chain.
    """
    chain = check_laws.chain("P", P)
    laws = stationary_laws(chain)
    pi = laws[0]
    if len(laws) == 1 and pi.all() and is_reversible(chain):
        root = np.sqrt(pi)
        symmetric = root[:, None] * chain / root - np.outer(root, root)
        rest = np.linalg.eigvalsh((symmetric + symmetric.T) / 2).astype(np.complex128)
    else:
        rest = np.linalg.eigvals(chain - pi).astype(np.complex128)
    rest = np.delete(rest, np.abs(rest).argmin())  # the 0 that stands for the 1
    return np.concatenate([[1.0 + 0j], rest[np.argsort(-np.abs(rest), kind="stable")]])


def spectral_gap(P: ArrayLike) -> float:
    """1 - |lambda_2|, lambda_2 the second largest eigenvalue of P (n, n) in modulus; 0 for a chain that never forgets.

    The error is about 1e-15, absolute, for reversible chains; it can be much larger for chains far from reversible.
    ValueError where P is no chain.
    """
    chain = check_laws.chain("P", P)
    if not is_ergodic(chain):
        return 0.0
    return float(np.clip(1 - np.abs(eigenvalues(chain)[1:2]).sum(), 0.0, 1.0))


def total_variation(p: ArrayLike, q: ArrayLike) -> Array:
    """(1/2) sum_i |p_i - q_i| of laws (..., n), (...): the largest difference in the probability of any event.

    Raises ``ValueError`` for what is no law: an entry below 0 (or NaN), a sum that is not 1, or two numbers of states.
    """
    p, q = check_laws.laws("p", p), check_laws.laws("q", q)
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(f"p, q: need laws over the same states, got shapes {p.shape} and {q.shape}")
    return _distance(p, q)


def _distance(p: Array, q: Array) -> Array:
    return np.asarray(0.5 * np.abs(p - q).sum(-1))


def contraction(P: ArrayLike) -> float:
    """Dobrushin's coefficient, the largest total variation distance between two rows of P (n, n).

    def-chain-contraction. ValueError where P is no chain.
    """
    chain = check_laws.chain("P", P)
    return float(max(_distance(chain, row).max() for row in chain))


def evolve(P: ArrayLike, p0: ArrayLike, steps: int) -> Array:
    """The laws p_0, ..., p_steps from p_{t+1} = p_t P, (steps + 1, n). ValueError for steps < 0, or no chain."""
    chain = check_laws.chain("P", P)
    laws = [check_laws.law("p0", p0, len(chain))]
    for _ in range(checks.count("steps", steps, 0)):
        laws.append(laws[-1] @ chain)
    return np.stack(laws)


def mixing_time(P: ArrayLike, distance: float = 0.25) -> int:
    """The first t at which, from the worst start, p_t of P (n, n) is within ``distance`` of the stationary law.

    In total variation. The worst distance never grows, so t is found by doubling and then bisection. Raises
    ``ValueError`` for a chain that is not ergodic, for one that takes more than 2^60 steps, and for a distance that is
    not positive.
    """
    checks.positive("distance", distance)
    chain = check_laws.chain("P", P)
    if not is_ergodic(chain):
        raise ValueError("P: need an ergodic chain: from some start this one never gets close to one law")
    pi = stationary_distribution(chain)
    powers, reached, t = [chain], np.eye(len(chain)), 0
    if _distance(reached, pi).max() <= distance:
        return 0
    while _distance(powers[-1], pi).max() > distance:
        if len(powers) > 60:
            raise ValueError("P: takes more than 2^60 steps to mix")
        square = powers[-1] @ powers[-1]
        powers.append(square / square.sum(1, keepdims=True))
    for k in reversed(range(len(powers))):  # the longest time that is still too short
        later = reached @ powers[k]
        if _distance(later, pi).max() > distance:
            reached, t = later, t + 2**k
    return t + 1


# Examples, and walks


def double_well(n: int, barrier: float) -> Array:
    """A walk (n, n) among n places x_i from -1.3 to 1.3, with stationary law proportional to exp(-U(x_i)).

    U(x) = barrier (1 - x^2)^2 has two wells, at -1 and 1, and a hill between them. A step proposes either neighbour
    with probability 1/4, and goes there with probability min(1, exp(U(x) - U(x'))). That is Metropolis' rule, so the
    chain is reversible.
    Raises ``ValueError`` for fewer than 2 places or a negative barrier.
    """
    checks.between("barrier", barrier, 0)
    x = np.linspace(-1.3, 1.3, checks.count("n", n, 2))
    energy = barrier * (1 - x**2) ** 2
    up = 0.25 * np.exp(np.minimum(0.0, -np.diff(energy)))
    down = 0.25 * np.exp(np.minimum(0.0, np.diff(energy)))
    P = np.diag(up, 1) + np.diag(down, -1)
    return P + np.diag(1 - P.sum(1))


def walk(P: ArrayLike, start: ArrayLike, steps: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Walkers that start in the states ``start`` (m,), and their states at times 0, ..., steps: (steps + 1, m).

    Raises ``ValueError`` for a start that is not a state, and for steps below 0.
    """
    chain = check_laws.chain("P", P)
    state = np.array(start).astype(np.int64)
    if state.ndim != 1 or (state != start).any() or (state < 0).any() or (state >= len(chain)).any():
        raise ValueError(f"start: need a list of states from 0 to {len(chain) - 1}, got {np.asarray(start)}")
    ladder = chain.cumsum(1)
    ladder /= ladder[:, -1:]
    path = [state]
    for _ in range(checks.count("steps", steps, 0)):
        path.append((ladder[path[-1]] <= generator.random(len(state))[:, None]).sum(1))
    return np.stack(path)
