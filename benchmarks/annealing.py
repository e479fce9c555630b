"""AIS and SMC beside particles, blackjax and PyMC at equal numbers of target evaluations. Writes annealing.json.

    python benchmarks/annealing.py [RUNS]

A run of particles is its AdaptiveTempering with its defaults; of blackjax, adaptive tempered SMC whose walk is shaped
by the particles; of PyMC, sample_smc with its defaults, and fewer runs, since each takes seconds. All evaluations
count, those of the pilot run that tunes AIS too. One rule of ours for all three targets, chosen on other seeds (10^6
and above).
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np
import peer
import torch
from torch import Tensor

from dpm_lib.core.random import normal, seeded
from dpm_lib.montecarlo import ais, smc, temperature_ladder
from dpm_lib.probability import target_densities
from dpm_lib.probability.target_densities import Banana, Funnel, TwoClumps

PEERS = ("particles", "blackjax", "pymc")
FEWER = {"pymc": 10}  # one run of so many
TARGETS = {"2-D mixture": TwoClumps(2), "10-D banana": Banana(10), "10-D funnel": Funnel(10)}
BUDGET, SPREAD = 40_000, 3.0  # evaluations, at least; standard deviation of the proposal


class Counter:
    """A log density that counts the points it is asked about."""

    def __init__(self, target: Any) -> None:
        self.target, self.count = target, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.count += len(x)
        return self.target.log_prob(x)


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


def size_for(run: Callable[[list[int], int], np.ndarray], budget: float, first: int = 1000, seeds: int = 10) -> int:
    """The number of particles whose runs cost ``budget`` on average: costs are proportional to it, nearly."""
    n = first
    for _ in range(3):
        cost = run(list(range(100_000, 100_000 + seeds)), n)[:, 1].mean()
        n = max(10, round(n * budget / cost))
    return n


def rmse(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def ratio_interval(ours: np.ndarray, peers: np.ndarray, draws: int = 4000) -> list[float]:
    """Bootstrap 95% interval of the ratio of two RMSEs, runs resampled on both sides."""
    rng = np.random.default_rng(0)
    pick = lambda errors: np.sqrt(np.mean(rng.choice(np.square(errors), (draws, len(errors))), axis=1))  # noqa: E731
    return [round(float(q), 3) for q in np.quantile(pick(ours) / pick(peers), [0.025, 0.975])]


def compare(name: str, target: Any, runs: int, others: dict[str, peer.Peer]) -> dict[str, Any]:
    """RMSE of log Z (exactly 0) of all, at particles' mean number of evaluations."""

    def theirs(other: peer.Peer) -> Callable[[list[int], int], np.ndarray]:
        about = {"target": type(target).__name__, "dim": target.dim, "std": SPREAD}
        if other.name != "particles":
            points = SPREAD * normal((5, target.dim), seeded(0))
            found = other.ask(**about, points=points.tolist())[0]
            np.testing.assert_allclose(found, target.log_prob(points), rtol=1e-9, err_msg=f"{other.name}, {name}")
        return lambda seeds, n: np.array(other.ask(**about, seeds=seeds, n=n)[0])

    def mine(seeds: list[int], n: int) -> np.ndarray:
        return np.array([ours_smc(target, seed, n) for seed in seeds])

    rows, found, sizes, budget = {}, {}, {}, 1.01 * BUDGET
    for kind, other in others.items():
        run, count = theirs(other), max(2, runs // FEWER.get(kind, 1))
        sizes[kind] = size_for(run, budget, seeds=2 if kind in FEWER else 10)
        found[kind] = run(list(range(count)), sizes[kind])
        budget = found.get("particles", found[kind])[:, 1].mean()
        print(name, kind, sizes[kind], flush=True)
    sizes["SMC"] = size_for(mine, budget)
    found["AIS"] = np.array([ours_ais(target, seed, budget) for seed in range(runs)])
    found["SMC"] = mine(list(range(runs)), sizes["SMC"])
    for kind, values in found.items():
        rows[kind] = {
            "rmse": round(rmse(values[:, 0]), 4),
            "bias": round(float(values[:, 0].mean()), 4),
            "evaluations": round(float(values[:, 1].mean())),
            "runs": len(values),
        }
        if kind in ("AIS", "SMC"):
            rows[kind]["beside"] = {
                other: {
                    "ratio": round(rmse(values[:, 0]) / rmse(found[other][:, 0]), 3),
                    "ratio_95": ratio_interval(values[:, 0], found[other][:, 0]),
                }
                for other in others
            }
    used = np.quantile(found["AIS"][:, 2], [0.05, 0.5, 0.95])
    rows["AIS"]["temperatures"] = [round(float(K)) for K in used]  # of the runs: 5%, median, 95%
    return {"particles": sizes, "rows": rows}


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
    with contextlib.ExitStack() as stack:
        others = {}
        for name in PEERS:
            try:
                others[name] = stack.enter_context(peer.Peer(name))
            except peer.Missing as missing:
                print(f"skipped: {missing}")
        for name, target in TARGETS.items():
            record["problems"][name] = compare(name, target, runs, others)
            record["load"][name] = round(
                os.getloadavg()[0], 1
            )  # other work on the machine, while the speed is measured
            record["speed_millions"][name] = speed(target)
            print(name, record["problems"][name], record["speed_millions"][name], flush=True)
        versions = {key: value for other in others.values() for key, value in other.versions.items()}
    common.write("annealing", record, "python benchmarks/annealing.py", **versions)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
