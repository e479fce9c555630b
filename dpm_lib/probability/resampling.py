"""Resampling: copies of the particles in proportion to their weights; and the effective sample size of weights."""

import math

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.probability.weighted_samples import WeightedSamples


class ResampledSamples(WeightedSamples):
    """Particles that were resampled on the way: ``log_z`` and ``mean`` are right, but they are not independent, so that
    their weights no longer tell the error of either."""

    @property
    def log_z_stderr(self) -> Tensor:
        """TypeError, not a number (...): only repeated runs tell, and of the noise alone."""
        raise TypeError(
            "log_z_stderr: resampled particles are not independent; repeat the run, and compare; then with more moves, "
            "for a bias is the same in all repeats"
        )


def effective_size(log_weights: Tensor) -> float:
    """(sum w)^2 / sum w^2 of (n,) log weights; 0 where every weight is."""
    if (log_weights == -torch.inf).all():
        return 0.0
    return 1 / float(torch.softmax(log_weights, 0).square().sum())


def resample(
    x: Tensor, ends: Tensor, log_weights: Tensor, generator: torch.Generator, m: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Systematic resampling to m (or n): each particle gets m w_i / sum w copies, up to one; each the mean weight.

    x (n, d), its ``ends`` (2, n) and ``log_weights`` (n,), nats. E[mean of f(x) w] is the same before and after, for
    any f. ValueError for m < 1.
    """
    n = len(log_weights)
    total = torch.logsumexp(log_weights, 0)
    u = torch.rand(1, generator=generator, dtype=torch.float64, device=x.device)
    m = n if m is None else checks.count("m", m)
    places = (torch.arange(m, dtype=torch.float64, device=x.device) + u) / m
    share = (log_weights - total).double().exp().cumsum(0)
    index = torch.searchsorted(share / share[-1], places, right=True).clamp(max=n - 1)
    return x[index], ends[:, index], (total - math.log(n)).expand(m)
