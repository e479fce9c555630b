"""Schemes for SDEs beside torchsde and diffrax, at equal strong error. Writes sde-beside.json.

    python benchmarks/sde_beside.py

The equation is dX = X/2 dt + sqrt(1 + X^2) dW on [0, 1] from 0, in Ito's sense, whose solution sinh(W_1) follows from
the path that the library itself drew. The strong error is the mean of |X_1 - sinh(W_1)|. Each
scheme first runs with four numbers of steps; a line through the logarithms says how many steps it takes for EPSILON,
and with so many it is then timed, by turns with ours of the same order, on one thread, after a turn that warms up (and
compiles). A time is what the solve takes of the processor: noise, steps, and what the library does about them.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import common
import numpy as np
import peer
import torch
from torch import Tensor

from dpm_lib.core.random import seeded
from dpm_lib.sde import brownian_motion, sde

PATHS, EPSILON, TURNS = 10_000, 0.02, 7
STEPS = (8, 16, 32, 64)
PEERS = {  # the scheme, and ours of the same strong order
    "torchsde": {"euler": "euler-maruyama", "milstein": "milstein", "srk": "milstein"},
    "diffrax": {"Euler": "euler-maruyama", "ItoMilstein": "milstein"},
}
PROCESS = sde.SDE(lambda x, t: 0.5 * x, lambda x, t: (1 + x.square()).sqrt(), autonomous=True)


def ours(method: str, steps: int, seed: int) -> tuple[dict[str, float], float]:
    """Strong error and its standard error, and the processor seconds."""
    start = time.process_time()
    times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    increments = brownian_motion.wiener_increments(times, PATHS, 1, seeded(seed))
    x0 = torch.zeros(PATHS, 1, dtype=torch.float64)
    ends = PROCESS.simulate(x0, times[[0, -1]], increments=increments, substeps=steps, method=method)[-1]
    spent = time.process_time() - start
    return strong_error(ends, increments.sum(0).sinh()), spent


def strong_error(x: Tensor, exact: Tensor) -> dict[str, float]:
    off = (x - exact).abs()
    return {"error": float(off.mean()), "stderr": float(off.std()) / math.sqrt(off.numel())}


Run = Callable[[int, int], tuple[dict[str, float], float]]


def calibrated(run: Run) -> dict[str, Any]:
    """Errors over steps, their slope, the steps that EPSILON takes (once corrected), and the error with these."""
    errors = [run(steps, 1)[0]["error"] for steps in STEPS]
    slope, height = np.polyfit(np.log(STEPS), np.log(errors), 1)
    steps = max(1, math.ceil(math.exp((math.log(EPSILON) - height) / slope)))
    order = 0.5 if slope > -0.7 else -slope  # few steps make that of Euler look smaller than it is
    steps = max(1, math.ceil(steps * (run(steps, 3)[0]["error"] / EPSILON) ** (1 / order)))
    return {"steps": list(STEPS), "errors": errors, "slope": slope, "steps_taken": steps, **run(steps, 2)[0]}


def main() -> None:
    torch.set_num_threads(1)
    own = {method: calibrated(partial(ours, method)) for method in ("euler-maruyama", "milstein")}
    record: dict[str, Any] = {"epsilon": EPSILON, "paths": PATHS, "turns": TURNS, "ours": own, "theirs": {}}
    versions: dict[str, str] = {}
    for name, schemes in PEERS.items():
        try:
            with peer.Peer(name) as other:
                versions |= other.versions
                record["theirs"][name] = {
                    scheme: beside(other, scheme, mine, own[mine]["steps_taken"]) for scheme, mine in schemes.items()
                }
        except peer.Missing as missing:
            print(f"skipped: {missing}")
    common.write("sde-beside", record, "python benchmarks/sde_beside.py", **versions)


def beside(other: peer.Peer, scheme: str, mine: str, own_steps: int) -> dict[str, Any]:
    """What a scheme of the peer takes, and the ratio of our processor time to its, at the same strong error."""

    def theirs(steps: int, seed: int) -> tuple[dict[str, float], float]:
        found, _ = other.ask(scheme=scheme, steps=steps, paths=PATHS, seed=seed)
        return found, found.pop("seconds")

    row = calibrated(theirs)
    seeds = iter(range(100, 10_000))
    ratio = peer.ratios(
        lambda: ours(mine, own_steps, next(seeds))[1], lambda: theirs(row["steps_taken"], next(seeds))[1], TURNS
    )
    print(f"{other.name} {scheme}: {ratio}", flush=True)
    return {**row, "ours": mine, **ratio}


if __name__ == "__main__":
    main()
