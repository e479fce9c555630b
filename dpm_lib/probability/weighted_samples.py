"""Samples with importance weights.

Draw x_1..x_n from a proposal q, and keep log w_i = log p*(x_i) - log q(x_i), where p* is the target up to its
normaliser Z. Then mean w estimates Z without bias, mean log w is a lower bound on log Z (Jensen), and weighted
averages estimate expectations under the target. The same three facts are importance sampling, annealed importance
sampling and, with trajectories for samples, the probability and the bound of a diffusion model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_lib.core import checks


@dataclass(frozen=True)
class WeightedSamples:
    """Particles ``x`` (..., n, d) with ``log_weights`` (..., n) in nats; leading axes are separate problems.

    Lists and arrays become float64 tensors. Raises ValueError where the shapes disagree, or a log weight is NaN or
    +infinity. -infinity, a particle of weight zero, is allowed; if all are, ``log_z`` is -infinity, and there is no
    weighted mean.
    """

    x: Tensor
    log_weights: Tensor

    def __post_init__(self) -> None:
        for name in ("x", "log_weights"):
            object.__setattr__(self, name, checks.tensor(name, getattr(self, name)))
        shape = tuple(self.log_weights.shape)
        if not shape or shape[-1] == 0 or self.x.shape[:-1] != shape:
            raise ValueError(f"log_weights: shape {shape} does not fit x's shape (..., n, d), {tuple(self.x.shape)}")
        bad = torch.isnan(self.log_weights) | (self.log_weights == torch.inf)
        if bad.any():
            where = tuple(bad.nonzero()[0].tolist())
            raise ValueError(f"log_weights: {self.log_weights[where].item()} at index {where}")

    @property
    def n(self) -> int:
        """Number of particles."""
        return self.log_weights.shape[-1]

    @property
    def log_z(self) -> Tensor:
        """log mean w, (...): the importance-sampling estimate of log Z, in nats."""
        return torch.logsumexp(self.log_weights, -1) - math.log(self.n)

    @property
    def elbo(self) -> Tensor:
        """mean log w, (...): an unbiased estimate of a lower bound on log Z, in nats (Jensen's inequality)."""
        return self.log_weights.mean(-1)

    @property
    def probabilities(self) -> Tensor:
        """Self-normalised weights w_i / sum_j w_j, (..., n). Raises ValueError where all weights are 0."""
        lost = (self.log_weights == -torch.inf).all(-1)
        if lost.any():
            place = f" at index {tuple(lost.nonzero()[0].tolist())}" if lost.ndim else ""
            raise ValueError(f"log_weights: all {self.n} are minus infinity{place}: no weighted mean of weights 0")
        return torch.softmax(self.log_weights, -1)

    @property
    def ess(self) -> Tensor:
        """Effective sample size (sum w)^2 / sum w^2, (...): between 1 and n, and 0 where every weight is 0."""
        size = 1 / torch.softmax(self.log_weights, -1).square().sum(-1)
        return torch.where((self.log_weights == -torch.inf).all(-1), 0.0, size)

    @property
    def log_z_stderr(self) -> Tensor:
        """Standard error of ``log_z``, (...), for independent particles: to first order, that of mean w over mean w.

        NaN for a single particle, which says nothing of it, and where every weight is 0.
        """
        if self.n == 1:
            return torch.full_like(self.ess, torch.nan)
        spread = ((1 / self.ess - 1 / self.n).clamp(min=0) * self.n / (self.n - 1)).sqrt()
        return torch.where(self.ess > 0, spread, torch.nan)

    def mean(self, f: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        """Self-normalised estimate of E[f(x)] under the target, (..., k); ``f`` maps (..., n, d) to (..., n, k).

        Raises ValueError where f(x) has another shape, (..., n) for instance, and where every weight is 0.
        """
        values = checks.tensor("f", f(self.x), self.x.device)
        if values.ndim != self.x.ndim or values.shape[:-1] != self.x.shape[:-1]:
            raise ValueError(f"f: gives shape {tuple(values.shape)} for x of shape {tuple(self.x.shape)}")
        return (self.probabilities.unsqueeze(-1) * values).sum(-2)
