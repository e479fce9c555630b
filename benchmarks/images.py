"""Train the image recipes that fit on a CPU, and measure what the book quotes of them.

    OMP_NUM_THREADS=1 python benchmarks/images.py [NAME ...]

Writes book/results/NAME.json, with the baselines on the same data, and NAME.safetensors, for each run below.
With DPM_RUNS, the folder of each run is kept there, and one that was interrupted goes on.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import common
import torch

from dpm_lib.core import files, results
from dpm_lib.core.constants import LN2
from dpm_lib.core.random import seeded
from dpm_lib.core.standard_error import stderr
from dpm_lib.data import image_baselines
from dpm_lib.data.images import Images
from dpm_lib.data.registry import load
from dpm_lib.diffusion import bound, schedules
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.training import build, catalogue, checkpoints, costs, loop
from dpm_lib.training.catalogue import IMAGE_RECIPES
from dpm_lib.training.recipe import Recipe
from dpm_lib.training.trainer import Run

RUNS = (
    "digits",
    "textures-small",
    "dead-leaves-small",
    "dead-leaves-paper-small",
    "mnist-5k-small",
    "mnist-5k-long",
)
TINY = {"T": 12, "width": 8, "batch": 64, "lr": 0.02}


def measure(name: str) -> None:
    """Train one run; write its metrics with provenance, its course, and its weights."""
    recipe = catalogue.get(name)
    command = f"python benchmarks/images.py {name}"

    def baselines(metrics: dict[str, Any]) -> dict[str, Any]:
        return {"baselines": image_baselines.baselines(build.load_data(recipe), metrics["held_out"])}  # type: ignore[arg-type]

    common.train(name, recipe, command, course_every=1, keep_model=True, more=baselines)


def measure_baselines(name: str) -> None:
    """The baselines of a run that is on record, anew; nothing is trained."""
    path = results.folder() / f"{name}.json"
    record, data = files.load_json(path), build.load_data(catalogue.get(name))
    record["baselines"] = image_baselines.baselines(data, record["held_out"])  # type: ignore[arg-type]
    record["baselines_provenance"] = results.provenance(f"python benchmarks/images.py {name}-baselines")
    files.save_json(path, record)


def measure_steps() -> None:
    """The digits' network, trained with T = 200, in chains of other lengths; and where its 200 steps spend bits."""
    model, recipe = checkpoints.load_model(results.path("digits.safetensors"))
    data = load("digits")
    assert isinstance(data, Images)
    rows, spent = [], []
    for T in (12, 25, 50, 100, 200, 400):
        schedule = schedules.geometric(T, recipe.beta_1, recipe.tau_T)
        kernel = GaussianKernel(data.dim, schedule)
        terms = bound.terms(DiffusionModel(kernel, model.reverse), data.held_out(), seeded(0))
        bits = data.bits_per_dimension(terms.K)
        rows.append({"T": T, "bits_per_dimension": float(bits.mean()), "stderr": stderr(bits)})
        if T == recipe.T:
            spent = [float(f"{v:.5g}") for v in (terms.kl.mean(1) / data.dim / LN2).tolist()]
            ends = data.bits_per_dimension(terms.K + terms.kl.sum(0))
    record = {"rows": rows, "kl_bits_per_dimension": spent, "ends_bits_per_dimension": float(ends.mean())}
    common.write("digits-steps", record, "python benchmarks/images.py digits-steps")


def measure_longer(steps: int = 4000, every: int = 500, n: int = 200) -> None:
    """The digits' network, trained four times as long as its recipe says: K on n training digits and on n held-out ones
    along the way, always with the same noise."""
    recipe = catalogue.get("digits").override(steps=steps)
    data, rows = load("digits"), []
    assert isinstance(data, Images)
    seen = data.batch(n, seeded(0))
    for step, model in common.watched(recipe, range(every, steps + 1, every)):
        row: dict[str, float] = {"step": step}
        for name, x0 in (("training", seen), ("held_out", data.held_out(n, 0))):
            bits = data.bits_per_dimension(bound.terms(model, x0, seeded(0)).K)
            row |= {name: float(bits.mean()), f"{name}_stderr": stderr(bits)}
        rows.append(row)
        print(row, flush=True)
    record = {"rows": rows, "n": n, "steps_of_the_recipe": catalogue.get("digits").steps}
    common.write("digits-longer", record, "python benchmarks/images.py digits-longer")


def measure_levels() -> None:
    """Two readouts, trained for 40 steps and for 400: the last exercise of "Training the full model"."""
    rows = []
    for steps in (40, 400):
        for covariance in ("levels", "diagonal"):
            recipe = catalogue.get("digits").override(**TINY, steps=steps, covariance=covariance)
            runs = [loop.fit(recipe, seed, device="cpu", progress=False)[1] for seed in range(3)]
            bits = torch.tensor([run["bits_per_dimension"] for run in runs]).double()
            found = {"bits_per_dimension": float(bits.mean()), "stderr": stderr(bits), "seeds": bits.tolist()}
            rows.append({"steps": recipe.steps, "covariance": covariance, **found})
    common.write("digits-levels", {"rows": rows}, "python benchmarks/images.py digits-levels")


def measure_costs() -> None:
    """What the recipes cost, counted: see ``costs``. For the small ones also what a training step takes, measured:
    bytes at its peak, and processor seconds on this machine.
    """
    rows = {}
    for name in IMAGE_RECIPES:
        recipe = catalogue.get(name)
        settings = {key: getattr(recipe, key) for key in ("side", "channels", "T", "batch", "steps", "precision")}
        rows[name] = asdict(costs.count(recipe)) | settings
        if name in RUNS:
            seconds = round(_step_seconds(recipe), 4)
            rows[name] |= {"cpu_seconds_per_step": seconds, "peak_bytes": costs.measured_peak(recipe)}
    common.write("image-costs", {"rows": rows}, "python benchmarks/images.py image-costs")


def _step_seconds(recipe: Recipe, steps: int = 5) -> float:
    run = Run(recipe, 0, "cpu")
    run.advance()
    start = time.process_time()
    for _ in range(steps):
        run.advance()
    return (time.process_time() - start) / steps


def main() -> None:
    """Measure the runs named, or all of them."""
    jobs: dict[str, Callable[[], None]] = {name: partial(measure, name) for name in RUNS}
    jobs |= {"digits-steps": measure_steps, "digits-longer": measure_longer}
    jobs |= {"digits-levels": measure_levels, "image-costs": measure_costs}
    again = {f"{name}-baselines": partial(measure_baselines, name) for name in RUNS}
    common.main(jobs | again, usual=jobs)


if __name__ == "__main__":
    main()
