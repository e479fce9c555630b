"""Brownian motion (the Wiener process), its increments, and the random walk of which it is the limit."""

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_times
from dpm_lib.core.random import normal

# The noise itself


def random_walk(walkers: int, steps: int, generator: torch.Generator) -> Tensor:
    """Sums of independent steps of +1 or -1, either with probability 1/2: (steps + 1, walkers), from 0.

    ValueError for fewer than one step or walker.
    """
    shape = (checks.count("steps", steps), checks.count("walkers", walkers))
    heads = torch.randint(2, shape, generator=generator, device=generator.device)
    start = torch.zeros(1, walkers, dtype=torch.float64, device=generator.device)
    return torch.cat([start, (2.0 * heads - 1.0).to(torch.float64).cumsum(0)])


def wiener_increments(times: Tensor, n: int, d: int, generator: torch.Generator) -> Tensor:
    """W(t_{k+1}) - W(t_k) for n paths in d dimensions at ``times`` (m,): (m - 1, n, d), independent, variance |dt|.

    ValueError for times that neither all rise nor all fall.
    """
    dt = checked_times(times).diff().abs().to(generator.device)
    return dt.sqrt()[:, None, None] * normal((len(dt), checks.count("n", n), checks.count("d", d)), generator)


def coarsen(increments: Tensor, factor: int) -> Tensor:
    """Of increments (steps, ...) those of the same paths over steps ``factor`` times as long: (steps / factor, ...).

    ValueError for a factor that does not divide the number of steps.
    """
    if len(increments) % checks.count("factor", factor):
        raise ValueError(f"factor: {factor}: need a divisor of the number of steps, {len(increments)}")
    return increments.unflatten(0, (-1, factor)).sum(1)


def quadratic_variation(path: Tensor) -> Tensor:
    """The sum of the squared increments of a path (times, ...) so far: (times, ...), from 0."""
    return torch.cat([torch.zeros_like(path[:1]), path.diff(dim=0).square().cumsum(0)])
