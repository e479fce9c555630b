"""The Fokker-Planck solver and py-pde at equal error: the fastest way of each, over steppers, tolerances and cells.

    python benchmarks/work_precision.py

Writes book/results/work-precision.json, in three minutes of one core. The problem is fokker_planck.py's, where one
number of cells and the packages' own tolerances stand; here an error is asked for, and each side may reach it as it
likes. Every run has its cells, the least processor milliseconds of two, and the L1 error at t = 1. For each of ERRORS
the fastest run of either side with no larger error is timed again, in turns: "ratio" is py-pde's processor time over
ours, the median of TURNS pairs, with its range. An error that one side does not reach with these cells is left out.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np
import peer
import torch
from scipy.stats import norm

from dpm_lib.sde import fokker_planck, processes

REACH, T = 6.0, 1.0
SIZES = (100, 200, 400, 800, 1600)
ERRORS = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
OURS = {"chebyshev": ("chebyshev", 1), "tr-bdf2, 15 steps": ("tr-bdf2", 15), "tr-bdf2, 50 steps": ("tr-bdf2", 50)}
TOLERANCES: dict[str, dict[str, float]] = {"": {}, ", rtol 1e-5": {"rtol": 1e-5, "atol": 1e-8}}
THEIRS = {
    f"SciPy {method}{name}": {"solver": "scipy", "method": method, **tolerance}
    for method in ("BDF", "LSODA")
    for name, tolerance in TOLERANCES.items()
}
TURNS = 5
Solve = Callable[[], tuple[np.ndarray, float]]  # the density, and the processor seconds


def cells(n: int) -> np.ndarray:
    """The centres of n cells."""
    return -REACH + 2 * REACH / n * (np.arange(n) + 0.5)


def error(p: np.ndarray) -> float:
    """L1, at t = 1."""
    x = cells(len(p))
    exact = norm.pdf(x, math.exp(-T), math.sqrt(0.3**2 * math.exp(-2 * T) + 1 - math.exp(-2 * T)))
    return float(np.abs(p - exact).sum() * 2 * REACH / len(p))


def own(method: str, steps: int, n: int) -> Solve:
    process, x = processes.ornstein_uhlenbeck(), cells(n)
    start = norm.pdf(x, 1.0, 0.3)

    def solve() -> tuple[np.ndarray, float]:
        begun = time.process_time()
        p = fokker_planck.solve(process, start, x, [0.0, T], method, steps)[-1]
        return p, time.process_time() - begun

    return solve


def asked(other: peer.Peer, settings: dict[str, Any], n: int) -> Solve:
    start = norm.pdf(cells(n), 1.0, 0.3).tolist()

    def solve() -> tuple[np.ndarray, float]:
        found = other.ask(reach=REACH, start=start, T=T, settings=settings)[0]
        return np.array(found["p"]), found["seconds"]

    return solve


def measured(runs: dict[tuple[str, int], Solve]) -> list[dict[str, Any]]:
    """Each run's way, cells, milliseconds (the less of two, of which the first may compile), and error."""
    rows = []
    for (way, n), solve in runs.items():
        found = [solve() for _ in range(2)]
        spent = 1e3 * min(seconds for _, seconds in found)
        rows.append(
            {"way": way, "cells": n, "milliseconds": round(spent, 3), "error": float(f"{error(found[0][0]):.3g}")}
        )
        print(rows[-1], flush=True)
    return rows


def fastest(rows: list[dict[str, Any]], most: float) -> dict[str, Any] | None:
    """The row of least time among those whose error is at most ``most``."""
    return min((row for row in rows if row["error"] <= most), key=lambda row: row["milliseconds"], default=None)


def main() -> None:
    torch.set_num_threads(1)
    with peer.Peer("pypde") as other:
        ours = {(name, n): own(*way, n) for name, way in OURS.items() for n in SIZES}
        theirs = {(name, n): asked(other, way, n) for name, way in THEIRS.items() for n in SIZES}
        record: dict[str, Any] = {"ours": measured(ours), "py-pde": measured(theirs), "at_equal_error": []}
        for most in ERRORS:
            mine, its = fastest(record["ours"], most), fastest(record["py-pde"], most)
            if mine is None or its is None:
                continue
            pair = (ours[mine["way"], mine["cells"]], theirs[its["way"], its["cells"]])
            turns = peer.ratios(lambda p=pair: p[1]()[1], lambda p=pair: p[0]()[1], TURNS)  # type: ignore[misc]
            record["at_equal_error"].append({"error": most, "ours": mine, "py-pde": its, **turns})
            print(record["at_equal_error"][-1], flush=True)
        versions = other.versions
    common.write("work-precision", record, "python benchmarks/work_precision.py", **versions)


if __name__ == "__main__":
    try:
        main()
    except peer.Missing as missing:
        print(f"skipped: {missing}")
