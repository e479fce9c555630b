"""Four generative models of the swiss roll, trained alike: a GAN, VAEs of one and two rungs, a diffusion.

    OMP_NUM_THREADS=1 python benchmarks/ladder.py           # about six minutes on one core; five seeds
    OMP_NUM_THREADS=1 python benchmarks/ladder.py cold      # one minute: the VAE of one rung without its favour
    OMP_NUM_THREADS=1 python benchmarks/ladder.py seconds   # a quarter of a minute: what a training and a draw take
    OMP_NUM_THREADS=1 python benchmarks/ladder.py tune      # the learning rates, on another seed; prints only

Writes book/results/ladder.json and ladder.safetensors (pictures of the training, and the networks of seed 0); then,
as ``cold`` alone does, ladder-cold.json, for a VAE whose KL terms have their full weight from the start; and, as
``seconds`` does, ladder-seconds.json: the least processor time of a step and of a draw, taken in turns, so that what
else the machine does slows all of them alike.

**The budget** is counted in weight-passes: one weight used for one row of a batch is 1 forwards, and 2 more backwards.
All have about 12,000 weights, the same kind of network, batches of 256 fresh points, Adam, half a cosine, and averaged
weights. A step of a GAN passes over more rows than one of the others, so it takes fewer steps. They are also the
cheaper ones in seconds; "gan-long" has 2.5 times the budget, about the seconds of a VAE or a diffusion.

The seeds fix the rows on one processor only: training amplifies roundings.
"""

import copy
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import common
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from dpm_lib.core import files, results
from dpm_lib.core.constants import LN2
from dpm_lib.core.random import seeded
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.probability import energy_distance
from dpm_lib.probability.swiss_roll import SwissRoll
from dpm_lib.training import build, catalogue, objective
from dpm_lib.training.recipe import Recipe
from dpm_lib.training.trainer import Run
from dpm_lib.vae import gan, markovian_vae
from dpm_lib.vae.gaussian_vae import GaussianVAE

SEEDS = range(5)
BATCH = 256
BUDGET = 3 * 12_128 * BATCH * 2000  # weight-passes: 2000 steps of the one-rung VAE
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)  # of the budget, where pictures are taken
PICTURE, JUDGED, HELD_OUT = 300, 10_000, 20_000  # points
WEIGHED, PATHS = 500, 300  # held-out points, and the weights of each
ROUNDS = 12  # of timing
RATES = {"gan": 2e-3, "gan-long": 2e-3, "vae-1": 2e-2, "vae-2": 2e-2, "diffusion": 1e-2}
WIDTH = {"gan": 44, "vae-1": 44, "vae-2": 35, "diffusion": 66}
TARGET = SwissRoll(0.25)
Sampler = Callable[[int, torch.Generator], Tensor]


class Averaged:
    """A module beside the running average of its weights, as in ``trainer.Run``."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.average, self.step = module, copy.deepcopy(module).requires_grad_(False), 0

    def update(self) -> None:
        self.step += 1
        keep = min(0.999, self.step / (self.step + 9))
        for mine, theirs in zip(self.average.parameters(), self.module.parameters(), strict=True):
            mine.lerp_(theirs.detach(), 1 - keep)


def adam(module: nn.Module, momentum: float = 0.9) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), betas=(momentum, 0.99), fused=True)


def set_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = objective.learning_rate(recipe, step)


def weights(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


class VAE:
    """Maximises the ELBO; the weight of its KL terms rises from 0.02 to 1 in the first half, unless ``cold``."""

    def __init__(self, rungs: int, lr: float, seed: int, cold: bool = False) -> None:
        self.generator, self.calls, self.cold = seeded(seed), rungs, cold
        vae = GaussianVAE(2, 2, rungs, WIDTH[f"vae-{rungs}"], 3, self.generator)
        self.net, self.optimizer = Averaged(vae), adam(vae)
        self.weights = weights(vae)
        self.steps = BUDGET // (3 * self.weights * BATCH)
        self.recipe = replace(catalogue.get("swiss-roll"), lr=lr, steps=self.steps)

    def advance(self, step: int) -> None:
        set_rate(self.optimizer, self.recipe, step)
        y = TARGET.sample(BATCH, self.generator)
        terms = markovian_vae.terms(self.net.module, y, self.generator)  # type: ignore[arg-type]
        share = 1.0 if self.cold else min(1.0, 0.02 + 0.98 * 2 * step / self.steps)
        loss = -(terms.reconstruction - share * (terms.kl.sum(0) + terms.prior)).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.net.update()

    def ready(self) -> GaussianVAE:
        return self.net.average  # type: ignore[return-value]

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return markovian_vae.sample(self.ready(), n, generator)[0]


class GAN:
    """Goodfellow's game, with the generator's loss -log D: no likelihood, and no encoder."""

    def __init__(self, lr: float, seed: int, budget: float = BUDGET) -> None:
        self.generator, self.calls = seeded(seed), 1
        draw, judge = gan.networks(2, 2, WIDTH["gan"], 3, self.generator)
        self.net, self.judge = Averaged(draw), judge
        self.optimizers = adam(draw, 0.5), adam(judge, 0.5)
        self.weights = weights(draw, judge)
        a, b = weights(draw), weights(judge)
        self.steps = round(budget / ((a + 3 * 2 * b + 3 * a + 3 * b) * BATCH))
        self.recipe = replace(catalogue.get("swiss-roll"), lr=lr, steps=self.steps)

    def advance(self, step: int) -> None:
        draw, judge = self.net.module, self.judge
        for optimizer in self.optimizers:
            set_rate(optimizer, self.recipe, step)
        real = TARGET.sample(BATCH, self.generator)
        with torch.no_grad():
            fake = gan.draw(draw, BATCH, self.generator)  # type: ignore[arg-type]
        loss = softplus(-gan.judge(judge, real)).mean() + softplus(gan.judge(judge, fake)).mean()
        self._descend(1, loss)
        fake = gan.draw(draw, BATCH, self.generator)  # type: ignore[arg-type]
        self._descend(0, softplus(-gan.judge(judge, fake)).mean())
        self.net.update()

    def _descend(self, which: int, loss: Tensor) -> None:
        self.optimizers[which].zero_grad()
        loss.backward()
        self.optimizers[which].step()

    def ready(self) -> nn.Module:
        return self.net.average

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return gan.draw(self.ready(), n, generator)  # type: ignore[arg-type]


class Diffusion:
    """The recipe ``swiss-roll`` of the book, with smaller batches and fewer steps."""

    def __init__(self, lr: float, seed: int) -> None:
        recipe = replace(catalogue.get("swiss-roll"), width=WIDTH["diffusion"], batch=BATCH, lr=lr)
        self.weights = weights(build.build(recipe))
        self.steps = BUDGET // (3 * self.weights * BATCH)
        self.recipe, self.calls = replace(recipe, steps=self.steps), recipe.T - 1  # the edge step calls no network
        self.run = Run(self.recipe, seed, "cpu")

    def advance(self, step: int) -> None:
        self.run.advance()

    def ready(self) -> DiffusionModel:
        return self.run.averaged_model()

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.ready().sample(n, generator)


def make(name: str, lr: float, seed: int) -> Any:
    if name.startswith("gan"):
        return GAN(lr, seed, BUDGET if name == "gan" else 2.5 * BUDGET)
    return Diffusion(lr, seed) if name == "diffusion" else VAE(int(name[-1]), lr, seed)


def judged(sample: Sampler, n: int, seed: int) -> tuple[float, float]:
    """The energy distance to fresh data, and its standard error."""
    return energy_distance.estimate(sample(n, seeded(10_000 + seed)), TARGET.sample(n, seeded(20_000 + seed)))


def likelihood(name: str, model: Any, seed: int) -> dict[str, float]:
    """ELBO on held-out points, and on WEIGHED of them the log of a mean of PATHS weights, bits.

    Both are paired with the exact density of the same points. ``worst_bits`` is the most that one point lacks.
    """
    if name.startswith("gan"):
        return {}
    vae = markovian_vae.Diffusion(model) if name == "diffusion" else model
    y = TARGET.sample(HELD_OUT, seeded(1_000_003 + seed))
    top, exact = -TARGET.entropy() / LN2, TARGET.log_prob(y) / LN2
    gap = exact - markovian_vae.trajectory_weights(vae, y, 1, seeded(seed)).elbo / LN2
    many = markovian_vae.trajectory_weights(vae, y[:WEIGHED], PATHS, seeded(seed)).log_z / LN2
    return {
        "elbo_bits": top - float(gap.mean()),
        "elbo_bits_stderr": float(gap.std()) / len(y) ** 0.5,
        "worst_bits": float(gap.max()),
        "log_mean_bits": top + float((many - exact[:WEIGHED]).mean()),
    }


def measure(name: str, seed: int, pictures: dict[str, Tensor]) -> dict[str, Any]:
    """One training, watched at every share of the budget."""
    contender, spent, frames, course = make(name, RATES[name], seed), 0.0, [], []
    stops = [max(1, round(share * contender.steps)) for share in SHARES]
    for step in range(contender.steps):
        start = time.process_time()
        contender.advance(step)
        spent += time.process_time() - start
        if step + 1 in stops:
            frames.append(contender.sample(PICTURE, seeded(seed)))
            last = step + 1 == contender.steps
            course.append(judged(contender.sample, JUDGED if last else JUDGED // 5, seed))
    if name != "gan-long":
        pictures[f"{name}.{seed}"] = torch.stack(frames).half()
    start = time.process_time()
    contender.sample(JUDGED, seeded(0))
    drawing = (time.process_time() - start) / JUDGED * 1e6
    if seed == 0:
        pictures |= {f"net.{name}.{key}": value for key, value in contender.ready().state_dict().items()}
    return {
        "model": name, "seed": seed, "weights": contender.weights, "steps": contender.steps, "calls": contender.calls,
        "seconds": round(spent, 2), "microseconds_a_draw": round(drawing, 2), "course": course,
        "energy": course[-1][0], "energy_stderr": course[-1][1], **likelihood(name, contender.ready(), seed),
    }  # fmt: skip


def tune() -> None:
    """Each model at each learning rate, on seed 100."""
    for name in WIDTH:
        for lr in (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 3e-2):
            contender = make(name, lr, 100)
            for step in range(contender.steps):
                contender.advance(step)
            print(name, lr, judged(contender.sample, JUDGED, 100), likelihood(name, contender.ready(), 100), flush=True)


def cold() -> None:
    """The VAE of one rung, the same seeds, its KL terms at full weight from the start."""
    rows = []
    for seed in SEEDS:
        contender = VAE(1, RATES["vae-1"], seed, cold=True)
        for step in range(contender.steps):
            contender.advance(step)
        value, error = judged(contender.sample, JUDGED, seed)
        found = {"model": "vae-1", "seed": seed, "energy": value, "energy_stderr": error}
        rows.append(found | likelihood("vae-1", contender.ready(), seed))
        print(rows[-1], flush=True)
    common.write("ladder-cold", {"rows": rows}, "python benchmarks/ladder.py cold")


def seconds() -> None:
    """What a training and a draw take: each contender in its turn, rounds of 10 steps, then 3 of 10,000 draws."""
    contenders = {name: make(name, RATES[name], 0) for name in RATES}
    step, draw = ({name: float("inf") for name in RATES} for _ in range(2))
    for k in range(ROUNDS):
        for name, contender in contenders.items():
            start = time.process_time()
            for j in range(10):
                contender.advance(10 * k + j)
            step[name] = min(step[name], (time.process_time() - start) / 10)
    for _ in range(3):
        for name, contender in contenders.items():
            start = time.process_time()
            contender.sample(JUDGED, seeded(0))
            draw[name] = min(draw[name], (time.process_time() - start) / JUDGED)
    record = {
        "seconds": {name: round(step[name] * contender.steps, 2) for name, contender in contenders.items()},
        "microseconds_a_draw": {name: round(1e6 * value, 2) for name, value in draw.items()},
        "load": round(os.getloadavg()[0], 1),
    }
    common.write("ladder-seconds", record, "python benchmarks/ladder.py seconds")
    print(record)


def contest() -> None:
    """All contenders, with each seed."""
    pictures: dict[str, Tensor] = {}
    rows = []
    for seed in SEEDS:
        for name in RATES:
            rows.append(measure(name, seed, pictures))
            print({key: value for key, value in rows[-1].items() if key != "course"}, flush=True)
    floor = [judged(TARGET.sample, JUDGED, 500 + seed) for seed in SEEDS]
    record = {
        "budget": BUDGET, "batch": BATCH, "shares": SHARES, "rates": RATES, "width": WIDTH,
        "limit_bits": -TARGET.entropy() / LN2,
        "points": JUDGED, "points_on_the_way": JUDGED // 5, "floor": floor, "rows": rows,
        "cpu_seconds": round(time.process_time(), 1),
    }  # fmt: skip
    files.save_tensors(results.folder() / "ladder.safetensors", pictures, {"width": WIDTH})
    common.write("ladder", record, "python benchmarks/ladder.py")


def main() -> None:
    torch.set_num_threads(1)
    jobs = {"contest": contest, "cold": cold, "seconds": seconds, "tune": tune}
    common.main(jobs, usual=[name for name in jobs if name != "tune"])


if __name__ == "__main__":
    main()
