"""Stationary laws beside QuantEcon.py and PyDTMC, on matrices of theirs. Writes chains-beside.json.

    python benchmarks/chains_beside.py

QuantEcon.py tests with a game of N players who make mistakes with probability epsilon; PyDTMC has models of urns. The
law of each matrix is also computed in fractions, by the same elimination without rounding. "worst" is the largest
relative error of an entry: small entries count as much as large ones. A time is that of the whole answer to a matrix,
checks included, by turns with ours.
"""

import contextlib
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import common
import numpy as np
import peer

from dpm_lib.markov import markov_chains

TURNS, SHORT = 7, 0.05  # a turn repeats until it takes as many seconds
GAMES = [(27, 1 / 3, 1e-2), (27, 1 / 3, 1e-8), (100, 1 / 3, 1e-2)]
URNS = 20


def exact(P: np.ndarray) -> np.ndarray:
    """The stationary law of an irreducible chain, in fractions of the given floats; diagonals are not looked at."""
    n = len(P)
    rate = [[Fraction(float(v)) for v in row] for row in P]
    for k in range(n - 1, 0, -1):
        leave = sum(rate[k][:k])
        for i in [i for i in range(k) if rate[i][k]]:
            rate[i][k] /= leave
            for j in [j for j in range(k) if rate[k][j]]:
                rate[i][j] += rate[i][k] * rate[k][j]
    pi = [Fraction(1)]
    for k in range(1, n):
        pi.append(sum((pi[i] * rate[i][k] for i in range(k) if rate[i][k]), Fraction(0)))
    total = sum(pi)
    return np.array([float(p / total) for p in pi])


def worst(law: list[float] | np.ndarray, true: np.ndarray) -> float:
    return float(f"{np.abs(np.asarray(law) / true - 1).max():.1e}")


def own(P: np.ndarray, times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        markov_chains.stationary_distribution(P)
    return (time.process_time() - start) / times


def beside(P: np.ndarray, others: dict[str, peer.Peer]) -> dict[str, Any]:
    """Errors of all sides on one matrix, and the ratio of our time to each."""
    true = exact(P)
    row: dict[str, Any] = {"states": len(P), "least": float(f"{true.min():.1e}")}
    row["ours"] = {"worst": worst(markov_chains.stationary_distribution(P), true)}
    for name, other in others.items():
        found = other.ask(P=P.tolist(), times=1)[0]
        row[name] = {"worst": worst(found["law"], true)}
        if "gap" in found:
            row[name]["gap_apart"] = float(f"{abs(found['gap'] - markov_chains.spectral_gap(P)):.1e}")
        times = max(1, round(SHORT / own(P, 3)))
        row[name] |= peer.ratios(lambda n=times: own(P, n), answer(other, P), TURNS)
    return row


def answer(other: peer.Peer, P: np.ndarray) -> Callable[[], float]:
    times = max(1, round(SHORT / other.ask(P=P.tolist(), times=3)[0]["seconds"]))
    return lambda: other.ask(P=P.tolist(), times=times)[0]["seconds"]


def main() -> None:
    with contextlib.ExitStack() as stack:
        others: dict[str, peer.Peer] = {}
        for name in ("quantecon", "pydtmc"):
            try:
                others[name] = stack.enter_context(peer.Peer(name))
            except peer.Missing as missing:
                print(f"skipped: {missing}")
        record: dict[str, Any] = {"turns": TURNS, "matrices": {}}
        for name, P in matrices(others).items():
            record["matrices"][name] = beside(P, others)
            print(name, record["matrices"][name], flush=True)
        versions = {key: value for other in others.values() for key, value in other.versions.items()}
    common.write("chains-beside", record, "python benchmarks/chains_beside.py", **versions)


def matrices(others: dict[str, peer.Peer]) -> dict[str, np.ndarray]:
    """What the peers give to try."""
    found = {}
    if "quantecon" in others:
        for N, p, epsilon in GAMES:
            matrix = others["quantecon"].ask(N=N, p=p, epsilon=epsilon)[0]
            found[f"game of {N}, mistakes {epsilon:g}"] = np.array(matrix)
    if "pydtmc" in others:
        found[f"urns with {URNS} balls"] = np.array(others["pydtmc"].ask(urns=URNS)[0])
    return found


if __name__ == "__main__":
    main()
