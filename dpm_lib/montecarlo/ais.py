"""Annealed importance sampling, forward and in reverse, and Bennett's estimate of log Z from both.

A particle starts in the proposal q, and is moved a little at each inverse temperature b of a path to the target p* (see
``annealing_path``), which is known up to its normaliser Z. It collects
log w = sum_k (b_k - b_{k-1}) [log p*(x_{k-1}) - log q(x_{k-1})]. Then E[w] = Z exactly, whatever the number of
temperatures and however badly the moves mix (Neal 2001; Jarzynski 1997 with the work W = -log w). The reverse bounds
log Z from the other side, and ``bennett`` makes one estimate of both. ``temperature_ladder`` chooses temperatures and
steps. Points may be lists or arrays: they become float64 tensors.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpm_lib.core import checks
from dpm_lib.montecarlo.annealing_path import (
    Path,
    RandomWalk,
    Transition,
    checked_temperatures,
    metropolis_step,
)
from dpm_lib.probability.resampling import ResampledSamples
from dpm_lib.probability.target_densities import LogDensity, Proposal, drawn
from dpm_lib.probability.weighted_samples import WeightedSamples


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
    Costs n [1 + (K-1) moves] evaluations. ValueError for other temperatures, and for a log density of NaN or
    +infinity, with its place. {eq}`eq-ais-unbiased`; Neal 2001.
    """
    b = checked_temperatures(temperatures)
    path, move = Path(log_target, proposal), transition or RandomWalk()
    x = drawn(proposal, n, generator)
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
    transition must be reversible (``RandomWalk`` is). ValueError as for the way forth. {eq}`eq-ais-reverse`.
    """
    b = checked_temperatures(temperatures)
    path, move = Path(log_target, proposal), transition or RandomWalk()
    x = checks.rows("x", x, generator.device)
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
