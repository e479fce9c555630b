"""The training loop: ascend the bound K, or what the recipe's ``objective`` says, by stochastic gradient.

One loop for one CPU, one GPU or several processes (through Accelerate). ``trainer`` holds what one step is and what is
kept; here are the order of things, the files, and what is said when something goes wrong.
"""

import math
import operator
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from dpm_lib.core.files import claimed, remove_temporaries, save_json
from dpm_lib.data.images import Images
from dpm_lib.data.registry import as_data
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.training import devices, interruption
from dpm_lib.training.checkpoints import save_model
from dpm_lib.training.evaluation import evaluate
from dpm_lib.training.image_evaluation import default_count
from dpm_lib.training.log import WARM, Course, Estimate, check_tensorboard, clock
from dpm_lib.training.recipe import Recipe
from dpm_lib.training.trainer import Run

LOG_EVERY = 50  # steps
AGREE_EVERY = 10  # steps after which several processes ask each other whether to stop
PACED = 30  # steps by which the pace is measured


def fit(
    recipe: Recipe,
    seed: int = 0,
    folder: str | Path | None = None,
    device: str = "auto",
    resume: bool = False,
    progress: bool = True,
    data: Any = None,
    tensorboard: bool = False,
) -> tuple[DiffusionModel, dict[str, Any]]:
    """Train ``recipe``, on its own data or on ``data``; returns the averaged model and its metrics (``evaluate``).

    Where the recipe looks at validation images, it is the average that was best on them: ``kept_step`` in the metrics.

    ``data`` is whatever ``as_data`` takes: points (n, d), uint8 pictures, a Codebook, a Mixture, a Data set. The
    recipe that is recorded has their name, and the side and channels of pictures.

    With a ``folder``, writes config.json, metrics.jsonl (the course of training), checkpoint.safetensors,
    model.safetensors and metrics.json there, and samples/ if the recipe asks for them. ``resume`` goes on from the
    folder's checkpoint; without it, ValueError where the folder holds a run already, and BlockingIOError where another
    process is at work there. On Ctrl-C a checkpoint is saved before KeyboardInterrupt is raised. FloatingPointError
    where the bound is no longer finite, MemoryError where memory runs out, OSError where a file cannot be written: all
    say what to change, and the last good checkpoint is kept.
    """
    if not isinstance(recipe, Recipe):
        raise ValueError(f"recipe: need a Recipe, as dpm_lib.recipe(name) gives, got {recipe!r}")
    if resume and folder is None:
        raise ValueError("resume: needs the folder of the run")
    seed, folder = checked_seed(seed), None if folder is None else Path(folder)
    if tensorboard:
        check_tensorboard(folder)
    first = os.environ.get("RANK", "0") == "0"  # of the processes that `accelerate launch` or `torchrun` started
    data = None if data is None else as_data(data)
    if resume:
        with claimed(folder if first else None):
            return _fit(Run(recipe, seed, device, folder, data, resume), progress, tensorboard)
    if folder is not None and first:
        _check_folder(folder, recipe)
    run = Run(recipe, seed, device, folder, data)
    with claimed(folder if first else None):  # it makes the folder: what was wrong above leaves none
        if folder is not None and first:
            _check_folder(folder, recipe)
        return _fit(run, progress, tensorboard)


def _fit(run: Run, progress: bool, tensorboard: bool) -> tuple[DiffusionModel, dict[str, Any]]:
    """The rest of ``fit``, in a folder that no other process has."""
    main, folder, recipe, seed = run.accelerator.is_main_process, run.folder, run.recipe, run.seed
    if folder is not None and main:
        remove_temporaries(folder)
        save_json(folder / "config.json", {"recipe": recipe.to_dict(), "seed": seed})
    if progress and main and {"train", "held_out"} <= set(run.data_set):
        parts = {"train": "to train", "validation": "for validation", "held_out": "held out"}
        sizes = [f"{run.data_set[key]} {words}" for key, words in parts.items() if key in run.data_set]
        print(f"{run.data.name}: {', '.join(sizes)}", file=sys.stderr)
    course = Course(folder if main else None, run.step, tensorboard and main)
    try:
        _train(run, course, progress and main)
    finally:
        course.close()
    run.save_checkpoint()
    model = run.kept_model()
    if folder is not None and main:  # first of all: whatever fails after this, the model is there
        save_model(folder / "model.safetensors", model, recipe, seed=seed, steps=run.step, data_set=run.data_set)
    if progress and main and (wait := _evaluation_seconds(run)) > 20:
        print(f"{recipe.name}: trained; evaluating it takes about {clock(wait)}", file=sys.stderr)
    metrics = {
        "recipe": recipe.name,
        "seed": seed,
        "data_set": run.data_set,
        "device": devices.name(run.device),
        "steps": run.step,
        **({"kept_step": run.best_step} if run.validates else {}),
        "seconds": round(run.seconds, 2),
        **evaluate(model, run.data, seed=seed),
    }
    if folder is not None and main:
        save_json(folder / "metrics.json", metrics)
    return model, metrics


def checked_seed(seed: Any) -> int:
    """A whole number from 0 to 2^62, NumPy's too; ValueError for another."""
    try:
        value = operator.index(seed)
    except TypeError:
        raise ValueError(f"seed: {seed!r} is no whole number") from None
    if not 0 <= value < 2**62:
        raise ValueError(f"seed: {value} is not between 0 and 2^62")
    return value


def _check_folder(folder: Path, recipe: Recipe) -> None:
    """ValueError where a run cannot start in ``folder``."""
    if recipe.data.startswith("folder:"):
        pictures = Path(recipe.data.removeprefix("folder:")).expanduser()
        if pictures.resolve() == folder.resolve():
            raise ValueError(f"{folder}: holds the pictures; a run needs a folder of its own")
    if (folder / "config.json").exists():
        raise ValueError(f"{folder}: holds a run already; go on with resume (--resume {folder}), or name another")


def _evaluation_seconds(run: Run) -> float:
    """About how long ``evaluate`` takes for images, by the pace of training: a forward pass is a third of a step."""
    if not isinstance(run.data, Images) or not run.step:
        return 0.0
    rows = min(len(run.data.test), default_count(run.model, run.data)) * run.recipe.T
    return run.seconds / run.step / 3 * rows / run.recipe.batch


def steps_within(minutes: float, recipe: Recipe, device: str = "auto", data: Any = None) -> int:
    """How many steps of ``recipe`` this machine takes in so many minutes: by PACED of them, after WARM to compile.

    At least 1, and the same number in every process. Checkpoints, samples and the evaluation come on top. ValueError
    where ``minutes`` is not positive.
    """
    if not 0 < minutes < math.inf:
        raise ValueError(f"minutes: {minutes} is not positive, or not finite")
    run = Run(recipe, 0, device, data=None if data is None else as_data(data))
    for step in range(WARM + PACED):
        if step == WARM:
            run.collect()  # waits for the device
            start = time.perf_counter()
        _advance(run)
    run.collect()
    taken = torch.tensor((time.perf_counter() - start) / PACED, device=run.device)
    return max(1, round(60 * minutes / float(run.accelerator.reduce(taken, reduction="mean"))))


def _train(run: Run, course: Course, progress: bool) -> None:
    recipe, start, before, stop = run.recipe, time.perf_counter(), run.seconds, False
    estimate = Estimate(run.step, recipe.steps, wait=run.collect)
    with _bar(run, progress) as bar, interruption.held() as signals:
        while run.step < recipe.steps and not stop:
            _advance(run)
            bar.update()
            last = run.step == recipe.steps
            log = last or run.step % LOG_EVERY == 0
            look = run.validates and (last or run.step % recipe.validate_every == 0)
            if log or look:
                run.collect()
            looked = run.look() if look else {}
            run.seconds = before + time.perf_counter() - start
            if log or look:
                means = run.means()
                loss = f"loss = {means['loss']:.4g}, " if "loss" in means else ""
                bar.set_postfix_str(f"{loss}K = {means['bound_bits']:.3f} bits")
                course.add(run.step, **means, **looked, seconds=round(run.seconds, 3))
            if run.step % recipe.checkpoint_every == 0:
                run.save_checkpoint()
            if recipe.sample_every and run.step % recipe.sample_every == 0:
                run.save_samples()
            if (words := estimate.words(run.step)) and progress:
                bar.write(f"{recipe.name}: {words}", file=_Screen())
            if run.accelerator.num_processes == 1 or last or run.step % AGREE_EVERY == 0:
                stop = run.any(bool(signals))
        if stop:
            run.save_checkpoint()
    if stop:
        raise KeyboardInterrupt


def _bar(run: Run, progress: bool) -> tqdm:
    recipe = run.recipe
    return tqdm(
        total=recipe.steps, initial=run.step, disable=not progress, desc=recipe.name, unit="step", file=_Screen()
    )


class _Screen:
    """stderr, or nothing where the terminal has gone, so that a run which outlives it can still save a checkpoint."""

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def _advance(run: Run) -> None:
    """One step; what can go wrong in it is said in words that name what to change."""
    try:
        run.advance()
    except torch.linalg.LinAlgError:
        raise FloatingPointError(f"step {run.step}: a covariance is not positive definite; {run.advice()}") from None
    except (RuntimeError, MemoryError) as error:
        if not devices.out_of_memory(error):
            raise
        recipe, processes = run.recipe, run.accelerator.num_processes
        raise MemoryError(
            f"step {run.step}: out of memory on {run.device}, {recipe.batch // processes} rows of data a "
            f"process; {run.kept()}; use more processes, or a smaller --set batch (now {recipe.batch}), a smaller "
            f"--set width (now {recipe.width}), or --precision bf16"
        ) from None
