"""The finite-volume solver beside py-pde, fplanck and FiPy on an Ornstein-Uhlenbeck process, and how it scales.

    python benchmarks/fokker_planck.py

Writes book/results/fokker-planck.json. All solve the same equation on the same cells of [-6, 6], from N(1, 0.3^2) to
t = 1, where the density is known; the walls let nothing through. A time is the least processor time of a solve on one
thread, after one that warms up and compiles: in each of three rounds every row has its turn, so that what else the
machine does slows all of them alike ("load" says how much that was: 1 is this program). py-pde has its own steppers,
and can hand over to SciPy's; fplanck multiplies by the exponential of its matrix; FiPy takes implicit steps, as many
as it needs for the error of py-pde's fastest. "cells" has times over the number of cells, and their slopes in
logarithms. "raw_mass_error" is what our steps alone change of the mass, at worst in one step: ``solve`` puts each
step's rounding right, so that its "mass_error" says nothing of the steps.
"""

import contextlib
import functools
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import peer
import torch
from scipy.stats import norm

from dpm_lib.markov.matrix_exponential import STEPPERS
from dpm_lib.sde import fokker_planck, grids, processes, sde

CELLS, REACH, T = 400, 6.0, 1.0
WIDTH = 2 * REACH / CELLS
X = -REACH + WIDTH * (np.arange(CELLS) + 0.5)
START = norm.pdf(X, 1.0, 0.3)
EXACT = norm.pdf(X, math.exp(-T), math.sqrt(0.3**2 * math.exp(-2 * T) + 1 - math.exp(-2 * T)))
OURS = [
    ("uniformisation", 1),
    ("backward-euler", 100),
    ("tr-bdf2", 15),
    ("tr-bdf2", 25),
    ("tr-bdf2", 50),
    ("chebyshev", 1),
]
PYPDE: dict[str, dict[str, Any]] = {
    "Euler, adaptive": {"solver": "explicit", "adaptive": True, "dt": 1e-4},
    "Runge-Kutta 45, adaptive": {"solver": "explicit", "scheme": "rk", "adaptive": True, "dt": 1e-4},
    "SciPy RK45": {"solver": "scipy"},
    "SciPy BDF": {"solver": "scipy", "method": "BDF"},
    "SciPy LSODA": {"solver": "scipy", "method": "LSODA"},
}
OTHERS: dict[str, dict[str, dict[str, Any]]] = {
    "fplanck": {"expm_multiply": {}},
    "fipy": {"1500 implicit steps": {"steps": 1500}},
}
ROUNDS, TURN = 3, 0.5  # a turn is half a second, or one solve
SIZES = (100, 200, 400, 800, 1600)
ALONG = {"pypde": "SciPy BDF", "fplanck": "expm_multiply"}  # over the number of cells
KINDS = {"pypde": PYPDE, **OTHERS}
Solve = Callable[[], tuple[np.ndarray, float]]  # the density, and the processor seconds


def timed(runs: dict[str, Solve]) -> dict[str, dict[str, float]]:
    """Of each run the best processor time, the L1 error at t = 1, what the mass gains, and the least density."""
    found, seconds = {name: run()[0] for name, run in runs.items()}, dict.fromkeys(runs, math.inf)
    for _ in range(ROUNDS):
        for name, run in runs.items():
            turn = 0.0
            while turn <= TURN:
                spent = run()[1]
                seconds[name], turn = min(seconds[name], spent), turn + spent
    return {
        name: {
            "milliseconds": round(1e3 * seconds[name], 3),
            "l1_error": float(f"{WIDTH * np.abs(p - EXACT).sum():.3g}"),
            "mass_error": float(f"{WIDTH * p.sum() - WIDTH * START.sum():.1e}"),
            "least": float(f"{p.min():.1e}"),
        }
        for name, p in found.items()
    }


def cells(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The centres of n cells, and the density that is given there."""
    x = -REACH + 2 * REACH / n * (np.arange(n) + 0.5)
    return x, norm.pdf(x, 1.0, 0.3)


def raw_mass_error(process: sde.SDE, start: np.ndarray, grid: Any, method: str, steps: int) -> float:
    """The largest change of the mass in one step to t = 1 by the stepper alone, nothing put right."""
    step, worst = STEPPERS[method](fokker_planck.generator(process, grid), T / steps), 0.0
    law = start.ravel() / start.sum()
    for _ in range(steps):
        law, before = step(law), law.sum()
        worst = max(worst, abs(law.sum() - before))
    return float(f"{worst:.1e}")


def own(method: str, steps: int, n: int = CELLS) -> Solve:
    process = processes.ornstein_uhlenbeck()
    x, start = cells(n)

    def solve() -> tuple[np.ndarray, float]:
        begun = time.process_time()
        p = fokker_planck.solve(process, start, x, [0.0, T], method, steps)[-1]
        return p, time.process_time() - begun

    return solve


def asked(other: peer.Peer, settings: dict[str, Any], n: int = CELLS) -> Solve:
    start = cells(n)[1].tolist()

    def solve() -> tuple[np.ndarray, float]:
        found = other.ask(reach=REACH, start=start, T=T, settings=settings)[0]
        return np.array(found["p"]), found["seconds"]

    return solve


def slope(seconds: dict[int, float]) -> float:
    """Of the logarithms, by least squares over the three largest sizes."""
    n, s = (np.log(list(part)[-3:]) for part in (seconds.keys(), seconds.values()))
    return round(float(np.polyfit(n, s, 1)[0]), 2)


def ratios(own: dict[str, Any], others: dict[str, Any]) -> dict[str, float]:
    """By how much our fastest row whose error is no larger is faster than each row of the peer."""
    found = {}
    for name, other in others.items():
        rows = [row["milliseconds"] for row in own.values() if row["l1_error"] <= other["l1_error"]]
        found[name] = round(other["milliseconds"] / min(rows), 1) if rows else math.nan
    return found


def double_well(x: torch.Tensor) -> torch.Tensor:
    """The score of a density proportional to exp(-(x^2 - 1)^2), in every coordinate."""
    return 4 * x - 4 * x**3


def spiral(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """A double well with a whirl on top: no gradient."""
    return double_well(x) + 2 * torch.stack([x[:, 1], -x[:, 0]], -1)


def scaling(case: str) -> dict[str, Any]:
    """Processor seconds for the matrix, equilibrium and 100 implicit steps; peak memory of the process in MiB."""
    if case == "line":
        process: sde.SDE = processes.langevin(double_well)
        grid: Any = np.linspace(-3, 3, 100_000)
        narrow: Any = norm.pdf(grid, 0.5, 0.1)
    else:
        process = sde.SDE(spiral, lambda x, t: math.sqrt(2), autonomous=True)
        x = np.linspace(-3, 3, 200)
        grid, narrow = (x, x), np.outer(norm.pdf(x, 0.5, 0.1), norm.pdf(x, 0, 0.2))
    before = memory()
    jobs = {
        "generator": lambda: fokker_planck.generator(process, grid),
        "stationary": lambda: fokker_planck.stationary(process, grid),
        "100 backward-euler steps": lambda: fokker_planck.solve(process, narrow, grid, [0, 1], "backward-euler", 100),
    }
    seconds = {}
    for name, job in jobs.items():
        start = time.process_time()
        value = job()
        seconds[name] = round(time.process_time() - start, 3)
    peak = memory()
    mass = float(value[-1].sum() * grids.cell_volume(grid))
    return {
        "states": int(value[-1].size),
        "seconds": seconds,
        "mass_error": float(f"{mass - 1:.1e}"),
        "raw_mass_error": raw_mass_error(process, narrow, grid, "backward-euler", 100),
        "least": float(value[-1].min()),
        "peak_MiB": peak,
        "of_which_python_and_libraries_MiB": before,
    }


def memory() -> int:
    """The most memory this process has held, MiB: Linux knows, and elsewhere it is 0."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def apart(case: str) -> dict[str, Any]:
    """``scaling`` in a process of its own, whose memory is that of this case alone."""
    done = subprocess.run([sys.executable, __file__, case], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    torch.set_num_threads(1)
    record: dict[str, Any] = {"problem": "Ornstein-Uhlenbeck, N(1, 0.3^2) at t = 0, 400 cells on [-6, 6], t = 1"}
    record["load"] = round(os.getloadavg()[0], 1)
    mine = {f"{method}, {steps} steps": own(method, steps) for method, steps in OURS}
    with contextlib.ExitStack() as stack:
        peers = {}
        for name in ("pypde", *OTHERS):
            try:
                peers[name] = stack.enter_context(peer.Peer(name))
            except peer.Missing as missing:
                print(f"skipped: {missing}")
        rows = {(name, kind): asked(other, each) for name, other in peers.items() for kind, each in KINDS[name].items()}
        found = timed({("ours", name): solve for name, solve in mine.items()} | rows)
        record["cells"] = {"sizes": list(SIZES), "milliseconds": {}, "slope": {}}
        over = {"ours": lambda n: own("chebyshev", 1, n)} | {
            name: functools.partial(asked, peers[name], KINDS[name][kind])
            for name, kind in ALONG.items()
            if name in peers
        }
        for name, solver in over.items():
            seconds = {n: min(solver(n)()[1] for _ in range(3)) for n in SIZES}
            record["cells"]["milliseconds"][name] = [round(1e3 * s, 3) for s in seconds.values()]
            record["cells"]["slope"][name] = slope(seconds)
        versions = {key: value for other in peers.values() for key, value in other.versions.items()}
    for (name, kind), row in found.items():
        record.setdefault({"pypde": "py-pde"}.get(name, name), {})[kind] = row
    for row, (method, steps) in zip(record["ours"].values(), OURS, strict=True):
        row["raw_mass_error"] = raw_mass_error(processes.ornstein_uhlenbeck(), START, X, method, steps)
    theirs = {kind: row for (name, kind), row in found.items() if name != "ours"}
    record["faster_at_no_larger_error"] = ratios(record["ours"], theirs)
    record["scaling"] = {}
    for case in ("line", "plane"):
        record["scaling"][case] = apart(case)
    record["methods"] = list(STEPPERS)
    common.write("fokker-planck", record, "python benchmarks/fokker_planck.py", **versions)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        torch.set_num_threads(1)
        print(json.dumps(scaling(sys.argv[1])))
        sys.exit(0)
    main()
