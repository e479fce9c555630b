"""Train the image recipes that fit on a CPU, and measure what the book quotes of them.

    OMP_NUM_THREADS=1 python benchmarks/images.py [NAME ...]

Writes book/results/NAME.json, with the baselines on the same data, and NAME.safetensors, for each run below.
With DPM_RUNS, the folder of each run is kept there, and one that was interrupted goes on.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from dpm_lib import checkpoints, image_baselines, recipes, results, training

RUNS: dict[str, tuple[str, dict[str, str]]] = {
    "digits": ("digits", {}),
    "textures-small": ("textures-small", {}),
    "dead-leaves-small": ("dead-leaves-small", {}),
    "dead-leaves-paper-small": ("dead-leaves-paper-small", {}),
    "mnist-5k-small": ("mnist-5k-small", {}),
}
WEIGHTS = tuple(RUNS)  # the models that the book loads


def measure(name: str) -> None:
    """Train one run; write its metrics with provenance, its course, and, for some, its weights."""
    base, settings = RUNS[name]
    recipe = recipes.get(base).override(settings)
    command = " ".join(["python -m dpm_lib train", base, *(f"--set {k}={v}" for k, v in settings.items())])
    with tempfile.TemporaryDirectory() as scratch:
        folder, start = Path(os.environ.get("DPM_RUNS", scratch)) / name, time.process_time()
        resume = (folder / "checkpoint.safetensors").exists()
        _, metrics = training.fit(recipe, seed=0, folder=folder, device="cpu", resume=resume, progress=False)
        if not resume:
            metrics["cpu_seconds_with_evaluation"] = round(time.process_time() - start, 1)
        course = checkpoints.load_lines(folder / "metrics.jsonl")
        metrics["baselines"] = image_baselines.baselines(recipes.load_data(recipe))  # type: ignore[arg-type]
        record = {**metrics, "settings": recipe.to_dict(), "course": course, "provenance": results.provenance(command)}
        checkpoints.save_json(results.folder() / f"{name}.json", record)
        if name in WEIGHTS:
            content = (folder / "model.safetensors").read_bytes()
            checkpoints.write_atomically(results.folder() / f"{name}.safetensors", content)


def main(names: list[str]) -> None:
    """Measure the runs named, or all of them."""
    if unknown := set(names) - set(RUNS):
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(RUNS)}")
    for name in names or RUNS:
        measure(name)


if __name__ == "__main__":
    main(sys.argv[1:])
