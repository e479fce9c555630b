"""Sampling from a density one can evaluate: five classical ways, with one count of their cost.

- :func:`inverse_cdf` turns uniform numbers into draws, in one dimension.
- :func:`importance_sampling` keeps the draws of another density, and weighs them.
- :func:`rejection_sampling` throws away some of them, and what is left is exact.
- :func:`metropolis_hastings` walks, and refuses some of the steps.
- :func:`gibbs` renews one coordinate at a time, given the others.

A target is a function ``log_prob``: (n, d) -> (n,), in nats, up to a constant. A proposal has ``sample(n, generator)``
and ``log_prob(x)``, normalised; everything in :mod:`dpm_lib.targets` is one. Tensors live where the generator does;
lists and NumPy arrays are taken too, also from your functions, and become float64 tensors. A log density of NaN or plus
infinity raises ValueError, which says where; minus infinity, a density of zero, is fine.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dpm_lib import checks
from dpm_lib.weights import WeightedSamples

LogProb = Callable[[Tensor], Tensor]
Propose = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]
Conditional = Callable[[Tensor, torch.Generator], Tensor]

LONG_ENOUGH = 50  # autocorrelation times that a chain must last to tell its own


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
    x = (2u - 1) / sqrt(2 u (1 - u)). ValueError for a scale that is not positive and finite.
    """

    scale: Tensor

    def __post_init__(self) -> None:
        scale = checks.tensor("scale", self.scale)
        if scale.ndim != 1 or not bool((scale > 0).all() & torch.isfinite(scale).all()):
            raise ValueError(f"scale: need positive, finite numbers (d,), got {scale.tolist()}")
        object.__setattr__(self, "scale", scale)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        u = uniform((n, len(self.scale)), generator).clamp(1e-16, 1 - 1e-16)
        return self.scale * (2 * u - 1) / (2 * u * (1 - u)).sqrt()

    def log_prob(self, x: Tensor) -> Tensor:
        x = checks.points(x, len(self.scale))
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
    u = uniform((checks.count("n", n),), generator)
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
    x, log_p, log_q = _weighed(log_prob, proposal, checks.count("n", n), generator)
    return WeightedSamples(x, log_p - log_q)


def rejection_sampling(
    log_prob: LogProb,
    proposal: Proposal,
    log_bound: float,
    n: int,
    generator: torch.Generator,
    max_evaluations: int = 10_000_000,
) -> Accepted:
    """n exact draws of the density proportional to p*, given log M such that p*(x) <= M q(x) everywhere.

    Raises ValueError, naming the point, if a draw has p* > M q by more than rounding: then the draws would be wrong.
    (A bound that fails only where nothing was drawn goes unnoticed.) RuntimeError when ``max_evaluations`` are spent.
    Implements eq-mc-rejection.
    """
    checks.count("n", n)
    checks.count("max_evaluations", max_evaluations)
    if not math.isfinite(log_bound):
        raise ValueError(f"log_bound: must be finite, got {log_bound}")
    kept: list[Tensor] = []
    evaluations = accepted = 0
    while accepted < n:
        batch = min(max(n, 1000), max_evaluations - evaluations)
        if batch <= 0:
            raise RuntimeError(f"rejection_sampling: {accepted} of {n} draws after {evaluations} evaluations")
        x, log_p, log_q = _weighed(log_prob, proposal, batch, generator)
        log_accept = log_p - log_q - log_bound
        _check_bound(log_accept - _rounding(log_p, log_q), log_accept, x, log_bound)
        chosen = x[uniform((batch,), generator).log() < log_accept]
        kept.append(chosen)
        evaluations, accepted = evaluations + batch, accepted + len(chosen)
    return Accepted(torch.cat(kept)[:n], evaluations, accepted)


def random_walk(step: float | Tensor) -> Propose:
    """y = x + step * noise, with standard normal noise; ``step`` > 0, one number or (d,). Symmetric: log ratio 0."""
    size = torch.as_tensor(step, dtype=torch.float64)
    if size.ndim > 1 or not bool((size > 0).all() & torch.isfinite(size).all()):
        raise ValueError(f"step: must be positive and finite, got {step}")

    def propose(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if size.ndim and len(size) != x.shape[1]:
            raise ValueError(f"step: {len(size)} of them, for points in {x.shape[1]} dimensions")
        return x + size.to(x.device) * normal(tuple(x.shape), generator), x.new_zeros(len(x))

    return propose


def metropolis_hastings(
    log_prob: LogProb,
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
    log_p = _evaluated(log_prob, x, "log_prob", "at the start")
    if (log_p == -torch.inf).any():
        where = _point(x[log_p == -torch.inf][0])
        raise ValueError(f"start: density zero at {where}")
    trajectory, moved = [], torch.zeros_like(log_p)
    for t in range(1, steps + 1):
        y, log_ratio = _checked_proposal(propose(x, generator), x, t)
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


def grid_conditional(log_prob: LogProb, i: int, grid: Tensor) -> Conditional:
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
        raise ValueError(f"grid: {grid[k].item():g}, {grid[k + 1].item():g} at {k}: must rise, in even steps")

    def conditional(x: Tensor, generator: torch.Generator) -> Tensor:
        if not 0 <= i < x.shape[1]:
            raise ValueError(f"i: {i}: need a coordinate from 0 to {x.shape[1] - 1}")
        points = x.unsqueeze(1).repeat(1, len(grid), 1)
        points[:, :, i] = grid
        log_p = _evaluated(log_prob, points.reshape(-1, x.shape[1])).reshape(len(x), len(grid))
        cell = torch.multinomial(torch.softmax(log_p, 1), 1, generator=generator)[:, 0]
        return grid[cell] + width * (uniform((len(x),), generator) - 0.5)

    return conditional


def autocorrelation_time(values: Tensor) -> Tensor:
    """tau = 1 + 2 sum of the autocorrelations of values (steps, ...), per chain, in steps; at least 4 steps.

    The sum stops at the first pair of neighbouring lags whose sum is not positive (Geyer 1992, who shows that it is
    for reversible chains). A chain that never moves gets tau = steps. From 50 tau steps on, this leans to the high side
    by a few percent. From fewer it leans low, and so promises too many draws (three times too many from 2 tau steps):
    the chain has not yet seen what it takes long to see. So it warns (UserWarning) where steps < 50 tau, tau being the
    mean over what is given. No warning is no proof: a chain may not have met its slow parts at all. Raises ValueError
    for NaN or infinity. Estimates def-mc-tau.
    """
    values = checks.tensor("values", values).to(torch.float64)
    n = len(values) if values.ndim else 0
    if n < 4:
        raise ValueError(f"values: {n} steps; at least 4")
    if not torch.isfinite(values).all():
        where = tuple((~torch.isfinite(values)).nonzero()[0].tolist())
        raise ValueError(f"values: {values[where].item()} at index {where}")
    centred = values - values.mean(0)
    centred = centred / centred.abs().amax(0).clamp(min=torch.finfo(torch.float64).tiny)  # in units of its own
    power = torch.fft.rfft(centred, 2 * n, 0).abs().square()
    covariance = torch.fft.irfft(power, 2 * n, 0)[:n]
    moved = (values != values[0]).any(0)
    rho = covariance / torch.where(moved, covariance[0], 1.0)
    pairs = rho[: n - n % 2].unflatten(0, (n // 2, 2)).sum(1)
    tau = 2 * (pairs * (pairs > 0).cumprod(0)).sum(0) - 1
    tau = torch.where(moved, tau.clamp(min=1 / n), torch.full_like(tau, float(n)))
    if n < LONG_ENOUGH * tau.mean():
        seen = f"{n} steps are only {n / float(tau.mean()):.0f} autocorrelation times by this estimate"
        warnings.warn(f"values: {seen}; below {LONG_ENOUGH} it is too low, and promises too many draws", stacklevel=2)
    return tau


def potential_scale_reduction(values: Tensor) -> Tensor:
    """R-hat of values (steps, chains, ...): how far chains are from agreeing, (...); near 1 if they do.

    Each chain is cut into halves. R-hat^2 is the variance of all draws, estimated from within and between the halves,
    over the mean variance within one. Chains that never moved give infinity. At least 4 steps. Gelman and Rubin 1992;
    def-mc-rhat.
    """
    values = checks.tensor("values", values).to(torch.float64)
    if values.ndim < 2 or len(values) < 4 or not torch.isfinite(values).all():
        raise ValueError(
            f"values: need finite numbers (steps, chains, ...), at least 4 steps, got {tuple(values.shape)}"
        )
    half = len(values) // 2
    halves = torch.cat([values[:half], values[-half:]], 1)
    within, between = halves.var(0).mean(0), halves.mean(0).var(0)
    return ((half - 1) / half + between / within).sqrt()


def _evaluated(log_prob: LogProb, x: Tensor, name: str = "log_prob", where: str = "") -> Tensor:
    """log_prob(x), checked: shape (n,), neither NaN nor plus infinity."""
    value = checks.tensor(name, log_prob(x), x.device)
    if value.shape != x.shape[:-1]:
        raise ValueError(f"{name}: returned shape {tuple(value.shape)} for {tuple(x.shape)}")
    bad = torch.isnan(value) | (value == torch.inf)
    if bad.any():
        i = int(bad.nonzero()[0])
        place = f" {where}" if where else ""
        raise ValueError(f"{name}: {value[i].item()}{place}, point {i}, x = {_point(x[i])}")
    return value


def _weighed(
    log_prob: LogProb, proposal: Proposal, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """n draws of the proposal (n, d), with log p* and log q there, checked."""
    x = checks.tensor("proposal.sample", proposal.sample(n, generator), generator.device)
    if x.ndim != 2 or len(x) != n:
        raise ValueError(f"proposal.sample: returned shape {tuple(x.shape)}, not ({n}, d)")
    log_q = _evaluated(proposal.log_prob, x, "proposal.log_prob")
    if (log_q == -torch.inf).any():
        i = int((log_q == -torch.inf).nonzero()[0])
        raise ValueError(f"proposal: density zero at its own draw {i}, x = {_point(x[i])}")
    return x, _evaluated(log_prob, x), log_q


def _checked_cdf(cdf: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    value = checks.tensor("cdf", cdf(x), x.device)
    bad = ~((value >= 0) & (value <= 1))
    if bad.any():
        raise ValueError(f"cdf: {value[bad][0].item()} at x = {x[bad][0].item()}, not in [0, 1]")
    return value


def _rounding(log_p: Tensor, log_q: Tensor) -> Tensor:
    """What log p* - log q may be off by, (n,), in the coarser precision of the two."""
    eps = max(torch.finfo(log_p.dtype).eps, torch.finfo(log_q.dtype).eps)
    return (16 * eps * (1 + log_p.abs().nan_to_num(posinf=0.0) + log_q.abs())).clamp(min=1e-12)


def _check_bound(excess: Tensor, log_accept: Tensor, x: Tensor, log_bound: float) -> None:
    i = int(excess.argmax())
    if excess[i] > 0:
        found = log_bound + float(log_accept[i])
        raise ValueError(f"log_bound: {log_bound} is exceeded at x = {_point(x[i])}, where log p*/q = {found}")


def _checked_proposal(proposed: tuple[Tensor, Tensor], x: Tensor, t: int) -> tuple[Tensor, Tensor]:
    y, log_ratio = (checks.tensor("proposal", part, x.device) for part in proposed)
    if y.shape != x.shape or log_ratio.shape != x.shape[:1]:
        found = f"{tuple(y.shape)} and {tuple(log_ratio.shape)}"
        raise ValueError(f"proposal: y and log ratio of shapes {found} at step {t}, for x of shape {tuple(x.shape)}")
    bad = torch.isnan(log_ratio) | (log_ratio == torch.inf)
    if bad.any():  # plus infinity: a density of zero for the step that was just made
        i = int(bad.nonzero()[0])
        raise ValueError(f"proposal: log ratio {log_ratio[i].item()} at step {t}, point {i}, x = {_point(x[i])}")
    return y, log_ratio


def _checked_chain(start: Tensor, generator: torch.Generator, name: str, steps: int, thin: int) -> Tensor:
    x = checks.tensor("start", start, generator.device).to(torch.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"start: must have shape (chains, d), got {tuple(x.shape)}")
    if not torch.isfinite(x).all():
        raise ValueError(f"start: not finite at index {tuple((~torch.isfinite(x)).nonzero()[0].tolist())}")
    if checks.count(name, steps) < checks.count("thin", thin):
        raise ValueError(f"{name}: must be at least thin = {thin}, got {steps}")
    return x


def _point(x: Tensor) -> list[float]:
    """A point for a message: at most five coordinates."""
    return [float(f"{v:.6g}") for v in x[:5].tolist()]
