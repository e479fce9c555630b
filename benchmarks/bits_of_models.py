"""Bits per dimension of three models on the same held-out digits, and where along the noise they lie.

    python benchmarks/bits_of_models.py

- "bound": the book's digits model, trained on the bound, T = 200;
- "ddpm": the same network, trained by L_simple on DDPM's chain, T = 1000;
- "diffusers": a UNet2DModel with a DDPMScheduler, trained by the loop that its users write, on levels from -1 to 1,
  without dequantisation; saved as a pipeline, and read again by ``from_diffusers``. Three minutes of one core. With
  DPM_RUNS, the pipeline is kept there, and not trained again.

Each with the edge kernel, and with a last step on levels, from 100 network calls for each picture. Needs the extra
``diffusers``; no chapter does. Writes book/results/bits-of-models.json: for each way the bits with their split, and for
the edge kernel the bits a dimension of the steps, in bins between levels of noise, log tau in squared levels of grey.
"""

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import main, run_folder, write
from torch import Tensor

import dpm_lib
from dpm_lib.core import files, results
from dpm_lib.core.random import seeded
from dpm_lib.data.digit_features import digit_features
from dpm_lib.data.images import Images
from dpm_lib.data.registry import load
from dpm_lib.diffusion import sampled_bound
from dpm_lib.diffusion.last_step import LevelStep
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.interop import from_diffusers
from dpm_lib.probability import energy_distance
from dpm_lib.training.bits import BitsRun

COMMAND = "python benchmarks/bits_of_models.py"
STEPS, BATCH, RATE, WARMUP, EMA, WIDTHS = 1200, 128, 2e-3, 100, 0.995, (16, 32)
T, PICTURES, SAMPLES, CALLS, BINS = 1000, 297, 297, 100, 60
KEPT = ("bits_per_dimension", "bits_per_dimension_stderr", "prior_bits", "steps_bits", "last_bits", "calls")
MAIN = "edge"  # the last step whose steps are shown along the noise


def trained(folder: Path) -> dict[str, Any]:
    """Train a UNet2DModel on the digits, save its pipeline in ``folder``, and say how; or what was said before."""
    if (folder / "spent.json").exists():
        return files.load_json(folder / "spent.json")
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
    from diffusers.optimization import get_cosine_schedule_with_warmup
    from diffusers.training_utils import EMAModel

    torch.manual_seed(0)
    start = time.process_time()
    images = load("digits")
    clean = (images.train.float() / 8 - 1).reshape(-1, 1, 8, 8)
    unet = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=WIDTHS, layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    scheduler = DDPMScheduler(num_train_timesteps=T)
    optimiser = torch.optim.AdamW(unet.parameters(), RATE)
    rates = get_cosine_schedule_with_warmup(optimiser, WARMUP, STEPS)
    average = EMAModel(unet.parameters(), decay=EMA)
    for step in range(STEPS):
        x0 = clean[torch.randint(len(clean), (BATCH,))]
        noise, t = torch.randn_like(x0), torch.randint(T, (BATCH,))
        loss = (unet(scheduler.add_noise(x0, noise, t), t).sample - noise).square().mean()  # type: ignore[attr-defined]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimiser.step()
        rates.step()
        average.step(unet.parameters())
        if step % 100 == 0:
            print(step, float(loss.detach()), round(time.process_time() - start), flush=True)
    average.copy_to(unet.parameters())
    DDPMPipeline(unet, scheduler).save_pretrained(folder)
    spent = {
        "parameters": sum(p.numel() for p in unet.parameters()), "steps": STEPS, "batch": BATCH, "rate": RATE,
        "ema": EMA, "cpu_seconds": round(time.process_time() - start, 1),
    }  # fmt: skip
    files.save_json(folder / "spent.json", spent)
    return spent


def variants(images: Images, folder: Path) -> dict[str, dict[str, DiffusionModel]]:
    """All ways to read the three models, by name: the last step first."""
    centres = (torch.arange(images.levels, dtype=torch.float64) + 0.5 - images.mean) / images.std
    found = {}
    for name, file in (("bound", "digits"), ("ddpm", "digits-ddpm")):
        model, _ = dpm_lib.load_model(results.path(f"{file}.safetensors"))
        found[name] = {"edge": model, "levels": DiffusionModel(model.kernel, model.reverse, LevelStep(centres))}
    ways: dict[str, dict[str, Any]] = {
        "edge": {}, "edge, clipped": {"clip": 1.0}, "edge, fixed_large": {"variance": "fixed_large"},
        "levels": {"last": "levels"}, "levels, clipped": {"last": "levels", "clip": 1.0},
    }  # fmt: skip
    found["diffusers"] = {
        way: from_diffusers(folder, **{"clip": None, "count": images.levels, **settings})
        for way, settings in ways.items()
    }
    return found


def measured(model: DiffusionModel, pictures: Tensor, units: dict[str, Any]) -> dict[str, Any]:
    """Bits with their split, and the steps in BINS bins: their ends as log tau in squared levels, and bits each."""
    run = BitsRun(model, pictures, units, CALLS, seed=1)
    run.edges = sampled_bound.bins(model.T, BINS)
    report = run.report([run.measure(number) for number in run.parts])
    log_tau = model.schedule.log_tau[run.edges - 1] + 2 * math.log(run.std)
    return {
        **{key: report[key] for key in KEPT},
        "log_tau": [float(f"{value:.6g}") for value in log_tau],
        "steps": [float(f"{bits:.5g}") for *_, bits in report["along"]],
    }


def samples(model: DiffusionModel, images: Images, units: dict[str, Any]) -> dict[str, float]:
    """The energy distance of samples on levels, dequantised, to all held-out digits, in features of a classifier."""
    x, see = model.sample(SAMPLES, seeded(1000)), digit_features()
    inside = torch.rand(x.shape, generator=seeded(7), dtype=x.dtype) - 0.5
    states = (x * units["std"] + units["mean"] + inside - images.mean) / images.std
    mean, error = energy_distance.of_all_pairs(see(states), see(images.held_out()))
    return {"mean": mean, "stderr": error}


def measure() -> None:
    """All models, all ways."""
    images = load("digits")
    pictures, record = images.test[:PICTURES], {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = run_folder("bits-diffusers", scratch)
        spent = trained(folder)
        for name, ways in variants(images, folder).items():
            units = {**images.record(), **ways[MAIN].data_set} if name == "diffusers" else images.record()
            row: dict[str, Any] = {"T": ways[MAIN].T, "last": MAIN, "std": float(units["std"]), "ways": {}}
            for way, model in ways.items():
                found = measured(model, pictures, units)
                curve = {key: found.pop(key) for key in ("log_tau", "steps")}
                row["ways"][way] = found
                row |= {**found, **curve} if way == MAIN else {}
                print(name, way, {key: round(value, 4) for key, value in found.items()}, flush=True)
            if name == "diffusers":  # those of the others are in objectives-digits.json
                row["energy_distance"] = samples(ways["levels"], images, units)
            print(name, {key: row[key] for key in row if key not in ("log_tau", "steps", "ways")}, flush=True)
            record[name] = row
    record["diffusers"] |= {"trained": spent}
    import diffusers

    facts = {"pictures": len(pictures), "dimensions": images.dim, "levels": images.levels, "samples": SAMPLES}
    write("bits-of-models", {**facts, "models": record}, COMMAND, diffusers=diffusers.__version__)


if __name__ == "__main__":
    main({"models": measure})
