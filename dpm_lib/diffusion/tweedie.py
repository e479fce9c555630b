"""Tweedie's formula: the score of noisy data from the best guess of the clean ones, and the other way round.

The data z(t) = y + W_t have noise of VARIANCE t. Points z are (n, d) float64. A target is whatever answers
``posterior_mean(z, t)`` = E[y | z(t) = z] and ``posterior_covariance(z, t)``: a mixture, exactly, or a trained model,
through :class:`Denoiser`.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_states
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.reverse_kernels import GaussianReverse
from dpm_lib.diffusion.schedules import from_tau, to_variance_preserving


class Target(Protocol):
    """The interface: two moments of the data given a noisy point z (n, d), at noise variance t > 0."""

    def posterior_mean(self, z: Tensor, t: float) -> Tensor:
        """E[y | z], (n, d)."""
        ...

    def posterior_covariance(self, z: Tensor, t: float) -> Tensor:
        """Cov[y | z], (n, d, d)."""
        ...


def tweedie(target: Target, z: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """grad log P_t (n, d) and its derivative, the Hessian of log P_t (n, d, d), at z (n, d).

    Equations eq-tw-first and eq-tw-second. ValueError for a t that is not positive.
    """
    checks.positive("t", t)
    z = checked_states(z, "z")
    identity = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    score = (target.posterior_mean(z, t) - z) / t
    return score, (target.posterior_covariance(z, t) / t - identity) / t


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
        checks.positive("t", t)
        z = torch.as_tensor(z, dtype=torch.float64)
        if z.ndim != 2 or z.shape[1] != self.dim:
            raise ValueError(f"z: need shape (n, {self.dim}), got {tuple(z.shape)}")
        kernel = GaussianKernel(self.dim, from_tau(torch.tensor([0.0, float(t)], dtype=torch.float64)))
        return self.reverse.moments(to_variance_preserving(t).point(z), 1, kernel)
