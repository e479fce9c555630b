"""Two SDEs to know by heart: the Ornstein-Uhlenbeck process and Langevin dynamics."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.probability.distributions import Gaussian
from dpm_lib.sde.sde import SDE

# Two SDEs to know by heart


@dataclass(frozen=True)
class OrnsteinUhlenbeck(SDE):
    """See :func:`ornstein_uhlenbeck`."""

    rate: float = 1.0
    noise: float = math.sqrt(2)
    mean: float | Tensor = 0.0

    def transition(self, x0: Tensor, t: Tensor | float) -> Gaussian:
        """The exact law of X_t given X_0 = x0 (n, d), for one t > 0, or a t (n,) for each row. Equation eq-sde-ou.

        ValueError for another shape of t, and for t <= 0 or NaN: at t = 0 there is no density.
        """
        elapsed = torch.as_tensor(t, dtype=x0.dtype, device=x0.device)
        if elapsed.numel() > 1 and elapsed.shape != (len(x0),):
            raise ValueError(f"t: shape {tuple(elapsed.shape)}: need one time, or one for each of {len(x0)} rows of x0")
        if not (elapsed > 0).all():
            raise ValueError(f"t: {elapsed[~(elapsed > 0)][0].item()}: need positive times")
        elapsed = elapsed.reshape(-1, 1) if elapsed.numel() > 1 else elapsed.reshape(1)
        variance = self.noise**2 * -torch.expm1(-2 * self.rate * elapsed) / (2 * self.rate)
        return Gaussian(self.mean + (x0 - self.mean) * torch.exp(-self.rate * elapsed), variance.sqrt())

    def stationary(self, dim: int = 1) -> Gaussian:
        """N(mean, noise^2 / (2 rate)) in ``dim`` dimensions. ValueError for dim < 1."""
        zero = torch.zeros(checks.count("dim", dim), dtype=torch.float64)
        return Gaussian(zero + self.mean, (zero + self.noise / math.sqrt(2 * self.rate))[:1])


def ornstein_uhlenbeck(rate: float = 1.0, noise: float = math.sqrt(2), mean: float | Tensor = 0.0) -> OrnsteinUhlenbeck:
    """dX = -rate (X - mean) dt + noise dW; its default tends to N(0, I). Its transitions are known exactly.

    ValueError for a rate or noise that is not positive.
    """
    checks.positive("rate", rate)
    checks.positive("noise", noise)
    return OrnsteinUhlenbeck(lambda x, t: -rate * (x - mean), lambda x, t: noise, True, False, rate, noise, mean)


def langevin(score: Callable[[Tensor], Tensor], step: float = 1.0, noise: float = math.sqrt(2)) -> SDE:
    """dX = step grad log p(X) dt + noise dW, given ``score`` = grad log p: (n, d) -> (n, d).

    Its stationary density is p^(2 step / noise^2), normalised, if that can be: p itself for noise^2 = 2 step.
    Equation eq-sde-langevin. Raises ValueError for a step or noise that is not positive.
    """
    checks.positive("step", step)
    checks.positive("noise", noise)
    return SDE(lambda x, t: step * score(x), lambda x, t: noise, True)
