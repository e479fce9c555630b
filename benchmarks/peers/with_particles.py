"""particles: its adaptive tempering with its defaults (waste-free, a walk shaped by the particles, chains of 10).

The targets are dpm_lib's own, which can be imported here too.
"""

import numpy as np
import particles
import torch
from answering import serve
from particles import distributions, smc_samplers

from dpm_lib.probability import target_densities

torch.set_num_threads(1)


class Bridge(smc_samplers.TemperingBridge):
    """The package's name for a path from a distribution to a log density; it counts the points that it is asked for."""

    def __init__(self, target, std):
        super().__init__(distributions.MvNormal(loc=np.zeros(target.dim), scale=std, cov=np.eye(target.dim)))
        self.target, self.count = target, 0

    def logtarget(self, theta):
        self.count += len(theta)
        return self.target.log_prob(torch.from_numpy(np.ascontiguousarray(theta))).numpy()


def answer(request):
    """Runs with n chains: [log Z, evaluations] of each seed."""
    found = []
    for seed in request["seeds"]:
        np.random.seed(seed)  # noqa: NPY002 - the package draws from NumPy's global state
        bridge = Bridge(getattr(target_densities, request["target"])(request["dim"]), request["std"])
        sampler = particles.SMC(fk=smc_samplers.AdaptiveTempering(bridge, len_chain=10), N=request["n"])
        sampler.run()
        found.append([float(sampler.logLt), bridge.count])
    return found


serve(answer, "particles", "numpy")
