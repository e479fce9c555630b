"""PyMC: sample_smc with its defaults (IMH), from a normal prior; the likelihood is the target over the prior.

Its kernel is the default one, which also counts the points that it asks for.
"""

import logging
import math

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from answering import serve

logging.getLogger("pymc").setLevel(logging.ERROR)


def log_normal(x, mean, log_std):
    return -0.5 * ((x - mean) * pt.exp(-log_std)) ** 2 - 0.5 * math.log(2 * math.pi) - log_std


def two_clumps(x, dim, distance=6.0, std=0.7, share=0.7):
    center = 0.5 * distance / math.sqrt(dim)
    right, left = (log_normal(x, side * center, math.log(std)).sum() for side in (1, -1))
    return pt.logaddexp(right + math.log(share), left + math.log1p(-share))


def banana(x, dim, std=2.0, bend=0.5):
    bent = log_normal(x[0], 0.0, math.log(std)) + log_normal(x[1], bend * (x[0] ** 2 - std**2), 0.0)
    return bent + log_normal(x[2:], 0.0, 0.0).sum()


def funnel(x, dim, std=3.0):
    return log_normal(x[0], 0.0, math.log(std)) + log_normal(x[1:], 0.0, 0.5 * x[0]).sum()


TARGETS = {"TwoClumps": two_clumps, "Banana": banana, "Funnel": funnel}


class Counted(pm.smc.IMH):
    count = 0

    def mutate(self):
        super().mutate()
        Counted.count += (self.n_steps - 1) * self.draws


def run(request, seed):
    dim, std, n = request["dim"], request["std"], request["n"]
    with pm.Model():
        x = pm.Normal("x", 0.0, std, shape=dim)
        pm.Potential("target", TARGETS[request["target"]](x, dim) - log_normal(x, 0.0, math.log(std)).sum())
        Counted.count = n
        found = pm.sample_smc(
            n, Counted, random_seed=seed, chains=1, cores=1, progressbar=False, compute_convergence_checks=False
        )
    values = np.asarray(found.sample_stats["log_marginal_likelihood"].values).ravel()
    last = np.concatenate([np.atleast_1d(v).astype(float) for v in values])
    return [float(last[~np.isnan(last)][-1]), Counted.count]


def answer(request):
    """[log Z, evaluations] of each seed; or the log densities at points."""
    if "points" in request:
        x = pt.vector("x")
        of = TARGETS[request["target"]](x, request["dim"])
        return [float(of.eval({x: np.array(point)})) for point in request["points"]]
    return [run(request, seed) for seed in request["seeds"]]


serve(answer, "pymc", "numpy")
