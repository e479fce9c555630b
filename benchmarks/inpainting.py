"""Digits with a strip of columns missing, filled in by three methods: draws for the figure, and errors for the text.

    OMP_NUM_THREADS=1 python benchmarks/inpainting.py [WEIGHTS]

Writes book/results/digits-inpainting.json. The model is that of the recipe ``digits`` on every fourth of its levels, so
that T = 50. A strip is four of the eight columns, at five places. What is seen is seen up to a noise of 0.1 (0.6 of the
17 levels). Errors are those of the mean over draws, on the missing pixels, root mean square in units of the levels.
"""

import base64
import sys
from pathlib import Path

import torch
from torch import Tensor

from dpm_lib import checkpoints, posteriors, results, schedules
from dpm_lib.data import load
from dpm_lib.diffusion import DiffusionModel
from dpm_lib.kernels import GaussianKernel
from dpm_lib.weights import WeightedSamples

METHODS = ("clamped", "twisted", "particles")
SHOWN, PLACES, DRAWS = 3, 5, 12
MEASURED, N, NOISE = 10, 40, 0.1


def thinned(model: DiffusionModel, every: int) -> DiffusionModel:
    """The same reverse kernel on every ``every``-th level."""
    levels = [0, *range(every, model.T + 1, every)]
    schedule = schedules.Schedule(model.schedule.log_alpha_bar[levels])
    return DiffusionModel(GaussianKernel(model.kernel.dim, schedule), model.reverse)


def strip(place: int) -> Tensor:
    """True where a pixel is seen: columns place..place+3 are missing. (64,)."""
    seen = torch.ones(8, 8, dtype=torch.bool)
    seen[:, place : place + 4] = False
    return seen.flatten()


def fill(model: DiffusionModel, x0: Tensor, mask: Tensor, method: str, n: int, seed: int) -> WeightedSamples:
    """n draws by one of ``METHODS``."""
    generator = torch.Generator().manual_seed(seed)
    if method == "clamped":
        return posteriors.clamp(model, x0, mask, n, generator)
    return posteriors.inpaint(model, x0, mask, method, noise=NOISE, n=n, generator=generator)


def chosen(found: WeightedSamples, count: int, seed: int) -> Tensor:
    """``count`` of the particles, drawn by their weights."""
    generator = torch.Generator().manual_seed(seed)
    return found.x[torch.multinomial(found.probabilities, count, replacement=True, generator=generator)]


def main(weights: str = "") -> None:
    model, _ = checkpoints.load_model(Path(weights) if weights else results.path("digits.safetensors"))
    model, data = thinned(model, 4), load("digits")
    x = data.held_out(MEASURED, seed=0).double()

    def levels(x0: Tensor) -> list[int]:
        return data.pixels(x0).floor().clamp(0, 16).flatten().int().tolist()

    draws, sizes, errors = {m: bytearray() for m in METHODS}, [], {m: [] for m in METHODS}
    for method in METHODS:
        for k in range(SHOWN):
            for place in range(PLACES):
                found = fill(model, x[k], strip(place), method, N if method == "particles" else DRAWS, 10 * k + place)
                draws[method] += bytes(levels(chosen(found, DRAWS, 1) if method == "particles" else found.x))
                if method == "particles":
                    sizes.append(round(float(found.ess_by_step.min()), 1))
        for k in range(MEASURED):  # the left half
            found = fill(model, x[k], strip(0), method, N, 1000 + k)
            off = (found.mean() - x[k])[~strip(0)] * data.std
            errors[method].append(round(float(off.square().mean().sqrt()), 4))
        print(method, sum(errors[method]) / MEASURED, flush=True)
    record = {
        "truth": [levels(x[k]) for k in range(SHOWN)],
        "draws": {m: base64.b64encode(bytes(b)).decode("ascii") for m, b in draws.items()},
        "shape": [SHOWN, PLACES, DRAWS, 64],
        "least_ess": sizes,
        "n": N,
        "T": model.T,
        "noise": NOISE,
        "errors": errors,
        "provenance": results.provenance("python benchmarks/inpainting.py"),
    }
    checkpoints.save_json(results.folder() / "digits-inpainting.json", record)


if __name__ == "__main__":
    main(*sys.argv[1:])
