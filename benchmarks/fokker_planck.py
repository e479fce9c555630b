"""The finite-volume solver against py-pde on an Ornstein-Uhlenbeck process, and how it scales.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/fokker_planck.py

Writes book/results/fokker-planck.json. Takes about two minutes on one core, most of it py-pde compiling. py-pde is in
no requirement of the book: give it an environment of its own (`pip install py-pde`). Both solve the same equation on
the same 400 cells of [-6, 6], from N(1, 0.3^2) to t = 1, where the density is known. A time is the least processor time
of a solve, after one that warms up and compiles: in each of five rounds every row has its turn, of half a second or one
solve, so that what else the machine does slows all of them alike ("load" says how much that was: 1 is this program).
py-pde has its own steppers, and can hand over to SciPy's: all are shown. The walls reflect for both: no current,
x p + p' = 0. (A zero slope of p, py-pde's "derivative": 0, is no wall where there is a drift: mass flows in.)
"raw_mass_error" is what our steps alone change of the mass, at worst in one step: ``solve`` puts each step's rounding
right, so that its "mass_error" says nothing of the steps.
"""

import json
import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
from scipy.stats import norm

from dpm_lib.markov.matrix_exponential import STEPPERS
from dpm_lib.sde import fokker_planck, grids, processes, sde

CELLS, REACH, T = 400, 6.0, 1.0
WIDTH = 2 * REACH / CELLS
X = -REACH + WIDTH * (np.arange(CELLS) + 0.5)
START = norm.pdf(X, 1.0, 0.3)
EXACT = norm.pdf(X, math.exp(-T), math.sqrt(0.3**2 * math.exp(-2 * T) + 1 - math.exp(-2 * T)))
OURS = [("uniformisation", 1), ("backward-euler", 100), ("tr-bdf2", 15), ("tr-bdf2", 25), ("tr-bdf2", 50)]
PEER: dict[str, dict[str, Any]] = {
    "Euler, adaptive": {"solver": "explicit", "adaptive": True, "dt": 1e-4},
    "Runge-Kutta 45, adaptive": {"solver": "explicit", "scheme": "rk", "adaptive": True, "dt": 1e-4},
    "SciPy RK45": {"solver": "scipy"},
    "SciPy BDF": {"solver": "scipy", "method": "BDF"},
    "SciPy LSODA": {"solver": "scipy", "method": "LSODA"},
}


def timed(runs: dict[str, Callable[[], np.ndarray]]) -> dict[str, dict[str, float]]:
    """Of each run the best processor time, the L1 error at t = 1, what the mass gains, and the least density."""
    found, seconds = {name: run() for name, run in runs.items()}, dict.fromkeys(runs, math.inf)
    for _ in range(5):
        for name, run in runs.items():
            turn = time.process_time()
            while True:
                start = time.process_time()
                run()
                now = time.process_time()
                seconds[name] = min(seconds[name], now - start)
                if now - turn > 0.5:
                    break
    return {
        name: {
            "milliseconds": round(1e3 * seconds[name], 3),
            "l1_error": float(f"{WIDTH * np.abs(p - EXACT).sum():.3g}"),
            "mass_error": float(f"{WIDTH * p.sum() - WIDTH * START.sum():.1e}"),
            "least": float(f"{p.min():.1e}"),
        }
        for name, p in found.items()
    }


def raw_mass_error(process: sde.SDE, start: np.ndarray, grid: Any, method: str, steps: int) -> float:
    """The largest change of the mass in one step to t = 1 by the stepper alone, nothing put right."""
    step, worst = STEPPERS[method](fokker_planck.generator(process, grid), T / steps), 0.0
    law = start.ravel() / start.sum()
    for _ in range(steps):
        law, before = step(law), law.sum()
        worst = max(worst, abs(law.sum() - before))
    return float(f"{worst:.1e}")


def ours() -> dict[str, Callable[[], np.ndarray]]:
    process = processes.ornstein_uhlenbeck()

    def run(method: str, steps: int) -> Callable[[], np.ndarray]:
        return lambda: fokker_planck.solve(process, START, X, [0.0, T], method, steps)[-1]

    return {f"{method}, {steps} steps": run(method, steps) for method, steps in OURS}


def peer() -> dict[str, Callable[[], np.ndarray]]:
    wall = {"type": "mixed", "value": REACH, "const": 0}  # outward slope + REACH p = 0: no current; no slope is no wall
    equation = pde.PDE({"p": "d_dx(x * p) + laplace(p)"}, bc=wall)
    field = pde.ScalarField(pde.CartesianGrid([[-REACH, REACH]], CELLS), START)

    def run(settings: dict[str, Any]) -> Callable[[], np.ndarray]:
        return lambda: equation.solve(field, t_range=T, tracker=None, **settings).data

    return {name: run(settings) for name, settings in PEER.items()}


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


def main() -> None:
    torch.set_num_threads(1)
    record: dict[str, Any] = {"problem": "Ornstein-Uhlenbeck, N(1, 0.3^2) at t = 0, 400 cells on [-6, 6], t = 1"}
    record["load"] = round(os.getloadavg()[0], 1)
    own, others = ours(), peer()
    rows = timed(own | others)
    for row, (method, steps) in zip(rows.values(), OURS, strict=False):
        row["raw_mass_error"] = raw_mass_error(processes.ornstein_uhlenbeck(), START, X, method, steps)
    record["ours"], record["py-pde"] = ({name: rows[name] for name in part} for part in (own, others))
    record["faster_at_no_larger_error"] = ratios(record["ours"], record["py-pde"])
    record["scaling"] = {}
    for case in ("line", "plane"):
        done = subprocess.run([sys.executable, __file__, case], capture_output=True, text=True, check=True)
        record["scaling"][case] = json.loads(done.stdout)
    command = "OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/fokker_planck.py"
    record["py-pde version"], record["methods"] = version("py-pde"), list(STEPPERS)
    common.write("fokker-planck", record, command, numpy=np.__version__, scipy=version("scipy"))
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        torch.set_num_threads(1)
        print(json.dumps(scaling(sys.argv[1])))
        sys.exit(0)
    try:
        import pde
    except ModuleNotFoundError:
        print("skipped: the package py-pde is not here; pip install py-pde, in an environment of its own")
        sys.exit(0)
    warnings.filterwarnings("ignore", category=UserWarning, module="pde")
    main()
