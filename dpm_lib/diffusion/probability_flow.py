"""The probability flow ODE: data and noise joined without chance, and the exact likelihood that comes with it.

The densities P_t of z(t) = y + W_t are also those of points that follow dz/dt = -(1/2) grad log P_t(z). Along such a
path log P changes at the rate d log P_t(z(t)) / dt = (1/2) div grad log P_t (eq-tw-instantaneous). Followed up to a
time T at which P_T is known, this gives log P_t at the start. Points are (n, d) float64, logarithms nats.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from dpm_lib.core.checks import checked_states, checked_times, finite, shaped
from dpm_lib.diffusion import tweedie
from dpm_lib.sde import sde

Score = Callable[[Tensor, float], Tensor]
LogProb = Callable[[Tensor], Tensor]


def exact_divergence(score: Score) -> Score:
    """div score (n,) at z (n, d), by automatic differentiation: d passes backwards.

    ValueError for a score that automatic differentiation cannot follow, such as one that leaves torch for NumPy.
    """

    def followed(x: Tensor, t: Tensor | float) -> Tensor:
        value = score(x, float(t))
        if not value.requires_grad and not torch.equal(value, score(x + 1e-3, float(t))):
            raise ValueError("score: depends on z, but has no gradient: write it in torch, or give a divergence")
        return value

    return lambda z, t: sde.divergence(followed, z, t).sum(-1)


def tweedie_divergence(target: tweedie.Target) -> Score:
    """div score (n,) at z (n, d), from the second moment: (tr Cov[y | z] / t - d) / t. Equation eq-tw-trace."""
    return lambda z, t: tweedie.tweedie(target, z, t)[1].diagonal(dim1=-2, dim2=-1).sum(-1)


@torch.no_grad()
def transport(score: Score, z: Tensor, times: Tensor, divergence: Score | None = None) -> tuple[Tensor, Tensor]:
    """Points z (n, d) at times[0] > 0, carried by the flow to times[-1]: (n, d), and the change of log P (n,).

    Heun's method in log t, of second order, with the steps ``times`` (rising or falling). Without a ``divergence`` it
    is taken by automatic differentiation. ValueError for bad times, answers of another shape than z (n, d) and (n,), or
    points that leave the finite numbers.
    """
    divergence = exact_divergence(score) if divergence is None else divergence

    def pace(z: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """dz / dlog t and dlog P / dlog t."""
        slope = shaped("score", score(z, t), z.shape)
        return -0.5 * t * slope, 0.5 * t * shaped("divergence", divergence(z, t), z.shape[:1])

    z, change = checked_states(z, "z"), torch.zeros(len(z), dtype=torch.float64)
    times = checked_times(times)
    if not times.min() > 0:
        raise ValueError(f"times: reach {float(times.min()):g}: need t > 0, where every score is finite")
    for t, after in pairwise(times.tolist()):
        h = math.log(after / t)
        slope, rate = pace(z, t)
        slope_after, rate_after = pace(z + h * slope, after)
        change = change + 0.5 * h * (rate + rate_after)
        z = finite("z", z + 0.5 * h * (slope + slope_after), after)
    return z, change


def log_likelihood(
    score: Score, z: Tensor, times: Tensor, log_prior: LogProb, divergence: Score | None = None
) -> Tensor:
    """log P at z (n, d) and times[0], (n,): that of the end of the flow, ``log_prior`` at times[-1], less the change.

    Equation eq-tw-likelihood. ValueError unless the times rise, and ``log_prior`` answers (n,).
    """
    times = checked_times(times)
    if times[-1] < times[0]:
        raise ValueError(f"times: fall from {times[0]:g} to {times[-1]:g}: a likelihood is followed upwards")
    end, change = transport(score, z, times, divergence)
    return shaped("log_prior", log_prior(end), change.shape) - change
