"""Train the swiss roll recipes and measure what the book quotes of them.

    OMP_NUM_THREADS=1 python benchmarks/swiss_roll.py [NAME ...]

Writes book/results/NAME.json for each run below, NAME.safetensors for some, and swiss-roll-sampling.json, and draws the
README's picture. Each run takes about a minute on one core.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import common

from dpm_lib.core import files, results
from dpm_lib.core.random import seeded
from dpm_lib.figures import widgets
from dpm_lib.training import build, checkpoints

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
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
COURSE_EVERY = 250  # steps


def measure_sampling(n: int = 10_000, repeats: int = 7) -> None:
    """Median seconds to draw ``n`` points from the trained swiss roll, after one warm-up."""
    model, recipe = checkpoints.load_model(results.path("swiss-roll.safetensors"))
    seconds = []
    for seed in range(repeats + 1):
        start = time.perf_counter()
        model.sample(n, seeded(seed))
        seconds.append(time.perf_counter() - start)
    record = {
        "points": n,
        "T": recipe.T,
        "seconds": round(statistics.median(seconds[1:]), 4),
        "seconds_all": [round(s, 4) for s in seconds[1:]],
    }
    common.write("swiss-roll-sampling", record, "python benchmarks/swiss_roll.py sampling")


def draw_picture() -> None:
    """The picture of the README: the poster of the trajectory player."""
    model, recipe = checkpoints.load_model(results.path("swiss-roll.safetensors"))
    generator = seeded(0)
    player = widgets.TrajectoryPlayer.from_model(model, build.load_data(recipe).batch(1000, generator), generator)
    files.write_atomically(results.folder().parent / "_static" / "player.png", player.poster())


def main() -> None:
    """Measure the runs named, or all of them."""
    jobs: dict[str, Callable[[], None]] = {}
    for name, (base, settings) in RUNS.items():
        jobs[name] = partial(
            common.train_by_name, name, base, settings, course_every=COURSE_EVERY, keep_model=name in WEIGHTS
        )
    common.main(jobs | {"sampling": measure_sampling, "picture": draw_picture})


if __name__ == "__main__":
    main()
