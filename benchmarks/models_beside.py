"""Small diffusion models beside smalldiffusion and denoising-diffusion-pytorch, for equal processor time.

    python benchmarks/models_beside.py [roll] [digits]      # about ten minutes of one core

Ours is trained by its recipe, then theirs for as many processor seconds on one thread, by its own loop with its usual
network, at the best of three rates of learning (tried for a sixth of the time each, judged by their bound). Their
bound is that of ``from_denoiser``, with the better of the two fixed variances; samples of the roll, by their sampler at
100 calls and by our chain at its T, are judged by the energy distance to held-out points. A UNet2DModel of diffusers on
the digits is in bits-of-models.json. Writes book/results/models-beside.json.
"""

import math
import time
from typing import Any

import common
import peer
import torch

from dpm_lib.core import results
from dpm_lib.core.files import load_json
from dpm_lib.core.random import seeded
from dpm_lib.core.standard_error import stderr
from dpm_lib.data import load
from dpm_lib.probability import energy_distance
from dpm_lib.training import catalogue
from dpm_lib.training.bits import BitsRun
from dpm_lib.training.trainer import Run

POINTS, TRAINED_ON, RATES, TRIED = 2000, 100_000, (1e-3, 3e-3, 1e-2), 1 / 6
PICTURES, CALLS = 297, 100


def trained(name: str) -> tuple[Any, float]:
    """The averaged model of a recipe, and the processor seconds of its training."""
    recipe = catalogue.get(name)
    start, run = time.process_time(), Run(recipe, 0, "cpu")
    while run.step < recipe.steps:
        run.advance()
    return run.averaged_model(), time.process_time() - start


def best_rate(other: peer.Peer, seconds: float, score: Any, request: dict[str, Any]) -> float:
    """The rate whose model has the best score after a short training."""
    scores = {lr: score(other.ask(seed=1, seconds=TRIED * seconds, lr=lr, **request)[0]) for lr in RATES}
    print(other.name, scores, flush=True)
    return max(scores, key=scores.__getitem__)


def roll() -> dict[str, Any]:
    data, record = load("swiss-roll"), {}
    x0 = data.held_out(POINTS, 3)
    best = data.target.log_prob(x0) / math.log(2)

    def gap(elbo: torch.Tensor) -> dict[str, float]:
        apart = best - (elbo - data.log_scale) / math.log(2)
        return {"gap_bits": float(apart.mean()), "gap_bits_stderr": stderr(apart)}

    def distance(x: torch.Tensor) -> list[float]:
        return list(energy_distance.of_all_pairs(x.double(), x0))

    model, seconds = trained("swiss-roll")
    record["ours"] = gap(model.trajectory_weights(x0, 1, seeded(1)).elbo) | {
        "cpu_seconds": round(seconds, 1),
        "parameters": sum(p.numel() for p in model.reverse.parameters()),
        "energy_distance": distance(model.sample(POINTS, seeded(2))),
    }
    record["fresh data"] = {"energy_distance": distance(data.held_out(POINTS, 4))}
    with peer.Peer("smalldiffusion") as other:
        request = {"points": TRAINED_ON, "held_out": x0.tolist()}

        def gaps(found: dict[str, Any]) -> dict[str, dict[str, float]]:
            return {variance: gap(torch.tensor(elbo)) for variance, elbo in found["bound"].items()}

        def score(found: dict[str, Any]) -> float:
            return -min(row["gap_bits"] for row in gaps(found).values())

        rate = best_rate(other, seconds, score, request)
        found, _ = other.ask(seed=0, seconds=seconds, lr=rate, **request)
        variance, row = min(gaps(found).items(), key=lambda pair: pair[1]["gap_bits"])
        record["smalldiffusion"] = row | {
            "variance": variance,
            "rate": rate,
            "cpu_seconds": round(seconds, 1),
            "steps": found["steps"],
            "parameters": found["parameters"],
            "energy_distance": distance(torch.tensor(found["samples, 100 calls"])),
            "versions": other.versions,
        }
    return record


def digits() -> dict[str, Any]:
    images = load("digits")
    model, seconds = trained("digits")
    run = BitsRun(model, images.test[:PICTURES], images.record(), CALLS, seed=1)
    report = run.report([run.measure(number) for number in run.parts])
    record: dict[str, Any] = {
        "ours": {
            "bits_per_dimension": [report["bits_per_dimension"], report["bits_per_dimension_stderr"]],
            "cpu_seconds": round(seconds, 1),
            "parameters": sum(p.numel() for p in model.reverse.parameters()),
        }
    }
    with peer.Peer("ddpm_pytorch") as other:

        def score(found: dict[str, Any]) -> float:
            return -min(bits for bits, _ in found["bits"].values())

        rate = best_rate(other, seconds, score, {"pictures": 30})
        found, _ = other.ask(seed=0, seconds=seconds, lr=rate, pictures=PICTURES)
        variance, bits = min(found["bits"].items(), key=lambda pair: pair[1])
        record["denoising-diffusion-pytorch"] = {
            "bits_per_dimension": bits,
            "variance": variance,
            "rate": rate,
            "cpu_seconds": round(seconds, 1),
            "steps": found["steps"],
            "parameters": found["parameters"],
            "versions": other.versions,
        }
    return record


def job(part: str, measure: Any) -> None:
    torch.set_num_threads(1)
    path = results.folder() / "models-beside.json"
    record = {key: value for key, value in (load_json(path) if path.exists() else {}).items() if key != "provenance"}
    try:
        record[part] = measure()
    except peer.Missing as missing:
        print(f"skipped: {missing}")
        return
    common.write("models-beside", record, "python benchmarks/models_beside.py")


if __name__ == "__main__":
    common.main({"roll": lambda: job("roll", roll), "digits": lambda: job("digits", digits)})
