"""Flow matching, the bound and DDPM's loss on one network: the roll by its flow, and drawn with few calls.

    OMP_NUM_THREADS=1 python benchmarks/straight.py [SEED ...]      # about eight minutes of one core a seed

The models are those of benchmarks/objectives.py: swiss-roll-ddpm, at equal steps and rows, on DDPM's chain. With
DPM_RUNS, they are trained once for both, and what is done is not done again. Writes book/results/straight-roll.json.

Of each model, on held-out points: K of the chain, with the best variance of each step; the mean log-likelihood of its
probability flow, at the least noise of the chain, for points that have this noise; and both less what they are for the
roll itself, whose density is known. Samples are judged by their energy distance to held-out points. All in bits.
"""

import tempfile
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import common
import objectives
import torch
from torch import Tensor
from torch.distributions import Normal

from dpm_lib.core import files
from dpm_lib.core.constants import LN2
from dpm_lib.core.random import seeded
from dpm_lib.core.standard_error import stderr
from dpm_lib.diffusion import probability_flow, samplers
from dpm_lib.diffusion.tweedie import Denoiser
from dpm_lib.diffusion.variance_exploding import falling_times
from dpm_lib.probability import energy_distance
from dpm_lib.training import build, catalogue, checkpoints

WHICH = ("flow", "bound", "simple")
POINTS, SAMPLES, CALLS = 2000, 5000, (4, 8, 16, 40)
STEPS, BENDS = 400, 200  # of the flow: for the likelihood (and half as many, for its error), and for how it bends
WAYS = {  # sampler and clock
    "Euler on the straight path": ("ddim", "straight"),
    "ddim": ("ddim", "log tau"),
    "heun": ("heun", "karras"),
    "dpm-solver-2m": ("dpm-solver-2m", "log tau"),
    "ancestral": ("ancestral", "steps"),
}


def by_flow(model: Any, target: Any, x0: Tensor, generator: torch.Generator) -> dict[str, Any]:
    """Bits of points x0 (n, d) with the noise tau_1, by the model's flow and by the roll's own density."""
    tau = model.schedule.tau
    first, last = float(tau[1]), float(tau[-1])
    z = x0 + first**0.5 * torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    end = Normal(torch.zeros(()).double(), (1 + last) ** 0.5)  # of a whitened law, without its shape
    score, times = Denoiser(model).score, falling_times(last, first, STEPS).flip(0)
    bits = [
        probability_flow.log_likelihood(score, z, levels, lambda z: end.log_prob(z).sum(-1)) / LN2
        for levels in (times, times[::2])
    ]
    exact = target.log_prob(z, first) / LN2
    return {
        "bits": {"mean": float(bits[0].mean()), "stderr": stderr(bits[0])},
        "missing": {"mean": float((exact - bits[0]).mean()), "stderr": stderr(exact - bits[0])},
        "moved_by_half_the_steps": float((bits[1] - bits[0]).mean()),
    }


def drawn(model: Any, way: str, calls: int, held_out: Tensor, seed: int) -> dict[str, float]:
    """The energy distance of samples with so many calls to held-out points (m, d)."""
    name, clock = WAYS[way]
    x = samplers.draw(model, SAMPLES, seeded(seed), name, calls, clock)
    mean, error = energy_distance.of_all_pairs(x, held_out)
    return {"mean": mean, "stderr": error}


def bend(model: Any, seed: int) -> dict[str, float]:
    """How far the straight path's flow is from straight: the mean of |u - (x_1 - x_0)|^2 over paths and times."""
    levels, n = samplers.levels_of(model.schedule, BENDS, "straight"), 1000
    s = torch.sigmoid(0.5 * model.schedule.log_tau)
    scale = 1 / (model.schedule.alpha_bar.sqrt() * (1 + model.schedule.tau.sqrt()))  # from x_t to (1 - s) x_0 + s eps
    x = model.kernel.prior.expand(n).sample(seeded(seed))
    places = [x * scale[levels[0]]]
    samplers.ddim(model, x, levels, callback=lambda i, t, r, x, guess: places.append(x * scale[r]))
    chord = (places[0] - places[-1]) / (s[levels[0]] - s[0])
    total = torch.zeros(n, dtype=torch.float64)
    for (t, r), (x_t, x_r) in zip(pairwise(levels), pairwise(places), strict=True):
        width = s[t] - s[r]
        total += width * ((x_t - x_r) / width - chord).square().sum(-1)
    return {"mean": float(total.mean()), "stderr": stderr(total)}


def one(which: str, seed: int, folder: Path) -> dict[str, Any]:
    """One model of one seed, measured; or what was measured before."""
    done = folder / "straight.json"
    if done.exists():
        return files.load_json(done)
    before = objectives.one("roll", which, seed, folder)
    model, recipe = checkpoints.load_model(folder / "model.safetensors")
    data = build.load_data(recipe)
    exact = data.target.log_prob(data.held_out(POINTS, seed), 0.0) / LN2
    K = before["K"]["best"]["mean"] + data.log_scale / LN2
    record = {"seed": seed, "cpu_seconds": before["cpu_seconds"], "K": before["K"]["best"]}
    record["K_missing"] = {"mean": float(exact.mean()) - K}
    record["flow"] = by_flow(model, data.target, data.held_out(POINTS, seed), seeded(100 + seed))
    record["bend"] = bend(model, 200 + seed)
    held_out = data.held_out(SAMPLES, seed=17)
    record["energy_distance"] = {
        way: {str(calls): drawn(model, way, calls, held_out, 1000 + seed) for calls in CALLS} for way in WAYS
    }
    files.save_json(done, record)
    return record


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """All seeds of all models, in one record."""
    recipe = catalogue.get("swiss-roll-ddpm")
    record: dict[str, Any] = {"recipe": recipe.name, "T": recipe.T, "steps": recipe.steps, "batch": recipe.batch}
    record |= {"points": POINTS, "samples": SAMPLES, "calls": list(CALLS), "ways": WAYS, "models": {}}
    for which, each in runs.items():
        entry: dict[str, Any] = {key: [run[key] for run in each] for key in ("seed", "cpu_seconds")}
        for key in ("K", "K_missing", "bend"):
            entry[key] = objectives.over_seeds(each, key)
        for key in ("bits", "missing"):
            entry[f"flow_{key}"] = objectives.over_seeds(each, "flow", key)
        entry["flow_moved_by_half_the_steps"] = [run["flow"]["moved_by_half_the_steps"] for run in each]
        entry["energy_distance"] = {
            way: [objectives.over_seeds(each, "energy_distance", way, str(calls)) for calls in CALLS] for way in WAYS
        }
        record["models"][which] = entry
    data = build.load_data(recipe)
    mean, error = energy_distance.of_all_pairs(data.batch(SAMPLES, seeded(5)), data.held_out(SAMPLES, seed=17))
    return record | {"energy_distance_of_fresh_data": {"mean": mean, "stderr": error}}


def measure(seed: int) -> None:
    """One seed of all models, and the record of all that are done."""
    with tempfile.TemporaryDirectory() as scratch:

        def place(which: str, seed: int) -> Path:
            return common.run_folder(f"objectives-roll-{which}-{seed}", scratch)

        for which in WHICH:
            one(which, seed, place(which, seed))
        seeds = range(objectives.SEEDS)
        runs = {
            which: [files.load_json(f) for s in seeds if (f := place(which, s) / "straight.json").exists()]
            for which in WHICH
        }
        common.write("straight-roll", summary(runs), "python benchmarks/straight.py")


def main() -> None:
    """Measure the seeds named, or all of them."""
    common.main({str(seed): partial(measure, seed) for seed in range(objectives.SEEDS)})


if __name__ == "__main__":
    main()
