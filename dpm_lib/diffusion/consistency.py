"""Consistency: from any level to the end of the flow in one call, on the line, where that map is known.

f(z, t) is where the probability flow takes z(t) = z at time 0 (def-str-end). It does not change along the flow, so
f(z, t) = f(z', t') where the flow joins them. Two losses teach that to a network on levels 0 = tau_0 < tau_1 < ...,
with f(z, tau_1) = z given, or, here, the first guess of the model: distillation follows one step of DDIM by a teacher
who knows E[y | z]; training puts a draw y in its place, with the same noise at both levels. What either has learned
when its loss is as small as can be is computed here, on tables. All are models to a sampler, such as ``jumps``.
"""

import math

import numpy as np
import torch
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import softmax
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.diffusion.mixture_flow import monotone_map
from dpm_lib.diffusion.samplers import MixtureDenoiser
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.probability.mixtures import Mixture

WAYS = ("distillation", "training")
Array = NDArray[np.float64]
REACH = 9.0  # standard deviations that a table holds


class ExactJump(MixtureDenoiser):
    """The flow's end f(z, t) for a ``target`` on the line with a density, as a model whose guess it is. def-str-end.

    ValueError for another target.
    """

    def __init__(self, target: Mixture, schedule: Schedule) -> None:
        super().__init__(_on_line(target), schedule)

    def denoise(self, x: Tensor, t: int) -> Tensor:
        """f at x_t = x (n, 1), (n, 1). ValueError for t outside of 1..T."""
        checks.checked_step(t, self.schedule.T)
        return monotone_map(_noisy(self.target, self.schedule, t), self.target, x)


class LearnedJump(MixtureDenoiser):
    """What consistency "distillation" or "training" learns, exactly, level by level, from the mixture and nothing else.

    With r = sigma_{t-1} / sigma_t, distillation has f_t(z) = f_{t-1}(r z + (1 - r) E[y | z]), training
    f_t(z) = E[f_{t-1}(r z + (1 - r) y) | z], by ``nodes`` of Gauss and Hermite for each component, and f_1 = E[y | z].
    Tables of ``places``, cubic between them. eq-str-distilled, eq-str-trained. ValueError for another ``way``, a target
    that is not on the line, a schedule without signal at the end, and few places or nodes.
    """

    def __init__(
        self, target: Mixture, schedule: Schedule, way: str = "distillation", places: int = 1601, nodes: int = 24
    ) -> None:
        super().__init__(_on_line(target), schedule)
        checks.one_of("way", way, WAYS)
        if not torch.isfinite(schedule.log_alpha_bar[-1]):
            raise ValueError("schedule: need some signal at the last level, for a table of finite reach")
        where = torch.linspace(-REACH, REACH, checks.count("places", places, 100), dtype=torch.float64)
        rule = hermegauss(checks.count("nodes", nodes, 4))
        self.tables: list[CubicSpline] = []
        for t in range(1, schedule.T + 1):
            noisy = _noisy(target, schedule, t)
            x = (1 + float(noisy.centers.abs().max()) / REACH) * where
            value = super().denoise(x.unsqueeze(1), t)[:, 0].numpy()
            if t > 1:
                value = (
                    self._follow(x.numpy(), value, t) if way == "distillation" else self._average(x.numpy(), t, rule)
                )
            self.tables.append(CubicSpline(x.numpy(), value))

    def _follow(self, x: Array, guess: Array, t: int) -> Array:
        """f_{t-1} where one step of DDIM leads."""
        z, r, scale = self._step(x, t)
        return self.tables[-1](scale * (r * z + (1 - r) * guess))

    def _average(self, x: Array, t: int, rule: tuple[Array, Array]) -> Array:
        """The mean of f_{t-1} over data that may have led to x, with the noise that they need for it."""
        z, r, scale = self._step(x, t)
        tau, variance = float(self.schedule.tau[t]), self.target.variance
        centers, weights = self.target.centers[:, 0].numpy(), self.target.weights.numpy()
        kept = variance / (variance + tau)
        means = (1 - kept) * centers + kept * z[:, None]  # of y, given z and the component
        share = softmax(np.log(weights) - (z[:, None] - centers) ** 2 / (2 * (variance + tau)), axis=1)
        y = means[..., None] + math.sqrt(kept * tau) * rule[0]
        ends = self.tables[-1](scale * (r * z[:, None, None] + (1 - r) * y))
        return np.asarray((share[..., None] * ends * (rule[1] / rule[1].sum())).sum((1, 2)))

    def _step(self, x: Array, t: int) -> tuple[Array, float, float]:
        """z of x at level t, r = sigma_{t-1} / sigma_t, and what makes x of a z at level t - 1."""
        tau, log_alpha_bar = self.schedule.tau, self.schedule.log_alpha_bar
        r = math.sqrt(float(tau[t - 1] / tau[t]))
        return x * math.sqrt(1 + float(tau[t])), r, math.exp(0.5 * float(log_alpha_bar[t - 1]))

    def denoise(self, x: Tensor, t: int) -> Tensor:
        """f_t at x_t = x (n, 1), (n, 1). ValueError for t outside of 1..T."""
        table = self.tables[int(checks.checked_step(t, self.schedule.T)) - 1]
        return torch.from_numpy(table(checks.points(x, 1).detach().numpy()))


def _on_line(target: Mixture) -> Mixture:
    if target.dim != 1:
        raise ValueError(f"target: need one on the line, and this one has {target.dim} dimensions")
    checks.positive("target, variance", target.variance)
    return target


def _noisy(target: Mixture, schedule: Schedule, t: int) -> Mixture:
    """The law of x_t."""
    alpha_bar = float(schedule.alpha_bar[t])
    return Mixture(math.sqrt(alpha_bar) * target.centers, target.weights, alpha_bar * target.variance + 1 - alpha_bar)
