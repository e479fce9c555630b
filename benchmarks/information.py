"""The entropy of the swiss roll by two routes, for the book's trained model: the chain's K, and its denoiser.

    python benchmarks/information.py          # about three minutes on one core

Writes book/results/information.json, in nats. For each step k = 2..T of the model's schedule, from tau_k to tau_{k-1}:

    exact      what the step tells of the data, I(y; z(tau_{k-1})) - I(y; z(tau_k)), from entropies by quadrature
    best_full  the least mean KL of a Gaussian step: 1/2 E log det(I + g C), g = 1/tau_{k-1} - 1/tau_k, C = Cov[y | z]
    full       the same for the model: its mean and its covariance
    best_fixed the least mean KL of a step with the covariance of q(x_{k-1} | x_k, x_0): g mmse(tau_k) / 2
    fixed      the same for the model's mean: g mse(tau_k) / 2

``excess`` is the density over log t of what the model's denoiser lacks; ``bound`` the whole bound by the denoiser.
"""

import math

import common
import torch
from torch import Tensor

from dpm_lib.core import results
from dpm_lib.core.random import seeded
from dpm_lib.diffusion import bound
from dpm_lib.diffusion.tweedie import Denoiser
from dpm_lib.information import i_mmse, mmse
from dpm_lib.probability.swiss_roll import SwissRoll
from dpm_lib.training import checkpoints

POINTS = 8000
EYE = torch.eye(2, dtype=torch.float64)


def step(roll: SwissRoll, guess: Denoiser, z: Tensor, t: float, g: float) -> dict[str, Tensor]:
    """The four costs of one step, (n,), each a mean over y and over the step given z."""
    learned, exact = guess.posterior_covariance(z, t), roll.posterior_covariance(z, t)
    off = guess.posterior_mean(z, t) - roll.posterior_mean(z, t)
    trace = exact.diagonal(dim1=-2, dim2=-1).sum(-1)
    ours, best = EYE + g * learned, EYE + g * exact
    moved = (off.unsqueeze(1) @ torch.linalg.solve(ours, off.unsqueeze(2))).squeeze()
    ratio = torch.linalg.solve(ours, best).diagonal(dim1=-2, dim2=-1).sum(-1) - 2
    return {
        "best_full": 0.5 * torch.logdet(best),
        "full": 0.5 * (ratio + torch.logdet(ours) + g * moved),
        "best_fixed": 0.5 * g * trace,
        "fixed": 0.5 * g * (trace + off.square().sum(-1)),
    }


def main() -> None:
    model, recipe = checkpoints.load_model(results.path("swiss-roll.safetensors"))
    roll, guess = SwissRoll(recipe.noise), Denoiser(model)
    generator = seeded(0)
    tau = model.schedule.tau.tolist()
    known = [math.nan] + [roll.entropy(t) - math.log(2 * math.pi * math.e * t) for t in tau[1:]]
    rows = []
    for k in range(2, model.T + 1):
        z = mmse.noisy(roll.sample(POINTS, generator), tau[k], generator)
        costs = step(roll, guess, z, tau[k], 1 / tau[k - 1] - 1 / tau[k])
        row = {"k": k, "tau": tau[k], "exact": known[k - 1] - known[k]}
        for name, value in costs.items():
            row[name], row[f"{name}_stderr"] = float(value.mean()), float(value.std()) / math.sqrt(POINTS)
        rows.append(row)
    lacks = i_mmse.excess(guess.posterior_mean, roll, tau[1], tau[-1], POINTS, generator)
    y = roll.sample(10 * POINTS, generator)
    whole = i_mmse.entropy_bound(guess.posterior_mean, y, tau[1], tau[-1], generator, roll.mean_square)
    edge = bound.ends(model.kernel, y)
    record = {
        "about": "swiss-roll.safetensors: the costs of its steps, and of its denoiser; nats",
        "entropy": roll.entropy(),
        "information": {"first": known[1], "last": known[-1]},
        "steps": rows,
        "ends": float((-edge[0] - edge[1] - edge[2] + edge[3]).mean()),
        "excess": {
            "t": lacks.t.tolist(),
            "density": lacks.density.tolist(),
            "mean": lacks.mean,
            "stderr": lacks.stderr,
        },
        "bound": {"mean": whole.mean, "stderr": whole.stderr, "points": len(y)},
        "points": POINTS,
    }
    common.write("information", record, "python benchmarks/information.py")
    names = ("exact", "best_full", "full", "best_fixed", "fixed")
    print({name: round(sum(row[name] for row in rows) / math.log(2), 4) for name in names})
    print(lacks.mean / math.log(2), lacks.stderr / math.log(2), whole.mean / math.log(2), whole.stderr / math.log(2))


if __name__ == "__main__":
    main()
