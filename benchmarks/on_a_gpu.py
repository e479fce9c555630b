"""Train a recipe at full size for so many minutes, on a GPU, and record what came of it.

    python benchmarks/on_a_gpu.py MINUTES RECIPE [KEY=VALUE ...]

The number of steps is what this machine takes in that time, so that the learning rate ends at zero. Loading the data,
compiling and evaluating come on top. Writes book/results/RECIPE-gpu.json: metrics, settings, the course, provenance.
The run itself, with its weights and samples, is in runs/RECIPE-gpu, or in the folder that DPM_RUNS names. Where that
holds an unfinished run, it goes on, and MINUTES and the settings are those of its beginning.
"""

import os
import sys
from pathlib import Path

from dpm_lib.core import files, results
from dpm_lib.training import catalogue, loop, recipe


def main(arguments: list[str]) -> None:
    """Train one recipe."""
    if len(arguments) < 2:
        raise SystemExit(__doc__)
    minutes, name = float(arguments[0]), arguments[1]
    if not catalogue.get(name).side:
        raise SystemExit(f"RECIPE: {name} is not for images")
    folder = Path(os.environ.get("DPM_RUNS", "runs")) / f"{name}-gpu"
    if (folder / "metrics.json").exists():
        raise SystemExit(f"{folder}: holds a finished run; move it away, or name another folder with DPM_RUNS")
    resume = (folder / "config.json").exists()
    if resume:
        recipe = recipe.Recipe.from_dict(files.load_json(folder / "config.json")["recipe"])
    else:
        recipe = catalogue.get(name).override(**recipe.parse(arguments[2:]))
        recipe = recipe.override(steps=loop.steps_within(minutes, recipe))
    _, metrics = loop.fit(recipe, 0, folder, resume=resume)
    record = {
        **metrics,
        "resumed": resume,
        "settings": recipe.to_dict(),
        "course": files.load_lines(folder / "metrics.jsonl"),
        "provenance": results.provenance(" ".join(["python benchmarks/on_a_gpu.py", *arguments])),
    }
    files.save_json(results.folder() / f"{name}-gpu.json", record)
    print(
        f"{name}: {metrics['bits_per_dimension']:.3f} bits per dimension, "
        f"{metrics['steps']} steps, {metrics['seconds']:.0f} s"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
