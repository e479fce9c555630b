"""Training: ascend the bound K by stochastic gradient, with all times in every batch.

One loop for one CPU, one GPU or several processes (through Accelerate). ``run`` holds what one step is and what is
kept; here are the order of things, the files, and what is said when something goes wrong.
"""

import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from dpm_lib import devices, interruption
from dpm_lib.checkpoints import remove_temporaries, save_json, save_model
from dpm_lib.course import WARM, Course, Estimate, check_tensorboard
from dpm_lib.data import Data
from dpm_lib.diffusion import DiffusionModel
from dpm_lib.evaluation import evaluate
from dpm_lib.recipes import Recipe
from dpm_lib.run import Run

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
    data: Data | None = None,
    tensorboard: bool = False,
) -> tuple[DiffusionModel, dict[str, Any]]:
    """Train ``recipe``, on its own data or on ``data``; returns the averaged model and its metrics (``evaluate``).

    Where the recipe looks at validation images, it is the average that was best on them: ``kept_step`` in the metrics.

    With a ``folder``, writes config.json, metrics.jsonl (the course of training), checkpoint.safetensors,
    model.safetensors and metrics.json there, and samples/ if the recipe asks for them. ``resume`` goes on from the
    folder's checkpoint. On Ctrl-C a checkpoint is saved before KeyboardInterrupt is raised. FloatingPointError where
    the bound is no longer finite, MemoryError where memory runs out, OSError where a file cannot be written: all say
    what to change, and the last good checkpoint is kept.
    """
    folder = None if folder is None else Path(folder)
    if tensorboard:
        check_tensorboard(folder)
    run = Run(recipe, seed, device, folder, data)
    main = run.accelerator.is_main_process
    if resume:
        run.load_checkpoint()
    if folder is not None and main:
        folder.mkdir(parents=True, exist_ok=True)
        remove_temporaries(folder)
        save_json(folder / "config.json", {"recipe": recipe.to_dict(), "seed": seed})
    course = Course(folder if main else None, run.step, tensorboard and main)
    try:
        _train(run, course, progress and main)
    finally:
        course.close()
    run.save_checkpoint()
    model = run.kept_model()
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
        save_model(folder / "model.safetensors", model, recipe, seed=seed, steps=run.step, data_set=run.data_set)
        save_json(folder / "metrics.json", metrics)
    return model, metrics


def steps_within(minutes: float, recipe: Recipe, device: str = "auto", data: Data | None = None) -> int:
    """How many steps of ``recipe`` this machine takes in so many minutes: by PACED of them, after WARM to compile.

    At least 1, and the same number in every process. Checkpoints, samples and the evaluation come on top. ValueError
    where ``minutes`` is not positive.
    """
    if not 0 < minutes < math.inf:
        raise ValueError(f"minutes: {minutes} is not positive, or not finite")
    run = Run(recipe, 0, device, data=data)
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
            looked = {"validation_bits": run.look()} if look else {}
            run.seconds = before + time.perf_counter() - start
            if log or look:
                bound_bits = sum(run.recent) / len(run.recent)
                run.recent.clear()
                bar.set_postfix_str(f"K = {bound_bits:.3f} bits")
                course.add(run.step, bound_bits=bound_bits, **looked, seconds=round(run.seconds, 3))
            if run.step % recipe.checkpoint_every == 0:
                run.save_checkpoint()
            if recipe.sample_every and run.step % recipe.sample_every == 0:
                run.save_samples()
            if (words := estimate.words(run.step)) and progress:
                bar.write(f"{recipe.name}: {words}", file=sys.stderr)
            if run.accelerator.num_processes == 1 or last or run.step % AGREE_EVERY == 0:
                stop = run.any(bool(signals))
        if stop:
            run.save_checkpoint()
    if stop:
        raise KeyboardInterrupt


def _bar(run: Run, progress: bool) -> tqdm:
    recipe = run.recipe
    return tqdm(total=recipe.steps, initial=run.step, disable=not progress, desc=recipe.name, unit="step")


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
