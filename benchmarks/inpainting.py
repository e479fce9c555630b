"""Digits with a strip of columns missing, filled in by three methods: draws for the figure, and errors for the text.

    OMP_NUM_THREADS=1 python benchmarks/inpainting.py [PROCESSES]

Writes book/results/digits-inpainting.json, in about three CPU minutes. The model is that of the recipe ``digits`` on 42
of its 200 levels (``LEVELS``): few where the noise is less than half a level of grey, every third where something is
decided. A strip is four of the eight columns, at five places. What is seen is seen up to a noise of 0.1 (0.6 of the 17
levels). Guidance moves a step by at most half of its noise (``FARTHEST``). Errors are those of the mean over draws, on
the missing pixels, root mean square in units of the levels. "clamped, clean" is the 2015 paper's inpainting: what is
seen is clean at every step. "particles" have a softened twist, "particles, plain" the one of "twisted".
"""

import base64
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import common
import torch
from torch import Tensor

from dpm_lib.core import results
from dpm_lib.core.random import seeded
from dpm_lib.data.registry import load
from dpm_lib.diffusion import conditioning, inpainting, schedules
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.twists import Expected
from dpm_lib.probability.weighted_samples import WeightedSamples
from dpm_lib.training import checkpoints

METHODS = ("clamped", "twisted", "particles")  # in the figure
MEASURED_METHODS = ("clamped", "clamped, clean", "twisted", "particles", "particles, plain")
LEVELS = [0, 20, 40, 60, 80, *range(90, 200, 3), 200]
SHOWN, PLACES, DRAWS = 3, 5, 12
MEASURED, N, NOISE, SOFTNESS, FARTHEST = 12, 48, 0.1, 1.0, 0.5


def thinned(model: DiffusionModel, levels: list[int]) -> DiffusionModel:
    """The same reverse kernel on some of its levels."""
    schedule = schedules.Schedule(model.schedule.log_alpha_bar[levels])
    return DiffusionModel(GaussianKernel(model.kernel.dim, schedule), model.reverse)


def strip(place: int) -> Tensor:
    """True where a pixel is seen: columns place..place+3 are missing. (64,)."""
    seen = torch.ones(8, 8, dtype=torch.bool)
    seen[:, place : place + 4] = False
    return seen.flatten()


def fill(model: DiffusionModel, x0: Tensor, mask: Tensor, method: str, n: int, seed: int) -> Any:
    """n draws by one of ``MEASURED_METHODS``."""
    generator = seeded(seed)
    if method.startswith("clamped"):
        return inpainting.clamp(model, x0, mask, n, generator, noisy=method == "clamped")
    r = inpainting.seen(model, x0, NOISE, mask)
    twist = Expected(model, r, SOFTNESS if method == "particles" else 0.0)
    return conditioning.tilt(model, r, method.split(",")[0], n, generator, twist=twist, farthest=FARTHEST)


def chosen(found: WeightedSamples, count: int, seed: int) -> Tensor:
    """``count`` of the particles, drawn by their weights."""
    generator = seeded(seed)
    return found.x[torch.multinomial(found.probabilities, count, replacement=True, generator=generator)]


def work(task: tuple[str, int, int, int, int]) -> tuple[Tensor, Any]:
    """One filling in: (method, digit, place, n, seed)."""
    method, k, place, n, seed = task
    model, _ = checkpoints.load_model(results.path("digits.safetensors"))
    x0 = load("digits").held_out(MEASURED, seed=0).double()[k]
    return x0, fill(thinned(model, LEVELS), x0, strip(place), method, n, seed)


def main(workers: str = "2") -> None:
    data = load("digits")

    def levels(x0: Tensor) -> list[int]:
        return data.pixels(x0).floor().clamp(0, 16).flatten().int().tolist()

    shown = [
        (method, k, place, N if method == "particles" else DRAWS, 10 * k + place)
        for method in METHODS
        for k in range(SHOWN)
        for place in range(PLACES)
    ]
    measured = [(method, k, 0, N, 1000 + k) for method in MEASURED_METHODS for k in range(MEASURED)]
    draws: dict[str, bytearray] = {method: bytearray() for method in METHODS}
    errors, sizes, log_z = ({} for _ in range(3))  # type: ignore[var-annotated]
    truth = data.held_out(MEASURED, seed=0).double()[:SHOWN]
    with ProcessPoolExecutor(int(workers)) as pool:
        for (method, *_), (_, found) in zip(shown, pool.map(work, shown), strict=True):
            draws[method] += bytes(levels(chosen(found, DRAWS, 1) if method == "particles" else found.x))
        for (method, *_), (x0, found) in zip(measured, pool.map(work, measured), strict=True):
            off = (found.mean() - x0)[~strip(0)] * data.std
            errors.setdefault(method, []).append(round(float(off.square().mean().sqrt()), 4))
            if method.startswith("particles"):
                sizes.setdefault(method, []).append(round(float(found.ess_by_step.min()), 1))
                log_z.setdefault(method, []).append(round(float(found.log_z), 2))
            print(method, errors[method][-1], sizes.get(method), flush=True)
    record = {
        "truth": [levels(x0) for x0 in truth],
        "draws": {m: base64.b64encode(bytes(b)).decode("ascii") for m, b in draws.items()},
        "shape": [SHOWN, PLACES, DRAWS, 64],
        "least_ess": sizes,
        "log_z": log_z,
        "n": N,
        "T": len(LEVELS) - 1,
        "noise": NOISE,
        "softness": SOFTNESS,
        "farthest": FARTHEST,
        "errors": errors,
    }
    common.write("digits-inpainting", record, "python benchmarks/inpainting.py")


if __name__ == "__main__":
    main(*sys.argv[1:])
