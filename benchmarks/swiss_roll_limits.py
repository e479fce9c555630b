"""How good can K be? The best Gaussian reverse kernels on the swiss roll, with the best schedules and with given ones.

    OMP_NUM_THREADS=1 python benchmarks/swiss_roll_limits.py [limits] [schedules]

Writes book/results/swiss-roll-limits.json and swiss-roll-schedules.json: all, or those named. About five minutes each
on one core.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import common
import torch

from dpm_lib.core.constants import LN2
from dpm_lib.core.standard_error import stderr
from dpm_lib.diffusion.best_bound import BestReverse, best_bound
from dpm_lib.diffusion.schedules import even, geometric
from dpm_lib.probability.swiss_roll import SwissRoll

CASES = ((0.25, 1e-6), (0.02, 1e-8))  # noise, beta_1
SEEDS = range(5)


def limits(noise: float, beta_1: float) -> list[dict[str, Any]]:
    """For each T and covariance form: the best K in bits, mean and standard error over independent tables."""
    target = SwissRoll(noise)
    limit = -target.entropy() / LN2
    tau_1 = beta_1 / (1 - beta_1)
    tables = [BestReverse(target, tau_1, 1000.0, levels=400, n=2048, seed=seed) for seed in SEEDS]
    rows: list[dict[str, Any]] = []
    for T in (40, 100):
        for form in BestReverse.FORMS:
            best = [table.best_schedule(T, form) for table in tables]
            gaps = [limit - K / LN2 for _, K in best]
            mean = sum(gaps) / len(gaps)
            spread = stderr(torch.tensor(gaps, dtype=torch.float64))
            rows.append(
                {
                    "noise": noise,
                    "beta_1": beta_1,
                    "T": T,
                    "covariance": form,
                    "entropy_limit_bits": limit,
                    "best_bound_bits": limit - mean,
                    "best_gap_bits": mean,
                    "best_gap_bits_stderr": spread,
                    "log_tau": [round(value, 6) for value in best[0][0].log_tau[1:].tolist()],
                }
            )
    return rows


def schedules(noise: float, beta_1: float) -> list[dict[str, Any]]:
    """What the best full Gaussians lose with two given schedules: a geometric, and that for bits, after beta_1."""
    target = SwissRoll(noise)
    limit = -target.entropy() / LN2
    rows: list[dict[str, Any]] = []
    for T in (40, 200, 1000):
        for name, schedule in (("bits", even(T, beta_1)), ("geometric", geometric(T, beta_1, 20.0))):
            gaps = [limit - best_bound(target, schedule, seed=seed) / LN2 for seed in SEEDS[:4]]
            case = {"noise": noise, "beta_1": beta_1, "T": T, "schedule": name, "covariance": "full"}
            rows.append(
                case
                | {
                    "gap_bits": sum(gaps) / len(gaps),
                    "gap_bits_stderr": stderr(torch.tensor(gaps, dtype=torch.float64)),
                }
            )
    return rows


def record(name: str, rows_of: Callable[[float, float], list[dict[str, Any]]], cases: Iterable[tuple]) -> None:
    """Write the rows of these ``cases``."""
    rows = [row for case in cases for row in rows_of(*case)]
    common.write(f"swiss-roll-{name}", {"rows": rows}, f"python benchmarks/swiss_roll_limits.py {name}")


def main() -> None:
    common.main(
        {
            "limits": partial(record, "limits", limits, CASES),
            "schedules": partial(record, "schedules", schedules, CASES[:1]),
        }
    )


if __name__ == "__main__":
    main()
