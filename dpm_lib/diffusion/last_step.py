"""The last step back, p(x_0 | x_1), of a model that has learned it.

The 2015 model does not learn it: p(x_0 | x_1) = T_pi(x_0 | x_1; beta_1), the edge kernel, costs the same whatever the
network knows, and asks for a tiny beta_1. DDPM (Ho et al. 2020) has beta_1 = 1e-4, more than a level of grey, and takes
a Gaussian around the network's guess of x_0 instead, rounded to the levels of the picture: then K bounds the
probability of the levels themselves, and nothing is dequantised.
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dpm_lib.core import checks
from dpm_lib.probability.discretised_gaussian import DiscretisedGaussian
from dpm_lib.probability.distributions import Law


class LastStep(Protocol):
    """The interface: p(x_0 | x_1) for x_1 (..., d), of a model's reverse and forward kernel."""

    def __call__(self, x1: Tensor, reverse: Any, kernel: Any) -> Law: ...


class LevelStep(nn.Module):
    """p(x_0 | x_1) as a Gaussian around the guess of x_0 at t = 1, rounded to ``centres`` (L,), evenly spaced.

    Its variance is beta-tilde_2, that of q(x_1 | x_2, x_0), whatever the other steps have: so it is in Ho et al.'s own
    code, for "fixed large" too. A reverse kernel whose network says the variance has a method ``last_moments`` of its
    own. ValueError for other centres.
    """

    centres: Tensor

    def __init__(self, centres: Tensor) -> None:
        super().__init__()
        self.register_buffer("centres", checks.finite("centres", checks.tensor("centres", centres)))
        DiscretisedGaussian(self.centres[:1], torch.ones_like(self.centres[:1]), self.centres)  # its checks

    def forward(self, x1: Tensor, reverse: Any, kernel: Any) -> DiscretisedGaussian:
        """p(x_0 | x_1), for x_1 (..., d): one call of the network."""
        if hasattr(reverse, "last_moments"):
            mean, variance = reverse.last_moments(x1, kernel)
        else:
            mean, variance = reverse.moments(x1, 1, kernel)[0], kernel.bridge(2)[2]
        return DiscretisedGaussian(mean, variance.sqrt(), self.centres)


class LearnedStep(nn.Module):
    """p(x_0 | x_1) by the reverse kernel itself, at t = 1: where states are finitely many, a step like all others.

    A mask needs it: its kernel does not lead back. K is then -sum_{t=1}^T E D_KL, but for the start in pi.
    """

    def forward(self, x1: Tensor, reverse: Any, kernel: Any) -> Law:
        """p(x_0 | x_1), for x_1 (..., d): one call of the network."""
        return reverse(x1, 1, kernel)


def levels(count: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    """So many levels evenly from ``low`` to ``high``, (count,). ValueError for fewer than 2, or a range that falls."""
    if not low < high < math.inf:
        raise ValueError(f"high: need a finite number above low, got {low}, {high}")
    return torch.linspace(low, high, checks.count("count", count, 2), dtype=torch.float64)
