"""Sampling from a density one can evaluate: five classical ways, with one count of their cost.

- :func:`inverse_cdf` turns uniform numbers into draws, in one dimension.
- :func:`importance_sampling` keeps the draws of another density, and weighs them.
- :func:`rejection_sampling` throws away some of them, and what is left is exact.
- :func:`metropolis_hastings` walks, and refuses some of the steps.
- :func:`gibbs` renews one coordinate at a time, given the others.

A target is a function ``log_prob``: (n, d) -> (n,), in nats, up to a constant. A proposal has ``sample(n, generator)``
and ``log_prob(x)``, normalised; everything in :mod:`dpm_lib.targets` is one. Tensors live where the generator does. A
log density of NaN or plus infinity raises ValueError, which says where; minus infinity, a density of zero, is fine.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dpm_lib.weights import WeightedSamples

LogProb = Callable[[Tensor], Tensor]
Propose = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]
Conditional = Callable[[Tensor, torch.Generator], Tensor]


class Proposal(Protocol):
    """What one can sample from and evaluate, normalised."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, d), independent draws."""

    def log_prob(self, x: Tensor) -> Tensor:
        """(n, d) -> (n,), nats."""


@dataclass(frozen=True)
class HeavyTails:
    """A proposal with tails heavier than a Gaussian's: Student t of two degrees of freedom, times ``scale`` (d,).

    Its density falls like |x|^-3. Its quantile function is explicit, so it is sampled by the inverse CDF:
    x = (2u - 1) / sqrt(2 u (1 - u)).
    """

    scale: Tensor

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        u = uniform((n, len(self.scale)), generator).clamp(1e-16, 1 - 1e-16)
        return self.scale * (2 * u - 1) / (2 * u * (1 - u)).sqrt()

    def log_prob(self, x: Tensor) -> Tensor:
        return (-1.5 * torch.log(2 + (x / self.scale).square()) - self.scale.log()).sum(-1)


@dataclass(frozen=True)
class Accepted:
    """What rejection sampling returns: exact draws ``x`` (n, d), and what they cost."""

    x: Tensor
    evaluations: int
    accepted: int  # of all evaluations; at least n, since the last batch may give too many

    @property
    def acceptance(self) -> float:
        """Share of the proposals that were accepted: an estimate of Z / M."""
        return self.accepted / self.evaluations


@dataclass(frozen=True)
class Chains:
    """What a Markov chain returns: ``x`` (kept, chains, d), ``acceptance`` (chains,), ``evaluations`` of each chain."""

    x: Tensor
    acceptance: Tensor
    evaluations: int


def uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform numbers in [0, 1), float64."""
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal numbers, float64."""
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)


def inverse_cdf(
    cdf: Callable[[Tensor], Tensor], n: int, generator: torch.Generator, low: float = -100.0, high: float = 100.0
) -> Tensor:
    """Draws (n,) of a number whose distribution function is ``cdf``: (n,) -> (n,), increasing.

    Solves cdf(x) = u by bisection on [low, high], for uniform u: 100 halvings, down to rounding error. Raises
    ValueError if ``cdf`` leaves [0, 1], or if some u has its solution outside [low, high].
    Implements eq-mc-inverse-cdf.
    """
    _check_count("n", n)
    u = uniform((n,), generator)
    left, right = torch.full_like(u, low), torch.full_like(u, high)
    if not low < high:
        raise ValueError(f"low: must be below high, got low = {low} and high = {high}")
    for name, end, sign in (("low", left, 1), ("high", right, -1)):
        if (sign * (_checked_cdf(cdf, end) - u) > 0).any():
            raise ValueError(f"{name}: cdf({end[0].item()}) = {cdf(end)[0].item()} leaves part of the mass out")
    for _ in range(100):
        middle = 0.5 * (left + right)
        below = _checked_cdf(cdf, middle) < u
        left, right = torch.where(below, middle, left), torch.where(below, right, middle)
    return 0.5 * (left + right)


def importance_sampling(log_prob: LogProb, proposal: Proposal, n: int, generator: torch.Generator) -> WeightedSamples:
    """n draws of ``proposal`` with log weights log p* - log q: x (n, d), log_weights (n,). Costs n evaluations.

    Raises ValueError for a bad log density, or a draw to which the proposal gives no density. Implements
    eq-mc-importance.
    """
    _check_count("n", n)
    x = proposal.sample(n, generator)
    log_q = _evaluated(proposal.log_prob, x, "proposal.log_prob")
    _check_support(log_q, x)
    return WeightedSamples(x, _evaluated(log_prob, x) - log_q)


def rejection_sampling(
    log_prob: LogProb,
    proposal: Proposal,
    log_bound: float,
    n: int,
    generator: torch.Generator,
    max_evaluations: int = 10_000_000,
) -> Accepted:
    """n exact draws of the density proportional to p*, given log M such that p*(x) <= M q(x) everywhere.

    Raises ValueError, naming the point, if a draw has p* > M q: then the draws would be wrong. (A bound that fails
    only where nothing was drawn goes unnoticed.) RuntimeError when
    ``max_evaluations`` are spent. Implements eq-mc-rejection.
    """
    _check_count("n", n)
    if not math.isfinite(log_bound):
        raise ValueError(f"log_bound: must be finite, got {log_bound}")
    kept: list[Tensor] = []
    evaluations = accepted = 0
    while accepted < n:
        batch = min(max(n, 1000), max_evaluations - evaluations)
        if batch <= 0:
            raise RuntimeError(f"rejection_sampling: {accepted} of {n} draws after {evaluations} evaluations")
        weights = importance_sampling(log_prob, proposal, batch, generator)
        log_accept = weights.log_weights - log_bound
        _check_bound(log_accept, weights.x, log_bound)
        chosen = weights.x[uniform((batch,), generator).log() < log_accept]
        kept.append(chosen)
        evaluations, accepted = evaluations + batch, accepted + len(chosen)
    return Accepted(torch.cat(kept)[:n], evaluations, accepted)


def random_walk(step: float | Tensor) -> Propose:
    """y = x + step * noise, with standard normal noise; ``step`` > 0, one number or (d,). Symmetric: log ratio 0."""
    size = torch.as_tensor(step, dtype=torch.float64)
    if not bool((size > 0).all() & torch.isfinite(size).all()):
        raise ValueError(f"step: must be positive and finite, got {step}")

    def propose(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return x + size.to(x.device) * normal(tuple(x.shape), generator), x.new_zeros(len(x))

    return propose


def metropolis_hastings(
    log_prob: LogProb,
    start: Tensor,
    proposal: float | Propose,
    steps: int,
    generator: torch.Generator,
    thin: int = 1,
) -> Chains:
    """Chains from ``start`` (chains, d), one evaluation a step each; every ``thin``-th state is kept, the start not.

    ``proposal``: the size of a Gaussian random walk, or a function (x, generator) -> (y (chains, d), log q(x|y) -
    log q(y|x) (chains,)). Raises ValueError for a bad log density (where it is, and at which step), for a start of
    density zero, and for wrong shapes. Implements def-mc-acceptance (Metropolis et al. 1953, Hastings 1970).
    """
    _check_chain(start, "steps", steps, thin)
    propose = proposal if callable(proposal) else random_walk(proposal)
    x = start.to(torch.float64)
    log_p = _evaluated(log_prob, x, "log_prob", "at the start")
    if (log_p == -torch.inf).any():
        where = _point(x[log_p == -torch.inf][0])
        raise ValueError(f"start: density zero at {where}")
    trajectory, moved = [], torch.zeros_like(log_p)
    for t in range(1, steps + 1):
        y, log_ratio = propose(x, generator)
        _check_proposal(y, log_ratio, x, t)
        new_log_p = _evaluated(log_prob, y, "log_prob", f"at step {t}")
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
    _check_chain(start, "sweeps", sweeps, thin)
    if len(conditionals) != start.shape[1]:
        raise ValueError(f"conditionals: {len(conditionals)} for the {start.shape[1]} coordinates of start")
    x, trajectory = start.to(torch.float64), []
    for t in range(1, sweeps + 1):
        for i, conditional in enumerate(conditionals):
            value = conditional(x, generator)
            if value.shape != x.shape[:1] or not torch.isfinite(value).all():
                raise ValueError(f"conditionals[{i}]: shape {tuple(value.shape)} or value not finite in sweep {t}")
            x = torch.cat([x[:, :i], value.unsqueeze(1), x[:, i + 1 :]], 1)
        if t % thin == 0:
            trajectory.append(x)
    return Chains(torch.stack(trajectory), torch.ones_like(x[:, 0]), sweeps * len(conditionals))


def grid_conditional(log_prob: LogProb, i: int, grid: Tensor) -> Conditional:
    """Draws x_i given the rest by the inverse CDF on ``grid`` (G,), evenly spaced: for conditionals with no name.

    The density is taken as constant on each cell around a grid point, so the grid must be fine, and hold the mass.
    """
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(f"grid: shape {tuple(grid.shape)}: need at least 2 points, in a row")
    width = float(grid[1] - grid[0])

    def conditional(x: Tensor, generator: torch.Generator) -> Tensor:
        points = x.unsqueeze(1).repeat(1, len(grid), 1)
        points[:, :, i] = grid
        log_p = _evaluated(log_prob, points.reshape(-1, x.shape[1])).reshape(len(x), len(grid))
        cell = torch.multinomial(torch.softmax(log_p, 1), 1, generator=generator)[:, 0]
        return grid[cell] + width * (uniform((len(x),), generator) - 0.5)

    return conditional


def autocorrelation_time(values: Tensor) -> Tensor:
    """tau = 1 + 2 sum of the autocorrelations of values (steps, ...), per chain, in steps; at least 4 steps.

    The sum stops at the first pair of neighbouring lags whose sum is not positive (Geyer 1992, who shows that it is
    for reversible chains). A chain that never moves gets tau = steps. Stopping there leans to the high side by some
    percent. Raises ValueError for NaN or infinity. Estimates def-mc-tau.
    """
    n, values = len(values), values.to(torch.float64)
    if n < 4:
        raise ValueError(f"values: {n} steps; at least 4")
    if not torch.isfinite(values).all():
        where = tuple((~torch.isfinite(values)).nonzero()[0].tolist())
        raise ValueError(f"values: {values[where].item()} at index {where}")
    centred = values - values.mean(0)
    power = torch.fft.rfft(centred, 2 * n, 0).abs().square()
    covariance = torch.fft.irfft(power, 2 * n, 0)[:n] / n
    rho = covariance / covariance[0].clamp(min=1e-300)
    pairs = rho[: n - n % 2].unflatten(0, (n // 2, 2)).sum(1)
    tau = 2 * (pairs * (pairs > 0).cumprod(0)).sum(0) - 1
    return torch.where(covariance[0] > 0, tau.clamp(min=1 / n), torch.full_like(tau, float(n)))


def _evaluated(log_prob: LogProb, x: Tensor, name: str = "log_prob", where: str = "") -> Tensor:
    """log_prob(x), checked: shape (n,), neither NaN nor plus infinity."""
    value = log_prob(x)
    if value.shape != x.shape[:-1]:
        raise ValueError(f"{name}: returned shape {tuple(value.shape)} for {tuple(x.shape)}")
    bad = torch.isnan(value) | (value == torch.inf)
    if bad.any():
        i = int(bad.nonzero()[0])
        place = f" {where}" if where else ""
        raise ValueError(f"{name}: {value[i].item()}{place}, point {i}, x = {_point(x[i])}")
    return value


def _checked_cdf(cdf: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    value = cdf(x)
    bad = ~((value >= 0) & (value <= 1))
    if bad.any():
        raise ValueError(f"cdf: {value[bad][0].item()} at x = {x[bad][0].item()}, not in [0, 1]")
    return value


def _check_support(log_q: Tensor, x: Tensor) -> None:
    if (log_q == -torch.inf).any():
        i = int((log_q == -torch.inf).nonzero()[0])
        raise ValueError(f"proposal: density zero at its own draw {i}, x = {_point(x[i])}")


def _check_bound(log_accept: Tensor, x: Tensor, log_bound: float) -> None:
    i = int(log_accept.argmax())
    if log_accept[i] > 1e-12:
        found = log_bound + float(log_accept[i])
        raise ValueError(f"log_bound: {log_bound} is exceeded at x = {_point(x[i])}, where log p*/q = {found}")


def _check_proposal(y: Tensor, log_ratio: Tensor, x: Tensor, t: int) -> None:
    if y.shape != x.shape or log_ratio.shape != x.shape[:1]:
        found = f"{tuple(y.shape)} and {tuple(log_ratio.shape)}"
        raise ValueError(f"proposal: y and log ratio of shapes {found} at step {t}, for x of shape {tuple(x.shape)}")
    if torch.isnan(log_ratio).any():
        i = int(torch.isnan(log_ratio).nonzero()[0])
        raise ValueError(f"proposal: log ratio nan at step {t}, point {i}, x = {_point(x[i])}")


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}: must be at least 1, got {value}")


def _check_chain(start: Tensor, name: str, steps: int, thin: int) -> None:
    if start.ndim != 2 or 0 in start.shape:
        raise ValueError(f"start: must have shape (chains, d), got {tuple(start.shape)}")
    if not torch.isfinite(start).all():
        raise ValueError(f"start: not finite at index {tuple((~torch.isfinite(start)).nonzero()[0].tolist())}")
    _check_count("thin", thin)
    if steps < thin:
        raise ValueError(f"{name}: must be at least thin = {thin}, got {steps}")


def _point(x: Tensor) -> list[float]:
    """A point for a message: at most five coordinates."""
    return [float(f"{v:.6g}") for v in x[:5].tolist()]
