"""Twists (twisting functions): what multiplies the reverse chain at each time, so that it ends multiplied by r.

A twist psi_t(x), t = 0..T, has psi_0 = r, which may vanish, and is positive for t >= 1. The exact one is r_t(x) =
E[r(x_0) | x_t = x] (Doob's h-transform). All others are approximations, whose chain is wrong, and whose particles,
weighted, are right.

``Constant``: r at every time. ``Annealed``: powers of r, from 0 at T to 1. ``Expected``: E[r(x_0) | x_t] under the
model's own guess of x_0, exact if the guess is the true law. ``PlugIn``: r at the mean of that guess (Chung et al.
2022). ``Last``: 1, until t = 0.
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dpm_lib.core import checks
from dpm_lib.diffusion.forward_kernels import BinomialKernel, GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.probability.codebooks import Codebook
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.products_of_laws import Blend, Tilt, blend_of, times


class Twist(Protocol):
    """The interface: log psi_t(x) for x (n, d): (n,), nats; and psi_t as a ``Tilt``, where it is one."""

    def __call__(self, x: Tensor, t: int) -> Tensor: ...

    def tilt(self, t: int) -> Tilt | None:
        """psi_t as a ``Tilt``, if it is one."""
        ...


class Constant:
    """psi_t = r for every t: the choice of the 2015 paper's experiments."""

    def __init__(self, log_r: Any) -> None:
        self.log_r = log_r

    def __call__(self, x: Tensor, t: int) -> Tensor:
        return self.log_r(x)

    def tilt(self, t: int) -> Tilt | None:
        return self.log_r if isinstance(self.log_r, Tilt) else None


class Annealed:
    """psi_t = r^power_t, with ``powers`` (T+1,), 1 first; by default the paper's other choice, 1 - t/T.

    A ``Tilt`` of several terms has each term raised to the power. ValueError for other powers.
    """

    def __init__(self, log_r: Any, powers: Tensor) -> None:
        if powers.ndim != 1 or powers[0] != 1 or not bool(((powers >= 0) & torch.isfinite(powers)).all()):
            raise ValueError(f"powers: need shape (T+1,), 1 first and none below 0, got {powers[:3].tolist()}...")
        self.log_r, self.powers = log_r, powers

    def __call__(self, x: Tensor, t: int) -> Tensor:
        tilt = self.tilt(t)
        if tilt is not None:
            return tilt(x)
        power = float(self.powers[t])
        return power * self.log_r(x) if power else torch.zeros_like(x[:, 0])

    def tilt(self, t: int) -> Tilt | None:
        return self.log_r.power(float(self.powers[t])) if isinstance(self.log_r, Tilt) else None


class Expected:
    """psi_t(x) = E[r(x_0) | x_t = x] under the model's guess of x_0. {eq}`eq-post-twist`

    Exact for ``ExactModel``. For a learned Gaussian kernel the guess is a Gaussian with its mean and covariance. One
    that is diagonal counts dependent coordinates as so many witnesses: ``softness`` c > 0 takes the power 1 / (1 + c
    tau_t), 1 at t = 0 and small where much noise is left. TypeError where ``r`` is no ``Tilt``, ValueError for a
    negative softness.
    """

    def __init__(self, model: DiffusionModel, r: Tilt, softness: float = 0.0) -> None:
        if not isinstance(r, Tilt):
            raise TypeError("log_r: this twist needs a Tilt, whose expectation is known in closed form")
        if not 0 <= softness < math.inf:
            raise ValueError(f"softness: {softness} is not in [0, infinity)")
        self.model, self.r, self.softness = model, r, softness

    @property
    def exact(self) -> bool:
        """True if this is r_t itself."""
        return isinstance(self.model, ExactModel) and self.softness == 0

    def __call__(self, x: Tensor, t: int) -> Tensor:
        if t == 0:
            return self.r(x)
        soft = 1 + self.softness * float(self.model.schedule.tau[t]) if self.softness else 1.0  # tau_T may be infinite
        return times(guess(self.model, x, t), self.r)[1] / soft

    def tilt(self, t: int) -> Tilt | None:
        return self.r if t == 0 else None


class PlugIn:
    """psi_t(x) = r(E[x_0 | x_t = x]): as in diffusion posterior sampling (Chung et al. 2022)."""

    def __init__(self, model: DiffusionModel, log_r: Any) -> None:
        self.model, self.log_r = model, log_r

    def __call__(self, x: Tensor, t: int) -> Tensor:
        return self.log_r(x if t == 0 else guess(self.model, x, t).mean)

    def tilt(self, t: int) -> Tilt | None:
        return self.log_r if t == 0 and isinstance(self.log_r, Tilt) else None


class Last:
    """psi_t = 1 for t >= 1: the chain is the model's own, and r comes at the end. Right for any r.

    As particles this is importance sampling from the model; of n draws about n (E r)^2 / E r^2 count.
    """

    def __init__(self, log_r: Any) -> None:
        self.log_r = log_r

    def __call__(self, x: Tensor, t: int) -> Tensor:
        return self.log_r(x) if t == 0 else torch.zeros_like(x[:, 0])

    def tilt(self, t: int) -> Tilt | None:
        return self.log_r if t == 0 and isinstance(self.log_r, Tilt) else None


class Ending:
    """``twist`` for t >= 1, and r at t = 0, whatever the twist has there."""

    def __init__(self, twist: Any, log_r: Any) -> None:
        self.twist, self.log_r = twist, log_r

    @property
    def exact(self) -> bool:
        """True if the twist is E[r(x_0) | x_t] for its own r, as ``Expected`` knows it."""
        return isinstance(self.twist, Expected) and self.twist.exact

    def __call__(self, x: Tensor, t: int) -> Tensor:
        return self.twist(x, t) if t else self.log_r(x)

    def tilt(self, t: int) -> Tilt | None:
        return self.twist.tilt(t) if t else self.log_r if isinstance(self.log_r, Tilt) else None


def guess(model: DiffusionModel, xt: Tensor, t: int) -> Any:
    """The law of x_0 given x_t (n, d) in which the model's reverse step believes: a Gaussian, bits, or a blend."""
    return model.reverse.start(xt, t, model.kernel)


class BlendReverse(nn.Module):
    """The true reverse kernel q(x_{t-1} | x_t) of data known exactly: not its best Gaussian, nor best single bits."""

    def __init__(self, target: Mixture | Codebook) -> None:
        super().__init__()
        self.target, self.blend = target, blend_of(target)

    def start(self, xt: Tensor, t: int, kernel: Any) -> Any:
        """The law of x_0 given x_t (n, d)."""
        return times(self.blend, kernel.look(xt, t))[0]

    def forward(self, xt: Tensor, t: int, kernel: Any) -> Any:
        """q(x_{t-1} | x_t), (..., d)."""
        return through(self.start(xt, t, kernel), xt, t, kernel)

    def score(self, xt: Tensor, t: int, kernel: Any) -> Tensor:
        """grad log q_t(x_t), (n, d), by Tweedie's formula; TypeError for bits."""
        if not isinstance(kernel, GaussianKernel):
            raise TypeError("score: bits have no score: log q_t(x) has no gradient in x")
        log = kernel.schedule.log_alpha_bar[t]
        return ((0.5 * log).exp() * self.start(xt, t, kernel).mean - xt) / -torch.expm1(log)


class ExactModel(DiffusionModel):
    """A model that makes no error: for every t, and so for t = 1 too, p(x_{t-1} | x_t) = q(x_{t-1} | x_t).

    All that is left of the difference between p(x_0) and the data ``target`` is the start in pi, not q(x_T).
    """

    def __init__(self, target: Mixture | Codebook, schedule: Schedule) -> None:
        bits = isinstance(target, Codebook)
        kernel = BinomialKernel(target.dim, schedule) if bits else GaussianKernel(target.dim, schedule)
        super().__init__(kernel, BlendReverse(target))

    def reverse_step(self, xt: Tensor, t: int) -> Any:
        """q(x_{t-1} | x_t), (..., d), the last step included. ValueError for a time outside 1..T."""
        checks.checked_step(t, self.T)
        return self.reverse(xt, t, self.kernel)


def through(start: Any, xt: Tensor, t: int, kernel: Any) -> Any:
    """The law of x_{t-1} given x_t (..., d), when x_0 given x_t has the law ``start``: each part goes by the bridge."""
    parts = start.parts if isinstance(start, Blend) else start
    seen = xt.unsqueeze(-2) if isinstance(start, Blend) else xt
    made = kernel.through(parts, seen, t)
    return Blend(start.log_weights, made) if isinstance(start, Blend) else made
