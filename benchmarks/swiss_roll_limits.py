"""How good can K be? The best Gaussian reverse kernels on the swiss roll, each with its best schedule.

    OMP_NUM_THREADS=1 python benchmarks/swiss_roll_limits.py

Writes book/results/swiss-roll-limits.json. About five minutes on one core.
"""

import math
from typing import Any

from dpm_lib import checkpoints, results
from dpm_lib.bound import LN2
from dpm_lib.distributions import SwissRoll
from dpm_lib.limits import BestReverse

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
            spread = math.sqrt(sum((g - mean) ** 2 for g in gaps) / (len(gaps) - 1) / len(gaps))
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


if __name__ == "__main__":
    rows = [row for case in CASES for row in limits(*case)]
    provenance = results.provenance("python benchmarks/swiss_roll_limits.py")
    checkpoints.save_json(results.folder() / "swiss-roll-limits.json", {"rows": rows, "provenance": provenance})
