"""Train the swiss roll recipes and measure what the book quotes of them.

    OMP_NUM_THREADS=1 python benchmarks/swiss_roll.py [NAME ...]

Writes book/results/NAME.json for each run below, NAME.safetensors for some, and swiss-roll-sampling.json, and draws the
README's picture. Each run takes about a minute on one core.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from dpm_lib.core import files, results
from dpm_lib.figures import widgets
from dpm_lib.training import build, catalogue, checkpoints, loop

RUNS: dict[str, tuple[str, dict[str, str]]] = {
    "swiss-roll": ("swiss-roll", {}),
    "swiss-roll-diagonal": ("swiss-roll", {"covariance": "diagonal"}),
    "swiss-roll-posterior": ("swiss-roll", {"covariance": "posterior"}),
    "swiss-roll-fixed": ("swiss-roll", {"learn_schedule": False}),
    "swiss-roll-thin": ("swiss-roll-thin", {}),
    "swiss-roll-thin-diagonal": ("swiss-roll-thin", {"T": 40, "covariance": "diagonal"}),
    "swiss-roll-paper": ("swiss-roll-paper", {}),
    "swiss-roll-paper-learned": ("swiss-roll-paper", {"learn_schedule": True}),
    "swiss-roll-paper-64": ("swiss-roll-paper", {"units": 64}),
}
WEIGHTS = ("swiss-roll", "swiss-roll-thin")  # the models that the book loads


def measure(name: str) -> None:
    """Train one run; write its metrics with provenance, its course, and, for some, its weights."""
    base, settings = RUNS[name]
    recipe = catalogue.get(base).override(**settings)
    command = " ".join(["python -m dpm_lib train", base, *(f"--set {k}={v}" for k, v in settings.items())])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _, metrics = loop.fit(recipe, seed=0, folder=folder, device="cpu")
        course = [line for line in files.load_lines(folder / "metrics.jsonl") if line["step"] % 250 == 0]
        record = {**metrics, "settings": recipe.to_dict(), "course": course, "provenance": results.provenance(command)}
        files.save_json(results.folder() / f"{name}.json", record)
        if name in WEIGHTS:
            content = (folder / "model.safetensors").read_bytes()
            files.write_atomically(results.folder() / f"{name}.safetensors", content)


def measure_sampling(n: int = 10_000, repeats: int = 7) -> None:
    """Median seconds to draw ``n`` points from the trained swiss roll, after one warm-up."""
    model, recipe = checkpoints.load_model(results.path("swiss-roll.safetensors"))
    seconds = []
    for seed in range(repeats + 1):
        start = time.perf_counter()
        model.sample(n, torch.Generator().manual_seed(seed))
        seconds.append(time.perf_counter() - start)
    record = {
        "points": n,
        "T": recipe.T,
        "seconds": round(statistics.median(seconds[1:]), 4),
        "seconds_all": [round(s, 4) for s in seconds[1:]],
        "provenance": results.provenance("python benchmarks/swiss_roll.py sampling"),
    }
    files.save_json(results.folder() / "swiss-roll-sampling.json", record)


def draw_picture() -> None:
    """The picture of the README: the poster of the trajectory player."""
    model, recipe = checkpoints.load_model(results.path("swiss-roll.safetensors"))
    generator = torch.Generator().manual_seed(0)
    player = widgets.TrajectoryPlayer.from_model(model, build.load_data(recipe).batch(1000, generator), generator)
    files.write_atomically(results.folder().parent / "_static" / "player.png", player.poster())


def main(names: list[str]) -> None:
    """Measure the runs named, or all of them."""
    extra = {"sampling": measure_sampling, "picture": draw_picture}
    for name in results.chosen(names, [*RUNS, *extra]):
        extra[name]() if name in extra else measure(name)


if __name__ == "__main__":
    main(sys.argv[1:])
