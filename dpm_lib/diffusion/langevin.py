"""Langevin's steps: sampling with the score alone, at one level of noise, down a ladder of levels, and with weights.

The data z(t) = y + W_t have noise of VARIANCE t, so that t is NCSN's sigma^2. Points z are (n, d) float64, one network
call is one evaluation of the score for all of them, and logarithms are nats. A step at level t is an Euler step, of
length ``step``, of ``sde.processes.langevin`` with half the score and noise 1 (def-sm-langevin):

    z' = z + (step / 2) score(z, t) + sqrt(step) noise.

It leaves P_t unchanged only as ``step`` goes to 0: see ``stationary_variance``.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_states, finite, shaped
from dpm_lib.core.random import normal
from dpm_lib.probability.target_densities import Proposal, drawn
from dpm_lib.probability.weighted_samples import WeightedSamples

Score = Callable[[Tensor, float], Tensor]
RATIO = 0.2  # step / t in NCSN's paper, epsilon = 2e-5 at the last level 0.01^2; its code steps twice as far, 0.4


class NoisyDensity(Protocol):
    """The interface: the density of z(t) at every level t, such as a mixture's."""

    def log_prob(self, z: Tensor, t: float) -> Tensor:
        """log P_t at z (n, d): (n,), nats."""
        ...

    def score(self, z: Tensor, t: float) -> Tensor:
        """grad log P_t at z (n, d): (n, d)."""
        ...


def mean_after(score: Score, z: Tensor, t: float, step: float) -> Tensor:
    """Where a step of Langevin's starts its noise, z + (step / 2) score(z, t), (n, d).

    ValueError for a score of another shape, NaN or infinity, with its place.
    """
    return z + 0.5 * step * finite("score", shaped("score", score(z, t), tuple(z.shape)), t)


@torch.no_grad()
def langevin(
    score: Score,
    z: Tensor,
    t: float,
    step: float,
    steps: int,
    generator: torch.Generator,
    callback: Callable[[int, float, Tensor], None] | None = None,
) -> Tensor:
    """Unadjusted Langevin at one level t: ``steps`` steps of variance ``step`` from z (n, d), one score each. (n, d).

    ``callback(k, t, z)`` sees each z, k = 1..steps. ValueError for a level or step that is not positive, fewer than one
    step, and a score of another shape or not finite. Equation def-sm-langevin.
    """
    checks.positive("t", t)
    checks.positive("step", step)
    z = checked_states(z, "z")
    for k in range(1, checks.count("steps", steps) + 1):
        z = mean_after(score, z, t, step) + math.sqrt(step) * normal(tuple(z.shape), generator)
        if callback:
            callback(k, t, z)
    return z


def stationary_variance(variance: float, step: float) -> float:
    """What unadjusted Langevin makes of N(m, variance): variance / (1 - step / (4 variance)), too wide. eq-sm-bias.

    ValueError for a step of 4 variances or more, where the chain runs away, and for numbers that are not positive.
    """
    checks.positive("variance", variance)
    if not checks.positive("step", step) < 4 * variance:
        raise ValueError(f"step: {step}: need less than 4 variances, {4 * variance:g}, or the chain runs away")
    return variance / (1 - step / (4 * variance))


@torch.no_grad()
def annealed_langevin(
    score: Score,
    z: Tensor,
    levels: Any,
    steps: int,
    generator: torch.Generator,
    ratio: float = RATIO,
    callback: Callable[[int, float, Tensor], None] | None = None,
) -> Tensor:
    """Annealed Langevin (Song and Ermon 2019): ``steps`` steps at each of ``levels`` (L,), which fall. (n, d).

    The step at level t has the variance ``ratio`` t, def-sm-annealed: in the paper's symbols alpha_i = epsilon
    sigma_i^2 / sigma_L^2, so that ratio = epsilon / sigma_L^2. From z (n, d), L steps scores in all. It ends at
    levels[-1], with that much noise in the points. ``callback(k, t, z)`` sees each z, k = 1..L steps. ValueError for
    levels that do not fall or are not positive, a ratio outside of (0, 4), and as for ``langevin``.
    """
    rungs = checked_levels(levels)
    checks.inside("ratio", ratio, 0, 4)
    for i, t in enumerate(rungs):
        tell = None
        if callback:
            tell = lambda k, t, z, i=i: callback(i * steps + k, t, z)  # noqa: E731
        z = langevin(score, z, t, ratio * t, steps, generator, tell)
    return z


@torch.no_grad()
def weighted_langevin(
    target: NoisyDensity,
    start: Proposal,
    levels: Any,
    steps: int,
    n: int,
    generator: torch.Generator,
    ratio: float = RATIO,
    callback: Callable[[int, float, Tensor, Tensor], None] | None = None,
) -> WeightedSamples:
    """Annealed Langevin with weights: annealed importance sampling whose ladder is noise, and not temperature.

    n draws of ``start`` take the very steps of ``annealed_langevin``, and each collects what one step makes it too
    likely by: log [P_t(z) at the end / start(z) at the start], and for each step log [N(z; m(z'), step) /
    N(z'; m(z), step)], where m is ``mean_after``. Then E[w] = 1 and E[w f(z)] = E_P f at the last level, for any number
    of levels and any ratio, eq-sm-weighted. It needs the density that a score alone does not give, and one more score
    at each level. ``callback(k, t, z, log_weights)`` sees each step, weighted for its own level. ValueError as for
    ``annealed_langevin``, and for log densities that are NaN or plus infinity.
    """
    rungs = checked_levels(levels)
    checks.inside("ratio", ratio, 0, 4)
    checks.count("steps", steps)
    z = checked_states(drawn(start, n, generator), "start.sample")
    log_weights = -checks.log_density("start.log_prob", start.log_prob(z), z)  # less log P_t(z), which comes last
    for i, t in enumerate(rungs):
        step, middle = ratio * t, mean_after(target.score, z, t, ratio * t)
        for k in range(1, steps + 1):
            noise = normal(tuple(z.shape), generator)
            after = middle + math.sqrt(step) * noise
            back = mean_after(target.score, after, t, step)
            log_weights = log_weights + 0.5 * (noise.square() - (z - back).square() / step).sum(1)
            z, middle = after, back
            if callback:
                callback(i * steps + k, t, z, log_weights + _log_prob(target, z, t))
    return WeightedSamples(z, log_weights + _log_prob(target, z, rungs[-1]))


def checked_levels(levels: Any) -> list[float]:
    """Levels (L,) of noise as a list. ValueError unless all are positive and finite, and fall."""
    values = checks.tensor("levels", levels).to(torch.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"levels: shape {tuple(values.shape)}: need at least one, in a row")
    rungs: list[float] = values.tolist()
    for i, t in enumerate(rungs):
        if not 0 < t < math.inf:
            raise ValueError(f"levels: {t} at index {i}: need positive, finite variances of noise")
    for i, (above, t) in enumerate(pairwise(rungs)):
        if not t < above:
            raise ValueError(f"levels: {t} at index {i + 1} after {above}: need them to fall")
    return rungs


def _log_prob(target: NoisyDensity, z: Tensor, t: float) -> Tensor:
    return checks.log_density("target.log_prob", target.log_prob(z, t), z, f"at level {t:g}")
