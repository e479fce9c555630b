"""Train a recipe at full size for so many minutes, on a GPU, and record what came of it.

    python benchmarks/on_a_gpu.py MINUTES RECIPE [KEY=VALUE ...]

The number of steps is what this machine takes in that time, so that the learning rate ends at zero. Loading the data,
compiling and evaluating come on top. Writes book/results/RECIPE-gpu.json: metrics, settings, the course, provenance.
The run itself, with its weights and samples, is in runs/RECIPE-gpu, or in the folder that DPM_RUNS names. Where that
holds an unfinished run, it goes on, and MINUTES and the settings are those of its beginning.
"""

import sys

import common

from dpm_lib.core import files
from dpm_lib.training import catalogue, loop
from dpm_lib.training.recipe import Recipe, parse


def main(arguments: list[str]) -> None:
    """Train one recipe."""
    if len(arguments) < 2:
        raise SystemExit(__doc__)
    minutes, name = float(arguments[0]), arguments[1]
    if not catalogue.get(name).side:
        raise SystemExit(f"RECIPE: {name} is not for images")
    folder = common.run_folder(f"{name}-gpu", "runs")
    if (folder / "metrics.json").exists():
        raise SystemExit(f"{folder}: holds a finished run; move it away, or name another folder with DPM_RUNS")
    if (folder / "config.json").exists():
        recipe = Recipe.from_dict(files.load_json(folder / "config.json")["recipe"])
    else:
        recipe = catalogue.get(name).override(**parse(arguments[2:]))
        recipe = recipe.override(steps=loop.steps_within(minutes, recipe))
    command = " ".join(["python benchmarks/on_a_gpu.py", *arguments])
    metrics = common.train(f"{name}-gpu", recipe, command, folder, device="auto", course_every=1)
    print(
        f"{name}: {metrics['bits_per_dimension']:.3f} bits per dimension, "
        f"{metrics['steps']} steps, {metrics['seconds']:.0f} s"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
