"""Data plus Brownian motion: z(t) = y + W_t, with t the VARIANCE of the noise, and its steps back.

The variance-exploding picture of a diffusion. Points z are (n, d) float64. A target is whatever answers
``posterior_mean(z, t)`` = E[y | z(t) = z] and ``posterior_covariance(z, t)``: a distribution of
:mod:`dpm_lib.distributions`, exactly, or a trained model, through :class:`Denoiser`.
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from dpm_lib.checks import checked_states, count
from dpm_lib.diffusion import DiffusionModel
from dpm_lib.kernels import GaussianKernel
from dpm_lib.reverse import GaussianReverse
from dpm_lib.schedules import from_tau, to_variance_preserving
from dpm_lib.sde import SDE


class Target(Protocol):
    """The interface: two moments of the data given a noisy point z (n, d), at noise variance t > 0."""

    def posterior_mean(self, z: Tensor, t: float) -> Tensor:
        """E[y | z], (n, d)."""
        ...

    def posterior_covariance(self, z: Tensor, t: float) -> Tensor:
        """Cov[y | z], (n, d, d)."""
        ...


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


def tweedie(target: Target, z: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """grad log P_t (n, d) and its derivative, the Hessian of log P_t (n, d, d), at z (n, d).

    Equations eq-tw-first and eq-tw-second. ValueError for a t that is not positive.
    """
    _check_noise(t)
    z = checked_states(z, "z")
    identity = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    score = (target.posterior_mean(z, t) - z) / t
    return score, (target.posterior_covariance(z, t) / t - identity) / t


def step_back(target: Target, z: Tensor, t: float, dt: float) -> tuple[Tensor, Tensor]:
    """Mean (n, d) and covariance (n, d, d) of z(t - dt) given z(t) = z (n, d), for any dt in (0, t].

    Exact, equation eq-tw-step-moments. ValueError for another dt, or a t that is not positive.
    """
    _check_noise(t)
    if not 0 < dt <= t:
        raise ValueError(f"dt: {dt}: need 0 < dt <= t = {t}")
    z, share = checked_states(z, "z"), dt / t
    identity = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    mean = z + share * (target.posterior_mean(z, t) - z)
    return mean, dt * (1 - share) * identity + share**2 * target.posterior_covariance(z, t)


class Denoiser:
    """A trained Gaussian model in this picture, at any t > 0: its guesses of E[y | z], of Cov[y | z], and of the score.

    The model was trained at its schedule's tau_1..tau_T; outside of [tau_1, tau_T] its network must extrapolate.
    Differentiable in z. ValueError for a model of bits, or one that knows the integer times of its schedule only.
    """

    def __init__(self, model: DiffusionModel) -> None:
        reverse = model.reverse
        if not isinstance(reverse, GaussianReverse):
            raise ValueError(f"model: has the reverse kernel {type(reverse).__name__}, not a Gaussian one")
        if getattr(reverse.network, "integer_times", False) or reverse.covariance == "constant":
            raise ValueError("model: knows the times of its own schedule only, and cannot be asked at others")
        self.reverse: Any = reverse
        self.dim = model.kernel.dim

    def posterior_mean(self, z: Tensor, t: float) -> Tensor:
        """The guess of E[y | z(t) = z], (n, d)."""
        return self._moments(z, t)[0]

    def posterior_covariance(self, z: Tensor, t: float) -> Tensor:
        """The guess of Cov[y | z(t) = z], (n, d, d). ValueError for a model that does not learn one ("posterior")."""
        factor = self._moments(z, t)[1]
        if factor is None:
            raise ValueError("model: has the covariance form 'posterior', and no guess of Cov[y | z]")
        if self.reverse.covariance != "full":
            factor = torch.diag_embed(factor.expand_as(z))
        return factor @ factor.mT

    def score(self, z: Tensor, t: Tensor | float) -> Tensor:
        """The guess of grad log P_t(z), (n, d), by Tweedie's formula."""
        z = torch.as_tensor(z, dtype=torch.float64)
        return (self.posterior_mean(z, float(t)) - z) / float(t)

    def _moments(self, z: Tensor, t: float) -> tuple[Tensor, Tensor | None]:
        _check_noise(t)
        z = torch.as_tensor(z, dtype=torch.float64)
        if z.ndim != 2 or z.shape[1] != self.dim:
            raise ValueError(f"z: expected shape (n, {self.dim}), got {tuple(z.shape)}")
        kernel = GaussianKernel(self.dim, from_tau(torch.tensor([0.0, float(t)], dtype=torch.float64)))
        return self.reverse.moments(to_variance_preserving(t).point(z), 1, kernel)


def _check_noise(t: float) -> None:
    if not 0 < t < math.inf:
        raise ValueError(f"t: {t}: the noise's variance must be positive and finite")
