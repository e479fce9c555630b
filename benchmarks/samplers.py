"""Samplers compared: their exact law on mixtures, and digits drawn with few calls of a network.

    OMP_NUM_THREADS=1 python benchmarks/samplers.py [race|digits]

Writes book/results/sampler-race.json (Wasserstein distance to three mixtures on the line, with the exact guess of x_0,
no draws; two minutes of one core) and sampler-digits.json (energy distance of samples to held-out digits, in the
features of a small classifier, for the model digits-ddpm; six minutes).
"""

import common
import torch

from dpm_lib.core import results
from dpm_lib.core.random import seeded
from dpm_lib.core.standard_error import stderr
from dpm_lib.data import image_datasets
from dpm_lib.data.digit_features import digit_features
from dpm_lib.diffusion import samplers
from dpm_lib.diffusion.sampler_law import sampler_law
from dpm_lib.figures.widgets.samplers import FIRST, LAST, POWERS, race_schedule
from dpm_lib.probability import energy_distance
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.training.checkpoints import load_model

TARGETS = {
    "three clumps": ([-1.5, 0.3, 1.2], [0.3, 0.5, 0.2], 0.04),
    "two narrow clumps": ([-1.2, 0.8], [0.4, 0.6], 0.02),
    "one normal": ([0.0], [1.0], 0.3),
}
WAYS = {
    "ddpm": ("ancestral", {}),
    "ddim 0.5": ("ddim", {"eta": 0.5}),
    "ddim 0": ("ddim", {"eta": 0.0}),
    "heun": ("heun", {}),
    "2m": ("dpm-solver-2m", {}),
}
CALLS = [2, 3, 4, 5, 6, 8, 10, 12, 14, 17, 20, 24, 28, 34, 40]

DIGIT_CALLS, DIGIT_CLOCKS = (20, 10), ("steps", "log tau", "karras")
DIGIT_WAYS = {
    "ancestral": ("ancestral", {}),
    "ancestral, large": ("ancestral", {"variance": "fixed_large"}),
    "ddim": ("ddim", {"eta": 0.0}),
    "heun": ("heun", {}),
    "dpm-solver-2m": ("dpm-solver-2m", {}),
}
ROUNDS = 6  # sets of samples, as many as digits are held out, each from a seed of its own


def race() -> None:
    """The exact distances, to four digits."""
    distances = {
        target: {
            clock: {way: [distance(target, clock, way, calls) for calls in CALLS] for way in WAYS} for clock in POWERS
        }
        for target in TARGETS
    }
    targets = {
        name: {"centers": centers, "weights": weights, "variance": variance}
        for name, (centers, weights, variance) in TARGETS.items()
    }
    record = {"tau_T": FIRST, "tau_1": LAST, "targets": targets, "calls": CALLS, "wasserstein": distances}
    common.write("sampler-race", record, "python benchmarks/samplers.py race")


def distance(target: str, clock: str, way: str, calls: int) -> float:
    """Wasserstein distance of the exact law of what is drawn, at most ``calls`` calls of the exact guess."""
    centers, weights, variance = TARGETS[target]
    mixture = Mixture(torch.tensor(centers).unsqueeze(1), torch.tensor(weights, dtype=torch.float64), variance)
    name, own = WAYS[way]
    steps = samplers.steps_of(name, calls)
    model = samplers.MixtureDenoiser(mixture, race_schedule(steps, clock))
    law = sampler_law(samplers.SAMPLERS[name], model, list(range(steps, -1, -1)), **own)
    return float(f"{law.wasserstein(mixture):.4g}")


def digits() -> None:
    """Energy distances with their errors over seeds, for each sampler, clock and number of calls."""
    model, _ = load_model(results.path("digits-ddpm.safetensors"))
    held_out = image_datasets.load("digits").held_out()
    rows: list[dict[str, object]] = []
    for calls in DIGIT_CALLS:
        for way, (name, own) in DIGIT_WAYS.items():
            for clock in DIGIT_CLOCKS:
                last = 1 if clock == "steps" else lowest(model)
                levels = samplers.levels_of(model.schedule, samplers.steps_of(name, calls), clock, last)
                drawn = [
                    samplers.SAMPLERS[name](model, noise(len(held_out), seed), levels, seeded(seed + 100), **own)
                    for seed in range(ROUNDS)
                ]
                row = {"way": way, "clock": clock, "calls": calls, **mean_of([apart(x, held_out) for x in drawn])}
                rows.append(row)
                print(row, flush=True)
    record = {"model": "digits-ddpm", "rounds": ROUNDS, "held_out": len(held_out), "rows": rows}
    common.write("sampler-digits", record, "python benchmarks/samplers.py digits")


def lowest(model: samplers.Denoising) -> int:
    """The level where noise is a hundredth of the data's spread: what lies below is not seen in a picture."""
    return int((model.schedule.tau >= 1e-4).nonzero()[0])


def noise(n: int, seed: int) -> torch.Tensor:
    """n draws of N(0, I), (n, 64)."""
    return torch.randn(n, 64, generator=seeded(seed), dtype=torch.float64)


def apart(x: torch.Tensor, held_out: torch.Tensor) -> float:
    """Energy distance of samples x (n, 64) to the held-out digits (n, 64), in the classifier's features."""
    features = digit_features()
    return energy_distance.estimate(features(x), features(held_out), blocks=3)[0]


def mean_of(found: list[float]) -> dict[str, float]:
    """Mean and standard error over seeds, to four digits."""
    values = torch.tensor(found, dtype=torch.float64)
    return {"distance": round(float(values.mean()), 5), "stderr": round(stderr(values), 5)}


def main() -> None:
    """Do what the command line names, or both."""
    common.main({"race": race, "digits": digits})


if __name__ == "__main__":
    main()
