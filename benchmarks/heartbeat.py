"""Train the heartbeat recipes, follow two schedules while they learn, and measure what the book quotes of them.

    OMP_NUM_THREADS=1 python benchmarks/heartbeat.py [NAME ...]

Writes book/results/NAME.json for each run below, heartbeat.safetensors, heartbeat-limits.json (exact: no training), and
heartbeat-learning.json and swiss-roll-learning.json, the course of the two learned schedules. Each training takes about
a minute on one core; all of it about ten.
"""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import common
import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from dpm_lib.core.constants import LN2
from dpm_lib.core.random import seeded
from dpm_lib.diffusion import best_bound, best_bound_bits, schedules
from dpm_lib.diffusion.best_bound_bits import BitBound
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.probability import codebooks
from dpm_lib.training import build, catalogue, evaluation

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "heartbeat": ("heartbeat", {}),
    "heartbeat-even": ("heartbeat", {"schedule": "even", "learn_schedule": False}),
    "heartbeat-50": ("heartbeat", {"T": 50}),
    "heartbeat-paper": ("heartbeat-paper", {}),
    "heartbeat-mask": ("heartbeat-mask", {}),
}
WEIGHTS = ("heartbeat",)  # the models that the book loads
FRAMES = [0, 25, 50, 75, 100, 150, 200, 300, 400, 500, 650, 800, 1000, 1250, 1500, 1750, 2000, 2500, 3000, 3500, 4000]
FRAMES += [5000, 6000, 7000, 8000]


def measure_limits() -> None:
    """The exact best K of the paper's schedule, with its edge step and with a learned one, and of the best schedule."""
    classes, rows = BitBound(codebooks.heartbeat()), []
    with torch.no_grad():
        for T in (20, 50, 100, 200, 400, 1000, 2000):
            paper = schedules.even(T)
            rows.append({"T": T, "paper_bits": float(classes.best_bound(paper)) / LN2})
            rows[-1]["learned_edge_bits"] = float(classes.best_bound(paper, learned_edge=True)) / LN2
            rows[-1]["even_bits"] = float(classes.best_bound(schedules.even(T, 1e-6))) / LN2
    for row in rows[:4]:
        best = best_bound_bits.best_schedule(codebooks.heartbeat(), row["T"], beta_1=1e-6)
        row["best_bits"] = float(classes.best_bound(best)) / LN2
        row["best_log_alpha_bar"] = [float(f"{v:.8g}") for v in best.log_alpha_bar.tolist()]
    common.write("heartbeat-limits", {"rows": rows}, "python benchmarks/heartbeat.py limits")


def follow(name: str, describe: Callable[[DiffusionModel], dict[str, Any]]) -> None:
    """Train the recipe ``name`` and describe its averaged model after each number of steps in FRAMES."""
    recipe = catalogue.get(name)
    steps = {step for step in FRAMES if step < recipe.steps} | {recipe.steps}
    frames = [{"step": step, **describe(model)} for step, model in common.watched(recipe, steps)]
    common.write(
        f"{name}-learning", {"T": recipe.T, "frames": frames}, f"python benchmarks/heartbeat.py {name}-learning"
    )


def describe_bits(model: DiffusionModel) -> dict[str, Any]:
    """The schedule of a model of the heartbeat, its exact best K and cost and loss of each step, and its own K."""
    book, schedule = codebooks.heartbeat(), copy.deepcopy(model.schedule)
    x0 = book.sample(1000, seeded(1))
    best = float(BitBound(book).best_bound(schedule)) / LN2
    over = evaluation.excess(model, book, x0, seeded(2)) / LN2
    return {
        "log_tau": _short(schedule.log_tau[1:]),
        "best_bits": best,
        "model_bits": best - float(over.mean()),
        "kl_bits": _short(BitBound(book).step_costs(schedule)[2:] / LN2),
        "loss_bits": _short(BitBound(book).losses(schedule)["steps"][2:] / LN2),
    }


class Roll:
    """The same for the swiss roll: exact entropies and posterior covariances, tabulated over log tau."""

    def __init__(self, levels: int = 160) -> None:
        recipe = catalogue.get("swiss-roll")
        self.target = build.load_data(recipe).target
        self.best = best_bound.BestReverse(self.target, 1e-6 / (1 - 1e-6), 400.0, levels)
        log_tau = self.best.log_tau.numpy()
        noise = 0.5 * self.target.dim * (math.log(2 * math.pi * math.e) + log_tau)
        self.information = CubicSpline(log_tau, [self.target.entropy(math.exp(v)) for v in log_tau] - noise)
        self.log_variances = CubicSpline(log_tau, self.best.variances["full"].log().numpy())
        self.x0 = self.target.sample(4000, seeded(1))

    def __call__(self, model: DiffusionModel) -> dict[str, Any]:
        log_tau = model.schedule.log_tau[1:].detach().numpy()
        snr = np.exp(-log_tau)
        k = (snr[:-1] - snr[1:]).reshape(-1, 1, 1)
        kl = 0.5 * np.log1p(k * np.exp(self.log_variances(log_tau[1:]))).sum(-1).mean(-1)
        loss = kl + np.diff(self.information(log_tau))
        K = model.trajectory_weights(self.x0, 1, seeded(2)).elbo - self.target.log_prob(self.x0)
        best = best_bound.ceiling(self.target, model.schedule) - float(loss.sum()) - self._end(model.schedule)
        return {
            "log_tau": _short(torch.from_numpy(log_tau)),
            "best_bits": best / LN2,
            "model_bits": (float(K.mean()) - self.target.entropy()) / LN2,
            "kl_bits": _short(torch.from_numpy(kl) / LN2),
            "loss_bits": _short(torch.from_numpy(loss) / LN2),
        }

    def _end(self, schedule: Schedule) -> float:
        """D_KL(q(x_T) || pi), nats: the cross-entropy of pi less H(X_T)."""
        d, kept, log_tau = self.target.dim, float(schedule.alpha_bar[-1]), float(schedule.log_tau[-1])
        cross = 0.5 * (d * math.log(2 * math.pi) + kept * self.target.mean_square + d * (1 - kept))
        entropy = float(self.information(log_tau)) + 0.5 * d * math.log(2 * math.pi * math.e * (1 - kept))
        return cross - entropy


def _short(values: Tensor) -> list[float]:
    return [float(f"{v:.6g}") for v in values.tolist()]


def main() -> None:
    """Measure the runs named, or all of them."""
    jobs: dict[str, Callable[[], None]] = {}
    for name, (base, settings) in RUNS.items():
        jobs[name] = partial(common.train_by_name, name, base, settings, keep_model=name in WEIGHTS)
    jobs["limits"] = measure_limits
    jobs["heartbeat-learning"] = lambda: follow("heartbeat", describe_bits)
    jobs["swiss-roll-learning"] = lambda: follow("swiss-roll", Roll())
    common.main(jobs)


if __name__ == "__main__":
    main()
