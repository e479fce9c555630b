"""Diffusion kernels: one step, many steps at once, and one step back when the start is known.

A kernel T_pi(x | x'; beta) leaves a simple distribution pi unchanged and forgets x' at rate beta. A kernel with its
schedule is a forward process q, and answers four questions, each with a distribution that can ``sample``, give
``log_prob`` and ``entropy``, and compare itself to another by ``kl``:

    step(x_prev, t)         q(x_t | x_{t-1})
    marginal(x0, t)         q(x_t | x_0)
    posterior(x0, xt, t)    q(x_{t-1} | x_t, x_0)
    prior                   pi
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpm_lib.schedules import Schedule

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Gaussian:
    """Gaussians over the last axis, with ``mean`` (..., d).

    ``scale`` holds standard deviations, (..., 1) isotropic or (..., d) diagonal; or, with ``full``, lower-triangular
    Cholesky factors (..., d, d) of the covariances.
    """

    mean: Tensor
    scale: Tensor
    full: bool = False

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw per Gaussian, (..., d)."""
        mean = self.mean
        return self.from_noise(torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device))

    def from_noise(self, noise: Tensor) -> Tensor:
        """The draw made of standard normal ``noise`` (..., d): differentiable in mean and scale."""
        if self.full:
            return self.mean + (self.scale @ noise.unsqueeze(-1)).squeeze(-1)
        return self.mean + self.scale * noise

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; mean, covariance), (...), nats."""
        square = self._whiten(x - self.mean).square().sum(-1)
        return -0.5 * (square + self.mean.shape[-1] * LOG_2PI) - self._log_scale

    @property
    def entropy(self) -> Tensor:
        """Differential entropy, (...), nats."""
        return 0.5 * self.mean.shape[-1] * (1 + LOG_2PI) + self._log_scale

    def kl(self, other: "Gaussian") -> Tensor:
        """D_KL(self || other), (...), nats, in closed form."""
        apart = self.mean - other.mean
        shift = other._whiten(apart).square().sum(-1)
        if self.full or other.full:
            ratio = torch.linalg.solve_triangular(other.factor, self.factor, upper=False)
            spread = ratio.square().sum((-2, -1))
        else:
            spread = (self.scale / other.scale).square().expand_as(apart).sum(-1)
        return 0.5 * (shift + spread - self.mean.shape[-1]) + other._log_scale - self._log_scale

    @property
    def factor(self) -> Tensor:
        """The Cholesky factor of the covariance, (..., d, d)."""
        return self.scale if self.full else torch.diag_embed(self.scale.expand_as(self.mean))

    @property
    def _log_scale(self) -> Tensor:
        """Half the log determinant of the covariance, (...)."""
        diagonal = self.scale.diagonal(dim1=-2, dim2=-1) if self.full else self.scale.expand_as(self.mean)
        return diagonal.log().sum(-1)

    def _whiten(self, v: Tensor) -> Tensor:
        if self.full:
            return torch.linalg.solve_triangular(self.scale, v.unsqueeze(-1), upper=False).squeeze(-1)
        return v / self.scale


def pick(values: Tensor, t: int | Tensor) -> Tensor:
    """values[t] with a last axis added, so that it multiplies data (..., d): shape (1,) or (..., 1)."""
    return values[t].unsqueeze(-1)


class GaussianKernel(nn.Module):
    """T_pi(x_t | x_{t-1}; beta_t) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I), with pi = N(0, I) in ``dim`` dimensions.

    Times ``t`` are an int or an integer tensor of shape (...) for data of shape (..., d).
    """

    def __init__(self, dim: int, schedule: Schedule) -> None:
        super().__init__()
        self.dim = dim
        self.schedule = schedule

    @property
    def prior(self) -> Gaussian:
        """pi = N(0, I)."""
        zero = torch.zeros(self.dim, dtype=torch.float64, device=self.schedule.log_alpha_bar.device)
        return Gaussian(zero, torch.ones_like(zero[:1]))

    def step(self, x_prev: Tensor, t: int | Tensor) -> Gaussian:
        """q(x_t | x_{t-1}). The kernel is reversible in pi, so this is also T_pi(x_{t-1} | x_t; beta_t)."""
        beta = pick(self.schedule.beta, t)
        return Gaussian((1 - beta).sqrt() * x_prev, beta.sqrt())

    def marginal(self, x0: Tensor, t: int | Tensor) -> Gaussian:
        """q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I)."""
        log_alpha_bar = pick(self.schedule.log_alpha_bar, t)
        return Gaussian((0.5 * log_alpha_bar).exp() * x0, (-torch.expm1(log_alpha_bar)).sqrt())

    def posterior(self, x0: Tensor, xt: Tensor, t: int | Tensor) -> Gaussian:
        """q(x_{t-1} | x_t, x_0), for t >= 2 (at t = 1 it is a point mass at x_0)."""
        from_xt, from_x0, variance = self.bridge(t)
        return Gaussian(from_xt * xt + from_x0 * x0, variance.sqrt())

    def bridge(self, t: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients of the posterior: its mean is a x_t + b x_0, its variance v. Returns (a, b, v), each (..., 1).

        With r = tau_{t-1} / tau_t:  a = sqrt(1 - beta_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t),
        b = sqrt(alpha_bar_{t-1}) (1 - r),  v = (1 - alpha_bar_{t-1}) (1 - r). Written with log tau, so that
        nothing cancels where alpha_bar is close to 1.
        """
        now, before = pick(self.schedule.log_alpha_bar, t), pick(self.schedule.log_alpha_bar, t - 1)
        log_r = pick(self.schedule.log_tau, t - 1) - pick(self.schedule.log_tau, t)
        gap = -torch.expm1(log_r)
        a = (0.5 * (now - before)).exp() * torch.expm1(before) / torch.expm1(now)
        return a, (0.5 * before).exp() * gap, -torch.expm1(before) * gap
