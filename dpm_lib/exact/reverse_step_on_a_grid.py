"""One small step of a diffusion, reversed exactly on a grid: how nearly Gaussian is it?

The step x_t = sqrt(1 - beta) x_{t-1} + sqrt(beta) noise is Gaussian. The step back is not: by Bayes it is

    q(x_{t-1} | x_t)  proportional to  q(x_{t-1}) N(x_t; sqrt(1 - beta) x_{t-1}, beta)

for x_{t-1} of density q, here in one dimension, on a grid. Every density is in its log, NumPy float64.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dpm_lib.core import checks
from dpm_lib.core.types import Array
from dpm_lib.probability.target_densities import TwoClumps

GRID = np.linspace(-9, 9, 18_001)


@dataclass(frozen=True)
class StepBack:
    """The density of x_{t-1} given x_t on a grid, its moments, and its distance from the best Gaussian.

    ``grid``, ``log_density`` (m,); ``mean``, ``variance``; ``kl`` in nats, from the density to the normal of the same
    mean and variance, which is the nearest of all normals.
    """

    grid: Array
    log_density: Array
    mean: float
    variance: float
    kl: float

    def kl_to(self, mean: float, variance: float) -> float:
        """KL from the density to N(mean, variance), nats: the best one, and what the wrong moments add.

        ValueError for a variance that is not positive.
        """
        checks.positive("variance", variance)
        ratio = self.variance / variance
        return self.kl + 0.5 * (ratio - 1 - np.log(ratio) + (self.mean - mean) ** 2 / variance)


def step_back(log_q: Callable[[Array], Array], x_t: float, beta: float, grid: Array = GRID) -> StepBack:
    """q(x_{t-1} | x_t) by Bayes on an even ``grid`` (m,), for a log density ``log_q``. Equation eq-kolm-step-back.

    ``log_q`` need not be normalised. Raises ``ValueError`` for a beta outside (0, 1), and where the grid cuts the
    density off or is too coarse for it.
    """
    checks.inside("beta", beta, 0, 1)
    checks.between("x_t", x_t, -np.inf)
    h = (grid[-1] - grid[0]) / (len(grid) - 1)
    log = log_q(grid) - 0.5 * (x_t - np.sqrt(1 - beta) * grid) ** 2 / beta
    log -= log.max()
    log -= np.log(np.exp(log).sum() * h)
    p = np.exp(log) * h
    mean = float(p @ grid)
    variance = float(p @ (grid - mean) ** 2)
    if max(p[0], p[-1]) > 1e-12 * p.max() or not variance > 4 * h**2:
        raise ValueError(
            f"grid: from {grid[0]} to {grid[-1]} in steps of {h:.2g} it does not hold the step back from {x_t}"
        )
    gap = log + 0.5 * (grid - mean) ** 2 / variance + 0.5 * np.log(2 * np.pi * variance)
    return StepBack(grid, log, mean, variance, float(p @ gap))


def two_clumps(x: Array, std: float) -> Array:
    """log of (N(x; -1, std^2) + N(x; 1, std^2)) / 2, for x of any shape. ValueError for a std that is not positive."""
    law = TwoClumps(1, distance=2.0, std=std, share=0.5)
    return np.asarray(law.log_prob(torch.as_tensor(x, dtype=torch.float64).unsqueeze(-1)))
