"""How processor time grows with points, steps, dimensions, tokens and cells, beside what it should. Memory, too.

    python benchmarks/cost_slopes.py

Writes book/results/cost-slopes.json, in two minutes of one core. A row has sizes and the least processor seconds of
ROUNDS turns, in which every size has its turn; and the slope of the logarithms, by least squares over the larger half
of the sizes, with its standard error: where a call costs more than what is done in it, the small sizes are flat.
"expected" is the exponent of the largest term. "draws" says what 10,000 points of the roll take, and how much of that
are the network's layers and the random numbers alone: what a sampler could at best come down to. "memory" is the most
that PyTorch holds beside the draws themselves, in MiB, over how many are asked for.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np
import torch
from scipy.stats import norm

import dpm_lib
from dpm_lib.core import results
from dpm_lib.core.random import normal, seeded
from dpm_lib.diffusion import batches, schedules
from dpm_lib.diffusion.first_hitting import first_hitting
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.networks import text_network
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.swiss_roll import SwissRoll
from dpm_lib.sde import fokker_planck, processes
from dpm_lib.training.costs import peak

ROUNDS, DRAWS = 3, 10_000
SIZES = {
    "points": (250, 500, 1000, 2000, 4000, 8000, 16_000),
    "steps": (10, 20, 40, 80, 160),
    "dimensions": (64, 128, 256, 512, 1024, 2048),
    "tokens": (16, 32, 64, 128, 256),
    "cells": (1000, 3000, 10_000, 30_000, 100_000),
}
ASKED = (1, 2, 4)  # batches of draws
Job = Callable[[int], object]


def roll(T: int) -> DiffusionModel:
    """The network of the book's swiss roll on T steps of its own range of noise."""
    model, _ = dpm_lib.load_model(results.path("swiss-roll.safetensors"))
    beta, tau = float(model.schedule.beta[1]), float(model.schedule.tau[-1])
    return DiffusionModel(GaussianKernel(2, schedules.geometric(T, beta, tau)), model.reverse).eval()


def jobs() -> dict[str, tuple[str, str, float, Job]]:
    """Of each row what is done, over which sizes, the expected exponent, and the job of a size."""
    book, (network, _), law = roll(40), text_network.load(results.path("text.safetensors")), SwissRoll()
    held_out, x = law.sample(1000, seeded(1)), {n: law.sample(n, seeded(2)) for n in SIZES["points"]}
    steps = {T: roll(T) for T in SIZES["steps"]}
    centres = {d: normal((200, d), seeded(3)) for d in SIZES["dimensions"]}
    mixtures = {d: Mixture(y, torch.full((200,), 1 / 200, dtype=torch.float64), 0.1) for d, y in centres.items()}
    S = network.sizes["characters"]
    strings = {L: torch.randint(S + 1, (16, L), generator=seeded(4)) for L in SIZES["tokens"]}
    ou, grids = processes.ornstein_uhlenbeck(), {n: np.linspace(-6, 6, n) for n in SIZES["cells"]}
    start = {n: norm.pdf(grid, 1, 0.3) for n, grid in grids.items()}
    law.log_prob(held_out)
    return {
        "samples of the roll, T = 40": ("points", "DiffusionModel.sample", 1, lambda n: book.sample(n, seeded(5))),
        "1,000 samples of the roll": ("steps", "DiffusionModel.sample", 1, lambda T: steps[T].sample(1000, seeded(5))),
        "K of 1,000 points of the roll": (
            "steps", "DiffusionModel.trajectory_weights", 1,
            lambda T: steps[T].trajectory_weights(held_out, 1, seeded(6)),
        ),
        "exact density of the roll": ("points", "SwissRoll.log_prob", 1, lambda n: law.log_prob(x[n])),
        "exact density of 200 points": (
            "dimensions", "Mixture.log_prob", 1, lambda d: mixtures[d].log_prob(centres[d]),
        ),
        "one call of the network for text": ("tokens", "TextNetwork", 1, lambda L: network(strings[L])),
        "16 strings, token by token": (
            "tokens", "first_hitting", 2,
            lambda L: first_hitting(lambda y: network(y).softmax(-1).double(), L, S, 16, seeded(7)),
        ),
        "density of an SDE on a line, chebyshev": (
            "cells", "fokker_planck.solve", 1,
            lambda n: fokker_planck.solve(ou, start[n], grids[n], [0, 1], "chebyshev")[-1],
        ),
    }  # fmt: skip


def seconds(job: Job, sizes: tuple[int, ...]) -> list[float]:
    """The least processor time for each of the ``sizes``, in ROUNDS turns after one that warms up."""
    best = dict.fromkeys(sizes, math.inf)
    job(sizes[0])
    for _ in range(ROUNDS):
        for size in sizes:
            start = time.process_time()
            job(size)
            best[size] = min(best[size], time.process_time() - start)
    return list(best.values())


def slope(sizes: tuple[int, ...], spent: list[float]) -> tuple[float, float]:
    """Of log(seconds) over log(size), over the larger half of the sizes (three at least), and its standard error."""
    kept = max(3, (len(sizes) + 1) // 2)
    x, y = np.log(sizes[-kept:]), np.log(spent[-kept:])
    found, height = np.polyfit(x, y, 1)
    rest = y - found * x - height
    return float(found), float(math.sqrt(rest @ rest / (kept - 2) / ((x - x.mean()) ** 2).sum()))


def draws() -> dict[str, float]:
    """Seconds for DRAWS points of the book's roll, and for its network's layers and its random numbers alone."""
    model, _ = dpm_lib.load_model(results.path("swiss-roll.safetensors"))
    layers: Any = model.reverse.network.layers  # type: ignore[attr-defined]
    inputs = torch.randn(DRAWS, layers[0].in_features)
    T = model.T

    def network() -> None:
        for _ in range(T - 1):
            h = inputs
            for layer in layers[:-1]:
                h = torch.nn.functional.silu(layer(h))
            layers[-1](h)

    def noise() -> None:
        generator = seeded(8)
        for _ in range(T + 1):
            normal((DRAWS, 2), generator)

    parts = {"whole": lambda: model.sample(DRAWS, seeded(5)), "layers": network, "noise": noise}
    return {"points": DRAWS, "T": T} | {
        name: round(seconds(lambda _, job=job: job(), (1,))[0], 4)  # type: ignore[misc]
        for name, job in parts.items()
    }


def memory() -> dict[str, list[float]]:
    """The peak beside the result, MiB, for one, two and four batches of draws with T = 10, and for one with T = 40."""
    size = batches.rows(2)
    asked = [(size * n, 10) for n in ASKED] + [(size, 40)]
    models = {T: roll(T) for T in {T for _, T in asked}}
    found = [peak(lambda n=n, T=T: models[T].sample(n, seeded(9))) - 16 * n for n, T in asked]  # type: ignore[misc]
    return {
        "draws": [n for n, _ in asked],
        "steps": [T for _, T in asked],
        "MiB_beside_the_draws": [round(bytes_ / 2**20, 2) for bytes_ in found],
    }


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    rows = {}
    for name, (axis, what, expected, job) in jobs().items():
        spent = seconds(job, SIZES[axis])
        found, error = slope(SIZES[axis], spent)
        rows[name] = {
            "against": axis,
            "what": what,
            "sizes": list(SIZES[axis]),
            "seconds": [float(f"{s:.3g}") for s in spent],
            "slope": round(found, 3),
            "slope_stderr": round(error, 3),
            "expected": expected,
        }
        print(name, rows[name], flush=True)
    record: dict[str, Any] = {"rows": rows, "draws": draws(), "memory": memory()}
    print(record["draws"], record["memory"])
    common.write("cost-slopes", record, "python benchmarks/cost_slopes.py")


if __name__ == "__main__":
    main()
