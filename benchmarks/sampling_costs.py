"""What one effective sample costs: four methods, four targets, four dimensions, one count.

    OMP_NUM_THREADS=1 python benchmarks/sampling_costs.py

Writes book/results/sampling-costs.json. About three minutes on one core.

Every run may evaluate the target's log density 10,000 times (for Gibbs: draw that many times from a conditional), and
estimates the mean of one coordinate. With 200 independent runs, evaluations per effective sample are
budget * (mean squared error) / (variance of the coordinate): 1 for independent draws of the target itself.
Importance and rejection sampling are told the target's standard deviations, rejection also M, Gibbs the conditionals.
Chains start from normal draws with mean 0 and these standard deviations, and drop their first tenth.
On the banana and the funnel one conditional is drawn from a grid of GRID points, which counts as one draw: with every
point counted, a sweep would cost d - 1 + GRID in place of d.
Rejection sampling runs once, until it has its draws: they are independent, and cost evaluations / accepted each.
"""

import math
from dataclasses import dataclass
from typing import Any

import common
import torch
from torch import Tensor

from dpm_lib.core.random import normal, seeded, uniform
from dpm_lib.montecarlo.importance import importance_sampling
from dpm_lib.montecarlo.mcmc import Conditional, gibbs, grid_conditional, metropolis_hastings
from dpm_lib.montecarlo.rejection import rejection_sampling
from dpm_lib.probability.target_densities import Banana, Funnel, HeavyTails, StandardNormal, TwoClumps

BUDGET, RUNS, DIMS = 10_000, 200, (2, 5, 10, 20)
BURN_IN = 0.1  # share of each chain that is dropped
FINE = torch.linspace(-40, 40, 8001, dtype=torch.float64)
GRID = 401  # points, of the banana's and the funnel's first coordinate given the others


@dataclass(frozen=True)
class Shifted:
    """N((1, ..., 1), I)."""

    dim: int

    @property
    def mean(self) -> Tensor:
        return torch.ones(self.dim, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        return torch.ones(self.dim, dtype=torch.float64)

    def log_prob(self, x: Tensor) -> Tensor:
        return StandardNormal(self.dim).log_prob(x - 1)


TARGETS = {"normal, shifted": Shifted, "two clumps": TwoClumps, "banana": Banana, "funnel": Funnel}
COORDINATE = {"banana": 1}  # whose mean is estimated; elsewhere the first


def log_normal(x: Tensor, mean: float | Tensor, std: float | Tensor) -> Tensor:
    scale = torch.as_tensor(std, dtype=torch.float64)
    return -0.5 * ((x - mean) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)


def log_bound(name: str, target: Any) -> float:
    """log M for the heavy-tailed proposal: the largest log ratio, coordinate by coordinate, on a fine grid."""
    scale = target.variance.sqrt()

    def ratio(x: Tensor, mean: float | Tensor, std: float | Tensor, i: int) -> Tensor:
        return log_normal(x, mean, std) - HeavyTails(scale[i : i + 1]).log_prob(x.unsqueeze(-1))

    d = target.dim
    if name == "normal, shifted":
        found = d * float(ratio(FINE, 1.0, 1.0, 0).max())
    elif name == "two clumps":  # each clump alone; their weights add up to one
        found = d * float(ratio(FINE, target.mean[0] / (2 * target.share - 1), target.std, 0).max())
    elif name == "banana":
        first = FINE[::4].unsqueeze(1)
        middle = target.bend * (first.square() - target.std**2)
        second = middle + torch.linspace(-4, 4, 401, dtype=torch.float64)
        found = float((ratio(first, 0.0, target.std, 0) + ratio(second, middle, 1.0, 1)).max())
        found += (d - 2) * float(ratio(FINE, 0.0, 1.0, d - 1).max()) if d > 2 else 0.0
    else:
        first = torch.linspace(-150, 20, 3401, dtype=torch.float64)
        std = (0.5 * first).exp().unsqueeze(1)
        others = ratio(std * torch.linspace(0, 6, 601, dtype=torch.float64), 0.0, std, 1).max(1).values
        found = float((ratio(first, 0.0, target.std, 0) + (d - 1) * others).max())
    return found + 1e-2


def conditionals(name: str, target: Any) -> list[Conditional]:
    d = target.dim
    plain: Conditional = lambda x, g: normal((len(x),), g)  # noqa: E731
    if name == "normal, shifted":
        return [lambda x, g: 1 + normal((len(x),), g)] * d
    if name == "two clumps":
        return [clump_conditional(target, i) for i in range(d)]
    if name == "banana":
        first = grid_conditional(
            Banana(2, target.std, target.bend).log_prob, 0, torch.linspace(-10, 10, GRID, dtype=torch.float64)
        )
        bent = lambda x, g: target.bend * (x[:, 0].square() - target.std**2) + normal((len(x),), g)  # noqa: E731
        return [lambda x, g: first(x[:, :2], g), bent, *[plain] * (d - 2)]
    neck = grid_conditional(target.log_prob, 0, torch.linspace(-20, 20, GRID, dtype=torch.float64))
    return [neck, *[lambda x, g: (0.5 * x[:, 0]).exp() * normal((len(x),), g)] * (d - 1)]


def clump_conditional(target: TwoClumps, i: int) -> Conditional:
    center = float(target.mean[0]) / (2 * target.share - 1)

    def conditional(x: Tensor, generator: torch.Generator) -> Tensor:
        others = x.sum(1) - x[:, i]
        log_odds = math.log(target.share / (1 - target.share)) + 2 * center * others / target.std**2
        side = torch.where(uniform((len(x),), generator) < torch.sigmoid(log_odds), 1.0, -1.0)
        return side * center + target.std * normal((len(x),), generator)

    return conditional


def estimates(method: str, name: str, target: Any, generator: torch.Generator) -> Tensor:
    """One estimate of the coordinate's mean per run, (RUNS,)."""
    j, d = COORDINATE.get(name, 0), target.dim
    if method == "importance":
        proposal = HeavyTails(target.variance.sqrt())
        draws = (importance_sampling(target.log_prob, proposal, BUDGET, generator) for _ in range(RUNS))
        return torch.stack([weighted.mean()[j] for weighted in draws])
    start = target.variance.sqrt() * normal((RUNS, d), generator)
    if method == "Metropolis":
        x = metropolis_hastings(target.log_prob, start, 2.4 / math.sqrt(d), BUDGET, generator).x
    else:
        x = gibbs(conditionals(name, target), start, BUDGET // d, generator).x
    return x[int(BURN_IN * len(x)) :, :, j].mean(0)


def chain_row(method: str, name: str, target: Any, generator: torch.Generator) -> dict[str, Any]:
    j = COORDINATE.get(name, 0)
    error = estimates(method, name, target, generator) - target.mean[j]
    costs = BUDGET * error.square() / target.variance[j]
    return {
        "cost": float(costs.mean()),
        "cost_stderr": float(costs.std()) / math.sqrt(RUNS),
        "error": float(error.mean()),
        "error_stderr": float(error.std()) / math.sqrt(RUNS),
        "measured": True,
    }


def rejection_row(name: str, target: Any, generator: torch.Generator) -> dict[str, Any]:
    """Accepted draws are independent, so the cost is evaluations per accepted draw: M, which may be out of reach."""
    bound, j = log_bound(name, target), COORDINATE.get(name, 0)
    if bound > math.log(20_000):
        return {"cost": math.exp(bound), "cost_stderr": None, "error": None, "error_stderr": None, "measured": False}
    n = 2000 if bound < 7 else 200
    got = rejection_sampling(target.log_prob, HeavyTails(target.variance.sqrt()), bound, n, generator)
    rate = got.acceptance
    return {
        "cost": 1 / rate,
        "cost_stderr": math.sqrt((1 - rate) / got.accepted) / rate,
        "error": float(got.x[:, j].mean() - target.mean[j]),
        "error_stderr": float(got.x[:, j].std()) / math.sqrt(n),
        "measured": True,
    }


def rows() -> list[dict[str, Any]]:
    found = []
    for name, make in TARGETS.items():
        for d in DIMS:
            for k, method in enumerate(("importance", "rejection", "Metropolis", "Gibbs")):
                target, generator = make(d), seeded(100 * d + k)
                if method == "rejection":
                    row = rejection_row(name, target, generator)
                else:
                    row = chain_row(method, name, target, generator)
                grid = GRID if method == "Gibbs" and name in ("banana", "funnel") else None
                found.append({"method": method, "target": name, "dimension": d, **row, "grid": grid})
                print(found[-1], flush=True)
    return found


def main() -> None:
    record = {"budget": BUDGET, "runs": RUNS, "rows": rows()}
    common.write("sampling-costs", record, "python benchmarks/sampling_costs.py")


if __name__ == "__main__":
    main()
