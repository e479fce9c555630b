"""What a guided way back leaves out: weights that make of guided particles draws of the tilted law.

In the variance-exploding picture, z(t) = y + noise of VARIANCE t, let P_t be the density of all data and Q_t that of a
class. Guidance follows grad log rho_t, where rho_t = P_t^(1-w) Q_t^w is P_t p_t(c | z)^w up to a constant. At t = 0 it
is the tilt. Above, it is not the tilt's own noisy density, unless w is 0 or 1, so that particles need weights:

    a step by any kernel K multiplies w by   rho_s(z') N(z; z', t - s) / [rho_t(z) K(z' | z)]      (eq-st-step-weight)
    a fall of t by dt adds to log w          1/2 w (w - 1) |grad log P_t - grad log Q_t|^2 dt      (eq-st-corrector)

``weighted_guidance`` uses the first, exact for any number of steps, where the two densities are known; ``corrected``
the second, which needs two guesses of x_0 and no density, and is exact in the limit of short steps.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_states, finite, shaped
from dpm_lib.core.random import normal
from dpm_lib.diffusion.guidance import Guided
from dpm_lib.diffusion.langevin import NoisyDensity, Score
from dpm_lib.diffusion.samplers import Noise, Sampler
from dpm_lib.probability.resampling import ResampledSamples, effective_size, resample
from dpm_lib.probability.target_densities import Proposal, drawn
from dpm_lib.probability.weighted_samples import WeightedSamples


class GuidedDensity:
    """rho_t = P_t^(1-w) Q_t^w, not normalised, of two known laws, and its score: {eq}`def-st-guided`.

    ``conditional`` is Q, ``unconditional`` P; points z are (n, d). ValueError for a w that is negative or not finite.
    """

    def __init__(self, conditional: NoisyDensity, unconditional: NoisyDensity, w: float) -> None:
        self.conditional, self.unconditional, self.w = conditional, unconditional, checks.between("w", w, 0)

    def log_prob(self, z: Tensor, t: float) -> Tensor:
        """log rho_t at z (n, d): (n,), nats, up to a constant."""
        return (1 - self.w) * self.unconditional.log_prob(z, t) + self.w * self.conditional.log_prob(z, t)

    def score(self, z: Tensor, t: float) -> Tensor:
        """(1 - w) grad log P_t + w grad log Q_t at z (n, d): (n, d)."""
        return (1 - self.w) * self.unconditional.score(z, t) + self.w * self.conditional.score(z, t)


@torch.no_grad()
def weighted_guidance(
    target: NoisyDensity,
    start: Proposal,
    levels: Sequence[float],
    n: int,
    generator: torch.Generator,
    *,
    threshold: float = 0.5,
    score: Score | None = None,
    callback: Callable[[float, Tensor, Tensor], None] | None = None,
) -> WeightedSamples:
    """n weighted draws (n, d) of ``target`` at the last level: mean w estimates its integral there without bias.

    n draws of ``start``, at levels[0], take Euler's steps of the reverse SDE down ``levels`` (variances that fall, the
    last may be 0): z' ~ N(z + (t - s) score, t - s), by the target's own score or another. Their weights are those of
    eq-st-step-weight, exact for any levels and any score. Where the effective size falls below ``threshold`` n they are
    resampled (0: never), but not at the end. ``callback(s, z, log_weights)`` sees each level. ValueError for levels
    that do not fall, a score of another shape or not finite, and log densities that are NaN or plus infinity.
    """
    steps = _falling(levels)
    checks.between("threshold", threshold, 0, 1)
    score = target.score if score is None else score
    z = checked_states(drawn(start, n, generator), "start.sample")
    log_rho = _log_prob(target, z, steps[0])
    log_weights = log_rho - checks.log_density("start.log_prob", start.log_prob(z), z)
    for t, s in pairwise(steps):
        if effective_size(log_weights) < threshold * n:
            z, ends, log_weights = resample(z, log_rho.unsqueeze(0), log_weights, generator)
            log_rho = ends[0]
        noise = normal(tuple(z.shape), generator)
        middle = z + (t - s) * finite("score", shaped("score", score(z, t), tuple(z.shape)), t)
        after = middle + (t - s) ** 0.5 * noise
        log_after = _log_prob(target, after, s)
        back = (after - z).square() / (t - s)
        log_weights = log_weights + log_after - log_rho + 0.5 * (noise.square() - back).sum(1)
        z, log_rho = after, log_after
        if callback:
            callback(s, z, log_weights)
    return (ResampledSamples if threshold else WeightedSamples)(z, log_weights)


@torch.no_grad()
def corrected(
    sampler: Sampler, model: Guided, x: Tensor, levels: Sequence[int], generator: Noise = None, **own: Any
) -> WeightedSamples:
    """What ``sampler`` draws of a guided model, x (n, d) at level 0, with the weights of eq-st-corrector.

    log w grows by the rate at the state before each step, times the step of tau: right for a constant w in the limit of
    short steps, for the reverse SDE and the flow alike, from x (n, d) drawn of rho at levels[0]; N(0, I) where there is
    hardly any signal. It asks both models once more a step. ValueError as the sampler's, and for an interval.
    """
    if model.limited:
        raise ValueError(f"model: guided from {model.low} to {model.high} in log tau alone: need one w at all levels")
    tau, log_weights, before = model.schedule.tau, torch.zeros(len(x), dtype=torch.float64), x

    def weigh(i: int, t: int, s: int, after: Tensor, x0_hat: Tensor) -> None:
        nonlocal log_weights, before
        log_weights = log_weights + (tau[t] - tau[s]) * rate(model, before, t)
        before = after

    end = sampler(model, x, levels, generator, weigh, **own)
    return WeightedSamples(end, log_weights)


def rate(model: Guided, x: Tensor, t: int) -> Tensor:
    """d log w / d tau as tau falls, (n,), at x (n, d) of level t: 1/2 w (w - 1) |x0_c - x0_u|^2 / tau^2.

    eq-st-corrector, with each score written as a guess: grad log P - grad log Q = (x0_u - x0_c) / tau.
    """
    apart = model.conditional.denoise(x, t) - model.unconditional.denoise(x, t)
    return 0.5 * model.w * (model.w - 1) * apart.square().sum(1) / model.schedule.tau[t].square()


def _falling(levels: Sequence[float]) -> list[float]:
    """The levels as a list. ValueError unless they are two or more, finite, and fall to 0 or above."""
    steps = [checks.between("levels", float(t), 0) for t in levels]
    if len(steps) < 2:
        raise ValueError(f"levels: {steps}: need two or more variances of noise")
    for t, s in pairwise(steps):
        if not s < t:
            raise ValueError(f"levels: {s} after {t}: need a fall at every step")
    return steps


def _log_prob(target: NoisyDensity, z: Tensor, t: float) -> Tensor:
    return checks.log_density("target.log_prob", target.log_prob(z, t), z, f"at level {t:g}")
