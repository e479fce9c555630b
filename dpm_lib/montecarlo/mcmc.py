"""Markov chain Monte Carlo: Metropolis-Hastings and Gibbs sampling.

A target is a function ``log_prob``: (n, d) -> (n,), in nats, up to a constant. Tensors live where the generator does;
lists and NumPy arrays are taken too, also from your functions, and become float64 tensors. A log density of NaN or plus
infinity raises ValueError, which says where; minus infinity, a density of zero, is fine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.random import normal, uniform
from dpm_lib.probability.target_densities import LogDensity

Propose = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]
Conditional = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Chains:
    """What a Markov chain returns: ``x`` (kept, chains, d), ``acceptance`` (chains,), ``evaluations`` of each chain."""

    x: Tensor
    acceptance: Tensor
    evaluations: int


def random_walk(step: float | Tensor) -> Propose:
    """A Gaussian proposal y = x + step * noise; ``step`` > 0, one number or (d,). Symmetric: its log ratio is 0.

    ValueError for a step that is not positive and finite, or of another width than x.
    """
    size = torch.as_tensor(step, dtype=torch.float64)
    if size.ndim > 1 or not bool((size > 0).all() & torch.isfinite(size).all()):
        raise ValueError(f"step: {step}: need positive, finite numbers")

    def propose(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if size.ndim and len(size) != x.shape[1]:
            raise ValueError(f"step: {len(size)} of them, for points in {x.shape[1]} dimensions")
        return x + size.to(x.device) * normal(tuple(x.shape), generator), x.new_zeros(len(x))

    return propose


def metropolis_hastings(
    log_prob: LogDensity,
    start: Tensor,
    proposal: float | Tensor | Propose,
    steps: int,
    generator: torch.Generator,
    thin: int = 1,
) -> Chains:
    """Chains from ``start`` (chains, d), one evaluation a step each; every ``thin``-th state is kept, the start not.

    ``proposal``: the size of a Gaussian random walk, or a function (x, generator) -> (y (chains, d), log q(x|y) -
    log q(y|x) (chains,)). Raises ValueError for a bad log density (where it is, and at which step), for a start of
    density zero, and for wrong shapes. Implements def-mc-acceptance (Metropolis et al. 1953, Hastings 1970).
    """
    x = _checked_chain(start, generator, "steps", steps, thin)
    propose = proposal if callable(proposal) else random_walk(proposal)
    log_p = checks.log_density("log_prob", log_prob(x), x, "at the start")
    if (log_p == -torch.inf).any():
        where = checks.coordinates(x[log_p == -torch.inf][0])
        raise ValueError(f"start: density zero at {where}")
    trajectory, moved = [], torch.zeros_like(log_p)
    for t in range(1, steps + 1):
        y, log_ratio = _checked_proposal(propose(x, generator), x, t)
        new_log_p = checks.log_density("log_prob", log_prob(y), y, f"at step {t}")
        log_u = uniform((len(x),), generator).log()
        accept = log_u < new_log_p - log_p + log_ratio
        x = torch.where(accept.unsqueeze(1), y, x)
        log_p = torch.where(accept, new_log_p, log_p)
        moved += accept
        if t % thin == 0:
            trajectory.append(x)
    return Chains(torch.stack(trajectory), moved / steps, steps)


def gibbs(
    conditionals: Sequence[Conditional], start: Tensor, sweeps: int, generator: torch.Generator, thin: int = 1
) -> Chains:
    """Chains from ``start`` (chains, d); a sweep renews coordinates 0, ..., d - 1 in turn.

    ``conditionals[i]`` maps (x (chains, d), generator) to draws (chains,) of x_i given the others. A draw counts as an
    evaluation, so a sweep costs d. Raises ValueError if there are not d conditionals, or one returns a wrong shape or
    a number that is not finite. Implements eq-mc-gibbs (Geman and Geman 1984).
    """
    x, trajectory = _checked_chain(start, generator, "sweeps", sweeps, thin), []
    if len(conditionals) != x.shape[1]:
        raise ValueError(f"conditionals: {len(conditionals)} for the {x.shape[1]} coordinates of start")
    for t in range(1, sweeps + 1):
        for i, conditional in enumerate(conditionals):
            value = checks.tensor(f"conditionals[{i}]", conditional(x, generator), x.device)
            if value.shape != x.shape[:1] or not torch.isfinite(value).all():
                raise ValueError(f"conditionals[{i}]: shape {tuple(value.shape)} or value not finite in sweep {t}")
            x = torch.cat([x[:, :i], value.unsqueeze(1), x[:, i + 1 :]], 1)
        if t % thin == 0:
            trajectory.append(x)
    return Chains(torch.stack(trajectory), torch.ones_like(x[:, 0]), sweeps * len(conditionals))


def grid_conditional(log_prob: LogDensity, i: int, grid: Tensor) -> Conditional:
    """Draws x_i given the rest by the inverse CDF on ``grid`` (G,), evenly spaced: for conditionals with no name.

    The density is taken as constant on each cell around a grid point, so the grid must be fine, and hold the mass.
    ValueError for a grid that is not even, or an i that is no coordinate.
    """
    grid = checks.tensor("grid", grid)
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(f"grid: shape {tuple(grid.shape)}: need at least 2 points, in a row")
    width = float(grid[-1] - grid[0]) / (len(grid) - 1)
    off = (grid.diff() - width).abs() - 1e-6 * width - 4 * torch.finfo(grid.dtype).eps * grid.abs().max()
    if not width > 0 or not bool((off <= 0).all()):
        k = int(off.argmax())
        raise ValueError(
            f"grid: {grid[k].item():g}, {grid[k + 1].item():g} at {k}: need a grid that rises in even steps"
        )

    def conditional(x: Tensor, generator: torch.Generator) -> Tensor:
        if not 0 <= i < x.shape[1]:
            raise ValueError(f"i: {i}: need a coordinate from 0 to {x.shape[1] - 1}")
        points = x.unsqueeze(1).repeat(1, len(grid), 1)
        points[:, :, i] = grid
        points = points.reshape(-1, x.shape[1])
        log_p = checks.log_density("log_prob", log_prob(points), points).reshape(len(x), len(grid))
        cell = torch.multinomial(torch.softmax(log_p, 1), 1, generator=generator)[:, 0]
        return grid[cell] + width * (uniform((len(x),), generator) - 0.5)

    return conditional


def _checked_proposal(proposed: tuple[Tensor, Tensor], x: Tensor, t: int) -> tuple[Tensor, Tensor]:
    y, log_ratio = (checks.tensor("proposal", part, x.device) for part in proposed)
    if y.shape != x.shape or log_ratio.shape != x.shape[:1]:
        found = f"{tuple(y.shape)} and {tuple(log_ratio.shape)}"
        raise ValueError(f"proposal: y and log ratio of shapes {found} at step {t}, for x of shape {tuple(x.shape)}")
    # plus infinity: a density of zero for the step that was just made
    return y, checks.log_density("proposal: log ratio", log_ratio, x, f"at step {t}")


def _checked_chain(start: Tensor, generator: torch.Generator, name: str, steps: int, thin: int) -> Tensor:
    x = checks.finite("start", checks.rows("start", start, generator.device).to(torch.float64))
    if checks.count(name, steps) < checks.count("thin", thin):
        raise ValueError(f"{name}: {steps}: need at least thin = {thin}")
    return x
