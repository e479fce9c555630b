"""The bound and DDPM's loss on one network: what each is worth in K, and in samples, over five seeds.

    OMP_NUM_THREADS=1 python benchmarks/objectives.py [roll|digits-simple|bound|score|flow|2015-SEED ...]

Model by model and seed by seed (about four minutes of one core for digits, one or two for the roll):

    roll      swiss-roll (the bound, full covariance, learned schedule), and on DDPM's chain the bound, score, simple,
              and flow matching
    digits    digits (the bound, covariance by levels), and on DDPM's chain the bound, score, simple

"score" has nearly the weights of the bound, and draws times even in log tau: so it tells what the bound's weights do
from what its noisy estimate does, where times are even in t.

Writes book/results/objectives-roll.json and objectives-digits.json from all seeds that are done, and the model
digits-ddpm.safetensors. With DPM_RUNS, what is done is kept there, and not done again.

K is on held-out data, with the variance of the step back fixed small, fixed large, and the best one number for each
step, by the errors on training data; ``below`` tells what the steps 2..t cost of it, in bits, with the small one.
Samples are judged by their energy distance to held-out data: the roll in the plane, digits in a classifier's features.
"""

import math
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import common
import torch
from torch import Tensor

from dpm_lib.core import files, results
from dpm_lib.core.constants import LN2
from dpm_lib.core.random import seeded
from dpm_lib.core.standard_error import stderr
from dpm_lib.data.digit_features import digit_features
from dpm_lib.data.images import Images
from dpm_lib.diffusion import bound, reverse_variances
from dpm_lib.diffusion.dequantised_kernel import LevelReverse
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.reverse_kernels import GaussianReverse
from dpm_lib.probability import energy_distance
from dpm_lib.training import build, catalogue, checkpoints, loop
from dpm_lib.training.evaluation import evaluate

SEEDS = 5
MODELS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "roll": {
        "simple": ("swiss-roll-ddpm", {}),
        "bound": ("swiss-roll-ddpm", {"objective": "bound"}),
        "score": ("swiss-roll-ddpm", {"objective": "score"}),
        "flow": ("swiss-roll-ddpm", {"objective": "flow"}),
        "2015": ("swiss-roll", {}),
    },
    "digits": {
        "simple": ("digits-ddpm", {}),
        "bound": ("digits-ddpm", {"objective": "bound"}),
        "score": ("digits-ddpm", {"objective": "score"}),
        "2015": ("digits", {}),
    },
}
POINTS = {"roll": 2000, "digits": 297}  # held out, for K
FITTED = {"roll": 2000, "digits": 100}  # of the training data, for the best variance
SAMPLES = {"roll": 4000, "digits": 297}
SAMPLED = {"roll": ("fixed_small", "fixed_large"), "digits": ("fixed_small",)}  # variances that samples are drawn with
LEVELS = 40  # of noise that the record shows, of a thousand


def units(data: Any, K: Tensor) -> dict[str, float]:
    """Mean and standard error of K (n,), nats: bits a point of the roll, of digits minus bits a pixel."""
    bits = -data.bits_per_dimension(K) if isinstance(data, Images) else (K - data.log_scale) / LN2
    return {"mean": float(bits.mean()), "stderr": stderr(bits)}


def distance(kind: str, x: Tensor, data: Any) -> dict[str, float]:
    """The energy distance of samples x (n, d) to as many held-out data, or to all digits that are."""
    if kind == "digits":
        see = digit_features()
        mean, error = energy_distance.of_all_pairs(see(x), see(data.held_out()))
    else:
        mean, error = energy_distance.of_all_pairs(x, data.held_out(len(x), seed=17))
    return {"mean": mean, "stderr": error}


def with_variance(model: DiffusionModel, covariance: str) -> DiffusionModel:
    """The same network and chain, another variance of the step back."""
    kernel: Any = model.kernel
    return DiffusionModel(kernel, GaussianReverse(model.reverse.network, kernel, covariance))  # type: ignore[arg-type]


def on_its_chain(kind: str, model: DiffusionModel, data: Any, seed: int) -> dict[str, Any]:
    """A model of the covariance form "posterior": K with three variances, errors level by level, and samples."""
    generator, schedule, dim = seeded(seed), model.schedule, data.dim
    held_out = data.held_out(POINTS[kind], seed)
    errors = reverse_variances.squared_errors(model, held_out, generator)
    fitted = reverse_variances.squared_errors(model, data.batch(FITTED[kind], generator), generator).mean(1)
    best = reverse_variances.best(schedule, fitted, dim)
    variances = {"fixed_small": reverse_variances.small(schedule), "fixed_large": reverse_variances.large(schedule)}
    prior, edge, entropy_T, entropy_1 = bound.ends(model.kernel, held_out)
    record: dict[str, Any] = {"K": {}, "energy_distance": {}}
    for name, variance in (variances | {"best": best}).items():
        kl = reverse_variances.cost(schedule, errors, dim, variance).sum(0)
        record["K"][name] = units(data, prior + edge + entropy_T - entropy_1 - kl)
    costs = reverse_variances.cost(schedule, errors, dim, variances["fixed_small"]).mean(1).cumsum(0) / LN2
    log_tau = schedule.log_tau
    marks = torch.linspace(float(log_tau[2]), float(log_tau[-1]), LEVELS, dtype=torch.float64)
    steps = sorted({int((log_tau - mark).abs().argmin()) for mark in marks})
    record["levels"] = [
        {
            "t": t,
            "log_tau": round(float(log_tau[t]), 4),
            "error": float(errors[t].mean()),
            "stderr": stderr(errors[t]),
            "trained": float(fitted[t]),
            "below": float(costs[t]),
        }
        for t in steps
    ]
    for name in SAMPLED[kind]:
        form = "posterior" if name == "fixed_small" else name
        x = with_variance(model, form).sample(SAMPLES[kind], seeded(1000 + seed))
        record["energy_distance"][name] = distance(kind, x, data)
    return record


def one(kind: str, which: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train a model, and measure it; or what was measured before."""
    done = folder / "measured.json"
    if done.exists():
        return files.load_json(done)
    base, settings = MODELS[kind][which]
    recipe = catalogue.get(base).override(**settings)
    data, start = build.load_data(recipe), time.process_time()
    if not (folder / "model.safetensors").exists():
        evaluation, resumed = loop.evaluate, (folder / "config.json").exists()
        loop.evaluate = lambda *_, **__: {}  # it is measured below
        try:
            loop.fit(recipe, seed, folder, "cpu", resume=resumed, progress=False)
        finally:
            loop.evaluate = evaluation
        spent = None if resumed else round(time.process_time() - start, 1)
        files.save_json(folder / "spent.json", {"cpu_seconds": spent})
        if (kind, which, seed) == ("digits", "simple", 0):
            content = (folder / "model.safetensors").read_bytes()
            files.write_atomically(results.folder() / "digits-ddpm.safetensors", content)
    model, _ = checkpoints.load_model(folder / "model.safetensors")
    record: dict[str, Any] = {"seed": seed, **files.load_json(folder / "spent.json")}
    if which == "2015":
        found = evaluate(model, data, POINTS[kind], seed)
        key, sign = ("bits_per_dimension", -1) if kind == "digits" else ("bound_bits", 1)
        record["K"] = {"learned": {"mean": sign * found[key], "stderr": found[f"{key}_stderr"]}}
        x = model.sample(SAMPLES[kind], seeded(1000 + seed))
        record["energy_distance"] = {"learned": distance(kind, x, data)}
    else:
        record |= on_its_chain(kind, model, data, seed)
    files.save_json(done, record)
    return record


def over_seeds(runs: list[dict[str, Any]], *keys: str) -> dict[str, Any]:
    """Mean and standard error over the seeds of a number that has a mean for each."""
    found = []
    for run in runs:
        for key in keys:
            run = run[key]
        found.append(run["mean"])
    values = torch.tensor(found, dtype=torch.float64)
    return {"mean": float(values.mean()), "stderr": stderr(values) if len(values) > 1 else None, "each": found}


def summary(kind: str, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """All seeds of all models, in one record."""
    record: dict[str, Any] = {"about": f"{kind}: the bound, score and simple, at equal steps; K in bits", "models": {}}
    paired = [{run["seed"] for run in each} for each in runs.values() if "levels" in each[0]]
    common = set.intersection(*paired) if paired else set()
    for which, each in runs.items():
        base, settings = MODELS[kind][which]
        recipe = catalogue.get(base).override(**settings)
        entry: dict[str, Any] = {
            "recipe": base,
            "objective": recipe.objective,
            "T": recipe.T,
            "steps": recipe.steps,
            "batch": recipe.batch,
            "seeds": [run["seed"] for run in each],
            "cpu_seconds": [run["cpu_seconds"] for run in each],
        }
        for key in ("K", "energy_distance"):
            entry[key] = {name: over_seeds(each, key, name) for name in each[0][key]}
        if "levels" in each[0] and common:  # of the same seeds, so that they can be compared
            levels = zip(*(run["levels"] for run in each if run["seed"] in common), strict=True)
            entry["levels"] = [_level(list(parts)) for parts in levels]
        record["models"][which] = entry
    data = build.load_data(catalogue.get(MODELS[kind]["2015"][0]))
    fresh = data.batch(SAMPLES[kind], seeded(5))
    record["energy_distance_of_training_data"] = distance(kind, fresh, data)
    record |= {"points": POINTS[kind], "fitted": FITTED[kind], "samples": SAMPLES[kind], "dim": data.dim}
    return record


def _level(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One level of noise over all seeds: means, and the standard error of the error over points and seeds."""
    n = len(parts)
    record: dict[str, Any] = {"t": parts[0]["t"], "log_tau": parts[0]["log_tau"]}
    means = {key: sum(part[key] for part in parts) / n for key in ("error", "trained", "below")}
    within = sum(part["stderr"] ** 2 for part in parts) / n**2
    return record | {key: float(f"{value:.6g}") for key, value in (means | {"stderr": math.sqrt(within)}).items()}


def measure(kind: str, which: str, seed: int) -> None:
    """One seed of one model, and the record of all that are done."""
    with tempfile.TemporaryDirectory() as scratch:

        def place(name: str, s: int) -> Path:
            return common.run_folder(f"objectives-{kind}-{name}-{s}", scratch)

        one(kind, which, seed, place(which, seed))
        done = {
            name: [files.load_json(file) for s in range(SEEDS) if (file := place(name, s) / "measured.json").exists()]
            for name in MODELS[kind]
        }
        record = summary(kind, {name: each for name, each in done.items() if each})
        common.write(f"objectives-{kind}", record, "python benchmarks/objectives.py")


def measure_chain() -> None:
    """K of the book's digits model on its own chain and on DDPM's, which its network was not trained for."""
    model, recipe = checkpoints.load_model(results.path("digits.safetensors"))
    data, record = build.load_data(recipe), {}
    assert isinstance(data, Images)
    x0, reverse = data.held_out(POINTS["digits"]), model.reverse
    ddpm = GaussianKernel(data.dim, build.build(catalogue.get("digits-ddpm"), dim=data.dim).schedule)
    other = DiffusionModel(ddpm, LevelReverse(reverse.network, ddpm, reverse.edges))  # type: ignore[arg-type]
    for name, judged in (("own", model), ("ddpm", other)):
        record[name] = units(data, bound.terms(judged, x0, seeded(0)).K)
    whole = {"about": "digits.safetensors: K in bits a pixel, on two chains", "K": record, "points": len(x0)}
    common.write("objectives-digits-chain", whole, "python benchmarks/objectives.py chain")


def main() -> None:
    """Measure the models and seeds named, or all of them, seed by seed."""
    jobs: dict[str, Any] = {
        f"{kind}-{which}-{seed}": partial(measure, kind, which, seed)
        for seed in range(SEEDS)
        for kind, models in MODELS.items()
        for which in models
    }
    common.main(jobs | {"chain": measure_chain})


if __name__ == "__main__":
    main()
