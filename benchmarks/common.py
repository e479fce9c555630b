"""What benchmarks share: a training that is measured and recorded, records with provenance, and the command line.

With DPM_RUNS, the folder of each run is kept there, and one that was interrupted goes on.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dpm_lib.core import files, results
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.training import catalogue, loop
from dpm_lib.training.recipe import Recipe
from dpm_lib.training.trainer import Run


def write(name: str, record: dict[str, Any], command: str, **versions: str) -> None:
    """Write ``record`` to book/results/NAME.json, with its provenance: command, day, machine, other ``versions``."""
    whole = {**record, "provenance": {**results.provenance(command), **versions}}
    files.save_json(results.folder() / f"{name}.json", whole)


def run_folder(name: str, otherwise: str) -> Path:
    """The folder of the run ``name``: in the folder DPM_RUNS, or in ``otherwise``."""
    return Path(os.environ.get("DPM_RUNS", otherwise)) / name


def train(
    name: str,
    recipe: Recipe,
    command: str,
    folder: Path | None = None,
    device: str = "cpu",
    course_every: int = 0,
    keep_model: bool = False,
    more: Callable[[dict[str, Any]], dict[str, Any]] = lambda metrics: {},
) -> dict[str, Any]:
    """Train ``recipe`` with seed 0, or go on in the ``folder`` of its run, and write book/results/NAME.json.

    The record has the metrics, processor seconds (or that the run was resumed), the settings, what ``more`` makes of
    the metrics, and of the log what stands at multiples of ``course_every`` steps. ``keep_model`` also writes
    book/results/NAME.safetensors. Returns the metrics.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder, start = folder or run_folder(name, scratch), time.process_time()
        resume = (folder / "config.json").exists()
        _, metrics = loop.fit(recipe, 0, folder, device, resume)
        spent = {"cpu_seconds_with_evaluation": round(time.process_time() - start, 1)}
        record = {**metrics, **({"resumed": True} if resume else spent), **more(metrics), "settings": recipe.to_dict()}
        if course_every:
            log = files.load_lines(folder / "metrics.jsonl")
            record["course"] = [line for line in log if line["step"] % course_every == 0]
        write(name, record, command)
        if keep_model:
            model = (folder / "model.safetensors").read_bytes()
            files.write_atomically(results.folder() / f"{name}.safetensors", model)
    return metrics


def train_by_name(name: str, base: str, settings: dict[str, Any], **options: Any) -> None:
    """``train`` the recipe ``base`` with ``settings``; the record names the command that trains the same."""
    changed = [f"--set {key}={value}" for key, value in settings.items()]
    command = " ".join(["python -m dpm_lib train", base, *changed])
    train(name, catalogue.get(base).override(**settings), command, **options)


def watched(recipe: Recipe, steps: Iterable[int]) -> Iterator[tuple[int, DiffusionModel]]:
    """Train ``recipe`` with seed 0, and give the averaged model after each of these numbers of ``steps``, in order."""
    run = Run(recipe, 0, "cpu")
    for step in sorted(steps):
        while run.step < step:
            run.advance()
        yield step, run.averaged_model()


def main(jobs: dict[str, Callable[[], None]], usual: Iterable[str] | None = None) -> None:
    """Do those of ``jobs`` that the command line names; without names the ``usual`` ones, or all of them."""
    for name in results.chosen(sys.argv[1:] or list(usual or jobs), list(jobs)):
        jobs[name]()
