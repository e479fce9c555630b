"""Simulated annealing: a random walk that is cooled, in search of a maximum. It keeps no weights."""

import math

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.montecarlo.annealing_path import metropolis_step
from dpm_lib.probability.target_densities import LogDensity


def simulated_annealing(
    energy: LogDensity, x: Tensor, temperatures: Tensor, generator: torch.Generator, step: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Search for low energy: Metropolis on exp(-energy / temperature) while the temperature falls.

    x (n, d) are n starts; ``temperatures`` (K,) positive and not rising. Returns the best place each walker saw,
    (n, d), and its energy, (n,). No weights: where the walkers end is a distribution of no particular use. ValueError
    for other temperatures or a step that is not positive. Kirkpatrick, Gelatt and Vecchi 1983.
    """
    checks.positive("step", step)
    falling, x = _checked_cooling(temperatures), checks.rows("x", x, generator.device)

    def ends(y: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(y[:, 0]), checks.log_density("-energy", -energy(y), y)])

    ends_x = ends(x)
    best, lowest = x, -ends_x[1]
    for temperature in falling:
        x, ends_x, _ = metropolis_step(x, ends, ends_x, 1 / temperature, step, generator)
        better = -ends_x[1] < lowest
        best, lowest = torch.where(better[:, None], x, best), torch.where(better, -ends_x[1], lowest)
    return best, lowest


def _checked_cooling(temperatures: Tensor) -> list[float]:
    values = checks.tensor("temperatures", temperatures).reshape(-1).tolist()
    for k, value in enumerate(values):
        if not 0 < value < math.inf or (k and value > values[k - 1]):
            raise ValueError(f"temperatures: {value} at index {k}: need positive, finite ones that do not rise")
    if not values:
        raise ValueError("temperatures: none: need at least one")
    return values
