"""The variance of the step back: DDPM's two, the best one number for each step, and what a choice costs in K.

A step p(x_{t-1} | x_t) = N(a x_t + b x0_hat, s^2 I), with a, b, v of q(x_{t-1} | x_t, x_0) = N(a x_t + b x_0, v I) and
the mean squared error e_t = E|x_0 - x0_hat|^2 in d dimensions, costs, in nats (def-sm-step-cost),

    E D_KL = d/2 [log(s^2 / v) + v / s^2 - 1] + b^2 e_t / (2 s^2).

Its least value is at s^2 = v + b^2 e_t / d (eq-sm-best-variance; with e_t of the exact posterior mean this is
Analytic-DPM's, Bao et al. 2022). e_t = 0, data that are a point, gives "small", v; e_t = d (1 - alpha_bar_t), standard
normal data, gives "large", beta_t. All that is indexed by t is (T+1,) or (T+1, n), and not used at t = 0 and 1.
"""

from typing import Any

import torch
from torch import Tensor

from dpm_lib.core.checks import count
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import Schedule


def bridge(schedule: Schedule) -> tuple[Tensor, Tensor]:
    """b and v of q(x_{t-1} | x_t, x_0), each (T+1,), with 0 for the steps 0 and 1, where there is no such law.

    def-sm-step-cost.
    """
    _, b, v = GaussianKernel(1, schedule).bridge(torch.arange(2, schedule.T + 1, device=schedule.log_alpha_bar.device))
    zero = torch.zeros_like(schedule.log_alpha_bar[:2])
    return torch.cat([zero, b.squeeze(-1)]), torch.cat([zero, v.squeeze(-1)])


def small(schedule: Schedule) -> Tensor:
    """v, (T+1,): the variance of q(x_{t-1} | x_t, x_0), right for data that are one point. eq-sm-variance-ends."""
    return bridge(schedule)[1]


def large(schedule: Schedule) -> Tensor:
    """beta_t, (T+1,): the variance of q(x_{t-1} | x_t) for standard normal data. eq-sm-variance-ends."""
    return schedule.beta


def best(schedule: Schedule, error: Tensor, dim: int) -> Tensor:
    """The one variance for each step that costs least, (T+1,), from the mean squared ``error`` (T+1,) in ``dim``
    dimensions: v + b^2 e / d. eq-sm-best-variance. ValueError for dim < 1.
    """
    b, v = bridge(schedule)
    return v + b.square() * error / count("dim", dim)


def cost(schedule: Schedule, error: Tensor, dim: int, variance: Tensor) -> Tensor:
    """D_KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) in nats, for squared errors (T+1, ...): of the same shape.

    ``variance`` (T+1,) is that of p. Rows 0 and 1 are zero. def-sm-step-cost. ValueError for dim < 1.
    """
    b, v = (part[2:].reshape(-1, *[1] * (error.ndim - 1)) for part in bridge(schedule))
    s2 = variance[2:].reshape(v.shape)
    spread = 0.5 * count("dim", dim) * ((s2 / v).log() + v / s2 - 1)
    return torch.cat([torch.zeros_like(error[:2]), spread + b.square() * error[2:] / (2 * s2)])


@torch.no_grad()
def squared_errors(model: DiffusionModel, x0: Tensor, generator: torch.Generator) -> Tensor:
    """|x_0 - x0_hat(x_t, t)|^2 at one draw of x_t for each row of ``x0`` (n, d) and each t >= 2, (T+1, n)."""
    kernel: Any = model.kernel
    found = torch.zeros(model.T + 1, len(x0), dtype=torch.float64)
    for t in range(2, model.T + 1):
        xt = kernel.marginal(x0, t).sample(generator)
        found[t] = (x0 - model.denoise(xt, t)).square().sum(-1)
    return found
