"""A chain of 100,000 states through the forward and the backward equation, and walkers on it; time, memory, SciPy.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/kolmogorov.py

Writes book/results/kolmogorov.json. Takes a few seconds. The chain is a walk on a line with random rates up to 1 to
either neighbour, from the middle, to t = 100.
"""

import json
import resource
import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import expm_multiply

from dpm_lib.markov import gillespie, kolmogorov

STATES, END, WALKERS = 100_000, 100.0, 10_000


def line(n: int, rng: np.random.Generator) -> sparse.csr_array:
    """Rates to the right and to the left, uniform on (0, 1)."""
    off = sparse.diags_array([rng.random(n - 1), rng.random(n - 1)], offsets=[1, -1])
    return sparse.csr_array(off - sparse.diags_array(off.sum(1)))


def timed(task: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return task(), time.perf_counter() - start


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    rng = np.random.default_rng(0)
    Q = line(STATES, rng)
    p0, f = np.eye(1, STATES, STATES // 2)[0], np.cos(0.1 * np.arange(STATES))
    before = peak()
    laws, forward = timed(lambda: kolmogorov.forward(p0, Q, [0.0, END]))
    worth, backward = timed(lambda: kolmogorov.backward(f, Q, [0.0, END]))
    used = peak() - before
    ends, simulate = timed(lambda: gillespie.simulate(Q, STATES // 2, END, WALKERS, rng))
    theirs, scipy = timed(lambda: expm_multiply(Q.T * END, p0, traceA=float(Q.trace() * END)))
    places = np.arange(STATES)
    error = (ends.mean() - laws[-1] @ places) / (ends.std() / WALKERS**0.5)
    record = {
        "states": STATES,
        "jumps": float(kolmogorov.exit_rates(Q).max() * END),
        "forward_seconds": round(forward, 3),
        "backward_seconds": round(backward, 3),
        "peak_megabytes": round(used, 1),
        "duality": float(abs(p0 @ worth[0] - laws[-1] @ f)),
        "walkers": WALKERS,
        "simulate_seconds": round(simulate, 3),
        "simulate_mean_standard_errors": round(float(error), 2),
        "scipy_seconds": round(scipy, 3),
        "scipy_difference": float(np.abs(theirs - laws[-1]).max()),
        "smallest": float(laws[-1].min()),
    }
    common.write("kolmogorov", record, "python benchmarks/kolmogorov.py")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
