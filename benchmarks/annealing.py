"""AIS and SMC against the `particles` package at equal numbers of target evaluations.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/annealing.py [RUNS]

Writes book/results/annealing.json. Takes about ten minutes on one core. particles 0.4 asks for numpy<2, which
constraints.txt does not: give it an environment of its own (`pip install -e '.[bench]'`). A run of the package is its
AdaptiveTempering with its defaults (waste-free, random walk shaped by the particles, chains of 10). All evaluations
count, those of the pilot run that tunes AIS too. One rule for all three targets, chosen on other seeds (from 10^6).
"""

import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import common
import numpy as np
import torch
from torch import Tensor

from dpm_lib.core.random import seeded
from dpm_lib.montecarlo import ais, smc, temperature_ladder
from dpm_lib.probability import target_densities
from dpm_lib.probability.target_densities import Banana, Funnel, TwoClumps

try:
    import particles
    from particles import distributions, smc_samplers
except ModuleNotFoundError:
    print("skipped: the package particles is not here; pip install -e '.[bench]', in an environment of its own")
    sys.exit(0)

TARGETS = {"2-D mixture": TwoClumps(2), "10-D banana": Banana(10), "10-D funnel": Funnel(10)}
BUDGET, SPREAD = 40_000, 3.0  # evaluations, at least; standard deviation of the proposal


class Counter:
    """A log density that counts the points it is asked about."""

    def __init__(self, target: Any) -> None:
        self.target, self.count = target, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.count += len(x)
        return self.target.log_prob(x)


class Bridge(smc_samplers.TemperingBridge):
    """The package's name for a path from a distribution to a log density."""

    def __init__(self, log_target: Counter) -> None:
        dim = log_target.target.dim
        super().__init__(distributions.MvNormal(loc=np.zeros(dim), scale=SPREAD, cov=np.eye(dim)))
        self.log_target = log_target

    def logtarget(self, theta: np.ndarray) -> np.ndarray:
        return self.log_target(torch.from_numpy(np.ascontiguousarray(theta))).numpy()


def peer(target: Any, seed: int, n: int) -> tuple[float, int]:
    """One run of the package with n chains: (log Z, evaluations)."""
    np.random.seed(seed)  # noqa: NPY002 - the package draws from NumPy's global state
    log_target = Counter(target)
    sampler = particles.SMC(fk=smc_samplers.AdaptiveTempering(Bridge(log_target), len_chain=10), N=n)
    sampler.run()
    return float(sampler.logLt), log_target.count


def ours_smc(target: Any, seed: int, n: int) -> tuple[float, int]:
    """One run of adaptive, waste-free SMC with n particles: (log Z, evaluations)."""
    log_target, generator = Counter(target), seeded(seed)
    proposal = target_densities.Normal(target.dim, SPREAD)
    found = smc.sequential_monte_carlo(log_target, proposal, n, generator, threshold=1.0, keep=0.5, chain=10)
    return float(found.log_z), log_target.count


def ours_ais(target: Any, seed: int, budget: float, pilot: int = 128) -> tuple[float, int, int]:
    """One run of AIS, tuned by a pilot, with what the budget leaves: (log Z, evaluations, temperatures)."""
    log_target, generator = Counter(target), seeded(seed)
    proposal = target_densities.Normal(target.dim, SPREAD)
    temperatures, walk = temperature_ladder.tune(log_target, proposal, pilot, generator)
    n = max(1, int(budget - log_target.count) // (len(temperatures) - 1))
    found = ais.annealed_importance_sampling(log_target, proposal, temperatures, n, generator, walk)
    return float(found.log_z), log_target.count, len(temperatures) - 1


def size_for(run: Callable[..., tuple[float, int]], target: Any, budget: float) -> int:
    """The number of particles whose runs cost ``budget`` on average: costs are proportional to it, nearly."""
    n = 1000
    for _ in range(3):
        cost = np.mean([run(target, 100_000 + seed, n)[1] for seed in range(10)])
        n = round(n * budget / cost)
    return n


def rmse(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def ratio_interval(ours: np.ndarray, peers: np.ndarray, draws: int = 4000) -> list[float]:
    """Bootstrap 95% interval of the ratio of two RMSEs, runs resampled on both sides."""
    rng = np.random.default_rng(0)
    pick = lambda errors: np.sqrt(np.mean(rng.choice(np.square(errors), (draws, len(errors))), axis=1))  # noqa: E731
    return [round(float(q), 3) for q in np.quantile(pick(ours) / pick(peers), [0.025, 0.975])]


def compare(target: Any, runs: int) -> dict[str, Any]:
    """RMSE of log Z (exactly 0) of the three, at the package's mean number of evaluations."""
    n = size_for(peer, target, 1.01 * BUDGET)
    peers = np.array([peer(target, seed, n) for seed in range(runs)])
    budget = peers[:, 1].mean()
    n_smc = size_for(ours_smc, target, budget)
    found = {
        "AIS": np.array([ours_ais(target, seed, budget) for seed in range(runs)]),
        "SMC": np.array([ours_smc(target, seed, n_smc) for seed in range(runs)]),
    }
    rows = {
        name: {
            "rmse": round(rmse(values[:, 0]), 4),
            "bias": round(float(values[:, 0].mean()), 4),
            "evaluations": round(float(values[:, 1].mean())),
        }
        for name, values in {"particles": peers, **found}.items()
    }
    for name, values in found.items():
        rows[name]["ratio"] = round(rmse(values[:, 0]) / rmse(peers[:, 0]), 3)
        rows[name]["ratio_95"] = ratio_interval(values[:, 0], peers[:, 0])
    used = np.quantile(found["AIS"][:, 2], [0.05, 0.5, 0.95])
    rows["AIS"]["temperatures"] = [round(float(K)) for K in used]  # of the runs: 5%, median, 95%
    return {"particles_n": n, "smc_n": n_smc, "rows": rows}


def speed(target: Any, n: int = 10_000, steps: int = 100, repeats: int = 15) -> float:
    """Millions of particle-temperatures a second of plain AIS, the best of a few repeats."""
    seconds = []
    for seed in range(repeats):
        start, generator = time.perf_counter(), seeded(seed)
        temperatures = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        proposal = target_densities.Normal(target.dim, SPREAD)
        ais.annealed_importance_sampling(target.log_prob, proposal, temperatures, n, generator)
        seconds.append(time.perf_counter() - start)
    return round(n * steps / min(seconds) / 1e6, 2)


def main(runs: int = 400) -> None:
    torch.set_num_threads(1)
    record: dict[str, Any] = {
        "runs": runs,
        "budget": BUDGET,
        "proposal_std": SPREAD,
        "problems": {},
        "speed_millions": {},
        "load": {},
    }
    for name, target in TARGETS.items():
        record["problems"][name] = compare(target, runs)
        record["load"][name] = round(os.getloadavg()[0], 1)  # other work on the machine, while the speed is measured
        record["speed_millions"][name] = speed(target)
        print(name, record["problems"][name], record["speed_millions"][name], flush=True)
    record["particles"] = version("particles")
    command = "OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/annealing.py"
    common.write("annealing", record, command, numpy=np.__version__)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
