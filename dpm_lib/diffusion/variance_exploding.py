"""The variance-exploding form of a diffusion: data plus Brownian motion, z(t) = y + W_t, and its steps back.

t is the VARIANCE of the noise. Points z are (n, d) float64; for targets see ``tweedie``.
"""

import math

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_states, count
from dpm_lib.diffusion.tweedie import Target
from dpm_lib.sde.sde import SDE


def brownian() -> SDE:
    """dz = dW, from z(0) = y. ``brownian().reverse(target.score, noise=lam)`` is every way back, eq-tw-family."""
    return SDE(lambda z, t: 0.0, lambda z, t: 1.0, autonomous=True)


def falling_times(first: float, last: float, steps: int) -> Tensor:
    """Times from ``first`` down to ``last`` > 0, (steps + 1,), each the same factor below the one before.

    Every step then takes away the same share dt/t of the noise. ValueError for times out of order, or no steps.
    """
    if not 0 < last < first < math.inf:
        raise ValueError(f"first, last: {first}, {last}: need 0 < last < first < infinity")
    return torch.linspace(math.log(first), math.log(last), count("steps", steps) + 1, dtype=torch.float64).exp()


def step_back(target: Target, z: Tensor, t: float, dt: float) -> tuple[Tensor, Tensor]:
    """Mean (n, d) and covariance (n, d, d) of z(t - dt) given z(t) = z (n, d), for any dt in (0, t].

    Exact, equation eq-tw-step-moments. ValueError for another dt, or a t that is not positive.
    """
    checks.positive("t", t)
    if not 0 < dt <= t:
        raise ValueError(f"dt: {dt}: need 0 < dt <= t = {t}")
    z, share = checked_states(z, "z"), dt / t
    identity = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    mean = z + share * (target.posterior_mean(z, t) - z)
    return mean, dt * (1 - share) * identity + share**2 * target.posterior_covariance(z, t)
