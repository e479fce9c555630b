"""Annealing: from a density that is easy to one that is hard, by way of everything in between.

A particle starts in the proposal q, and is moved a little at each inverse temperature b of a path to the target p* (see
``tempering``), which is known up to its normaliser Z. It collects
log w = sum_k (b_k - b_{k-1}) [log p*(x_{k-1}) - log q(x_{k-1})]. Then E[w] = Z exactly, whatever the number of
temperatures and however badly the moves mix (Neal 2001; Jarzynski 1997 with the work W = -log w).

``simulated_annealing`` only searches. ``annealed_importance_sampling`` keeps the weights, its reverse bounds log Z from
the other side, ``bennett`` makes one estimate of both, and ``sequential_monte_carlo`` resamples on the way. ``tuning``
chooses temperatures and steps. Points may be lists or arrays: they become float64 tensors.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpm_lib import checks
from dpm_lib.tempering import (
    LogDensity,
    Normal,
    Path,
    Proposal,
    RandomWalk,
    Transition,
    checked,
    checked_keep,
    checked_temperatures,
    cloud_step,
    metropolis_step,
    next_temperature,
)
from dpm_lib.weights import WeightedSamples

__all__ = [
    "Normal",
    "Path",
    "RandomWalk",
    "ResampledSamples",
    "annealed_importance_sampling",
    "bennett",
    "effective_size",
    "resample",
    "reverse_annealed_importance_sampling",
    "sequential_monte_carlo",
    "simulated_annealing",
]


class ResampledSamples(WeightedSamples):
    """Particles that were resampled on the way: ``log_z`` and ``mean`` are right, but they are not independent, so that
    their weights no longer tell the error of either."""

    @property
    def log_z_stderr(self) -> Tensor:
        """Raises TypeError: only repeated runs tell, and of the noise alone."""
        raise TypeError(
            "log_z_stderr: resampled particles are not independent; repeat the run, and compare; then with more moves, "
            "for a bias is the same in all repeats"
        )


def simulated_annealing(
    energy: LogDensity, x: Tensor, temperatures: Tensor, generator: torch.Generator, step: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Search for low energy: Metropolis on exp(-energy / temperature) while the temperature falls.

    x (n, d) are n starts; ``temperatures`` (K,) positive and not rising. Returns the best place each walker saw,
    (n, d), and its energy, (n,). No weights: where the walkers end is a distribution of no particular use.
    Kirkpatrick, Gelatt and Vecchi 1983.
    """
    checks.positive("step", step)
    falling, x = _checked_cooling(temperatures), _checked_points(x, generator)

    def ends(y: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(y[:, 0]), checked("-energy", -energy(y), y)])

    ends_x = ends(x)
    best, lowest = x, -ends_x[1]
    for temperature in falling:
        x, ends_x, _ = metropolis_step(x, ends, ends_x, 1 / temperature, step, generator)
        better = -ends_x[1] < lowest
        best, lowest = torch.where(better[:, None], x, best), torch.where(better, -ends_x[1], lowest)
    return best, lowest


@torch.no_grad()
def annealed_importance_sampling(
    log_target: LogDensity,
    proposal: Proposal,
    temperatures: Tensor,
    n: int,
    generator: torch.Generator,
    transition: Transition | None = None,
    callback: Callable[[int, Tensor, Tensor], None] | None = None,
) -> WeightedSamples:
    """n independent particles down the path, with weights: E[w] = Z, and weighted averages are those of the target.

    Provided that the proposal is positive wherever the target is: what it cannot reach is missing from Z.

    ``temperatures`` (K+1,) increase from 0 to 1. ``callback(k, x, log_weights)`` sees each k = 0..K, after its move.
    Costs n [1 + (K-1) moves] evaluations. {eq}`eq-ais-unbiased`; Neal 2001.
    """
    b = checked_temperatures(temperatures)
    path, move = Path(log_target, proposal), transition or RandomWalk()
    x = _drawn(proposal, n, generator)
    ends = path.ends(x)
    log_weights = torch.zeros(n, dtype=x.dtype, device=x.device)
    for k in range(1, len(b)):
        if callback:
            callback(k - 1, x, log_weights)
        log_weights = log_weights + (b[k] - b[k - 1]) * path.gain(ends)
        if k < len(b) - 1:
            x, ends = move(path, x, ends, b[k], k, generator)
    if callback:
        callback(len(b) - 1, x, log_weights)
    return WeightedSamples(x, log_weights)


@torch.no_grad()
def reverse_annealed_importance_sampling(
    log_target: LogDensity,
    proposal: Proposal,
    temperatures: Tensor,
    x: Tensor,
    generator: torch.Generator,
    transition: Transition | None = None,
) -> WeightedSamples:
    """The same path walked back, from exact draws x (n, d) of the target: a bound on log Z from above.

    The weights are 1/w, so that -``elbo`` is on average at least log Z; and ``log_z`` estimates -log Z if the target is
    positive wherever the proposal is (else it is low: E[1/w] = Q(P > 0) / Z). The particles end near the proposal. The
    transition must be reversible (``RandomWalk`` is). {eq}`eq-ais-reverse`.
    """
    b = checked_temperatures(temperatures)
    path, move = Path(log_target, proposal), transition or RandomWalk()
    x = _checked_points(x, generator)
    ends = path.ends(x)
    log_weights = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for k in range(len(b) - 1, 0, -1):
        log_weights = log_weights - (b[k] - b[k - 1]) * path.gain(ends)
        if k > 1:
            x, ends = move(path, x, ends, b[k - 1], k - 1, generator)
    return WeightedSamples(x, log_weights)


def bennett(forward: WeightedSamples, reverse: WeightedSamples) -> tuple[float, float]:
    """log Z from paths of both directions, and its standard error, nats: Bennett's acceptance ratio.

    ``forward`` (n,) from ``annealed_importance_sampling`` and ``reverse`` (m,) from its reverse, with the same path and
    moves; their numbers may differ. With each path's chance s = 1 / (1 + n Z / (m w)) of being one of the m, given its
    w alone, log Z is where these chances add up to m over all n + m paths. {eq}`eq-ais-bennett`; Bennett 1976. The
    standard error is for independent paths and to first order. ValueError for weights that are no such pair: batches,
    all 0, or resampled.
    """
    for name, run in (("forward", forward), ("reverse", reverse)):
        if run.log_weights.ndim != 1 or isinstance(run, ResampledSamples):
            raise ValueError(
                f"{name}: need (n,) weights of independent paths, got shape {tuple(run.log_weights.shape)}"
            )
        if not torch.isfinite(run.log_weights).any():
            raise ValueError(f"{name}: all {run.n} weights are 0")
    log_w = torch.cat([forward.log_weights, -reverse.log_weights]).double()  # reverse ones are weights 1/w
    shift = math.log(reverse.n / forward.n)

    def excess(log_z: float) -> float:
        return float(torch.sigmoid(log_w - log_z + shift).sum()) - reverse.n

    inside, reach = log_w[torch.isfinite(log_w)], abs(shift) + 40.0
    log_z = float(brentq(excess, float(inside.min()) - reach, float(inside.max()) + reach, xtol=1e-13))
    log_odds = log_w - log_z + shift
    overlap = (logsigmoid(log_odds) + logsigmoid(-log_odds)).exp().sum()  # of s (1 - s)
    variance = float(1 / overlap) - 1 / forward.n - 1 / reverse.n
    return log_z, math.sqrt(max(variance, 0.0))


@torch.no_grad()
def sequential_monte_carlo(
    log_target: LogDensity,
    proposal: Proposal,
    n: int,
    generator: torch.Generator,
    temperatures: Tensor | None = None,
    *,
    threshold: float = 0.5,
    keep: float = 0.9,
    moves: int = 1,
    chain: int = 1,
    transition: Transition | None = None,
    callback: Callable[[float, Tensor, Tensor, Any], None] | None = None,
) -> WeightedSamples:
    """AIS whose particles are resampled (systematically) when the effective sample size falls below threshold * n.

    Without ``temperatures`` each next one is found by bisection, so that the conditional effective sample size is
    ``keep`` * n. Without ``transition`` the moves are random walks shaped like the weighted cloud. At a resampling
    all weights become their mean: so ``log_z`` of the result is right with no more ado. E[w] = Z holds with fixed
    temperatures and transition. Adapting either to the particles costs a bias that vanishes as n grows, and is less
    than the error where the moves mix well. It need not be where they do not, as from a proposal narrower than the
    target: then raise ``moves`` or ``keep`` until the answer stays; repeated runs are all off by the same.
    With ``chain`` > 1 it is waste-free: at a resampling only n // chain parents are drawn, each walks chain - 1 moves,
    and every state on the way is a particle, (n // chain) chain of them. Particles of one chain are dependent, but
    E[w] = Z still holds (Dau and Chopin 2022).
    At b = 1 the weights are returned as they are: to resample or move once more would cost, and say nothing of Z. So
    ``x`` alone are not draws of the target, they go with their weights (draw again with ``probabilities``).
    ``callback(b, x, log_weights, step)`` sees each temperature after its move. Del Moral, Doucet and Jasra 2006.
    """
    given = None if temperatures is None else checked_temperatures(temperatures)
    chain, moves = checks.count("chain", chain), checks.count("moves", moves)
    checks.between("threshold", threshold, 0, 1)
    checked_keep(keep)
    path, b, k, scale = Path(log_target, proposal), 0.0, 0, 1.0
    if chain > 1 and (transition is not None or n < 2 * chain):
        raise ValueError(f"chain: {chain}: needs n >= 2 chain (n is {n}), and the built-in moves")
    x = _drawn(proposal, n, generator)
    ends = path.ends(x)
    log_weights = torch.zeros(n, dtype=x.dtype, device=x.device)
    step: Any = None
    while b < 1:
        gain = path.gain(ends)
        k += 1
        b_next = next_temperature(log_weights, gain, b, keep) if given is None else given[k]
        log_weights = log_weights + (b_next - b) * gain
        b = b_next
        if torch.isneginf(log_weights).all():
            raise ValueError(f"log_target: minus infinity at all {n} particles: the proposal misses the target")
        if transition is None:
            step = cloud_step(x, log_weights)
        if b == 1:
            break
        if effective_size(log_weights) < threshold * n:
            x, ends, log_weights = resample(x, ends, log_weights, generator, n // chain)
            if chain > 1:
                x, ends = _walk(path, x, ends, b, step, chain, generator)
                log_weights = log_weights[:1].expand(len(x))
        if transition is not None:
            x, ends = transition(path, x, ends, b, k, generator)
        elif chain == 1:
            for _ in range(moves):
                x, ends, moved = metropolis_step(x, path.ends, ends, b, scale * step, generator)
                scale = min(2.0, scale * math.exp(2.0 * (float(moved.double().mean()) - 0.3)))
        if callback:
            callback(b, x, log_weights, None if step is None else scale * step)
    if callback:
        callback(1.0, x, log_weights, None if step is None else scale * step)
    return ResampledSamples(x, log_weights)


def effective_size(log_weights: Tensor) -> float:
    """(sum w)^2 / sum w^2 of (n,) log weights; 0 where every weight is."""
    if (log_weights == -torch.inf).all():
        return 0.0
    return 1 / float(torch.softmax(log_weights, 0).square().sum())


def _walk(
    path: Path, x: Tensor, ends: Tensor, b: float, step: Any, length: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """All the states of chains of ``length`` states that start in x (m, d): (m length, d), with their ends."""
    states, all_ends = [x], [ends]
    for _ in range(length - 1):
        x, ends, _ = metropolis_step(x, path.ends, ends, b, step, generator)
        states.append(x)
        all_ends.append(ends)
    return torch.cat(states), torch.cat(all_ends, 1)


def resample(
    x: Tensor, ends: Tensor, log_weights: Tensor, generator: torch.Generator, m: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Systematic resampling to m (or n): each particle gets m w_i / sum w copies, up to one; each the mean weight.

    E[mean of f(x) w] is the same before and after, for any f.
    """
    n = len(log_weights)
    total = torch.logsumexp(log_weights, 0)
    u = torch.rand(1, generator=generator, dtype=torch.float64, device=x.device)
    m = n if m is None else checks.count("m", m)
    places = (torch.arange(m, dtype=torch.float64, device=x.device) + u) / m
    share = (log_weights - total).double().exp().cumsum(0)
    index = torch.searchsorted(share / share[-1], places, right=True).clamp(max=n - 1)
    return x[index], ends[:, index], (total - math.log(n)).expand(m)


def _checked_cooling(temperatures: Tensor) -> list[float]:
    values = checks.tensor("temperatures", temperatures).reshape(-1).tolist()
    for k, value in enumerate(values):
        if not 0 < value < math.inf or (k and value > values[k - 1]):
            raise ValueError(f"temperatures: {value} at index {k}: they must be positive and finite, and not rise")
    if not values:
        raise ValueError("temperatures: none: need at least one")
    return values


def _drawn(proposal: Proposal, n: int, generator: torch.Generator) -> Tensor:
    x = checks.tensor("proposal.sample", proposal.sample(checks.count("n", n), generator), generator.device)
    if x.ndim != 2 or len(x) != n:
        raise ValueError(f"proposal.sample: returned shape {tuple(x.shape)}, not ({n}, d)")
    return x


def _checked_points(x: Tensor, generator: torch.Generator) -> Tensor:
    points = checks.tensor("x", x, generator.device)
    if points.ndim != 2 or 0 in points.shape:
        raise ValueError(f"x: need shape (n, d), one row per particle, got {tuple(points.shape)}")
    return points
