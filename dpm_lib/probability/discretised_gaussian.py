"""A Gaussian that is rounded to levels: what a model of pictures says of a pixel that takes few values."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_lib.core.checks import checked_width, count
from dpm_lib.probability.distributions import Gaussian


@dataclass(frozen=True)
class DiscretisedGaussian:
    """Gaussians of ``mean`` (..., d) and standard deviation ``scale`` (..., 1) or (..., d), rounded to levels.

    A state is one of ``centres`` (L,), evenly spaced and rising. A level's probability is the Gaussian's mass between
    the middles to its neighbours; the first and the last reach to infinity (Ho et al. 2020, equation 13). Probabilities
    are exact to rounding in both tails. ValueError for other centres, or a point or law of another width.
    """

    mean_of_gaussian: Tensor
    scale: Tensor
    centres: Tensor

    def __post_init__(self) -> None:
        Gaussian(self.mean_of_gaussian, self.scale)  # its own checks
        gaps = self.centres.diff()
        if not (len(gaps) and (gaps > 0).all() and torch.allclose(gaps, gaps[0].expand_as(gaps), rtol=1e-6, atol=0)):
            raise ValueError(f"centres: need two or more, evenly spaced and rising, got {self.centres[:4].tolist()}")

    @property
    def width(self) -> Tensor:
        """The distance between two levels, a scalar."""
        return (self.centres[-1] - self.centres[0]) / (len(self.centres) - 1)

    def log_prob(self, x: Tensor) -> Tensor:
        """log P(x), (...), nats, at levels x (..., d). ValueError, naming the entry, for a number that is no level."""
        x = checked_width("x", x, self.mean_of_gaussian.shape[-1])
        level = ((x - self.centres[0]) / self.width).round()
        apart = (x - self.centres[0] - level * self.width).abs() / self.width
        bad = ~((apart < 1e-3) & (level >= 0) & (level < len(self.centres)))
        if bad.any():
            where = tuple(bad.nonzero()[0].tolist())
            raise ValueError(f"x: {x[where].item():g} at index {where}: need one of the {len(self.centres)} levels")
        return self._log_mass(level).sum(-1)

    def _log_mass(self, level: Tensor) -> Tensor:
        """log P of levels 0..L-1 (..., d), a number for each."""
        middle = self.centres[0] + level * self.width - self.mean_of_gaussian
        low, high = (middle - 0.5 * self.width) / self.scale, (middle + 0.5 * self.width) / self.scale
        low = torch.where(level == 0, -torch.inf, low)
        high = torch.where(level == len(self.centres) - 1, torch.inf, high)
        mirrored = low + high > 0  # so that both ends are in the lower tail, and nothing cancels there
        near, far = torch.where(mirrored, -low, high), torch.where(mirrored, -high, low)
        log_near, log_far = torch.special.log_ndtr(near), torch.special.log_ndtr(far)
        return log_near + torch.log(-torch.expm1(log_far - log_near))

    @property
    def log_masses(self) -> Tensor:
        """log P of every level, (L, ..., d)."""
        levels = torch.arange(len(self.centres), device=self.centres.device, dtype=self.centres.dtype)
        shape = torch.broadcast_shapes(self.mean_of_gaussian.shape, self.scale.shape)
        return torch.stack([self._log_mass(level.expand(shape)) for level in levels])

    @property
    def mean(self) -> Tensor:
        """E[x], (..., d): of the levels, and so never beyond them."""
        return torch.einsum("l...,l->...", self.log_masses.exp(), self.centres)

    @property
    def entropy(self) -> Tensor:
        """-E log P(x), (...), nats."""
        return self.cross_entropy(self)

    def cross_entropy(self, other: "DiscretisedGaussian") -> Tensor:
        """-E log other(x) for x of this law, (...), nats."""
        log_p = self.log_masses
        return -torch.where(log_p > -torch.inf, log_p.exp() * other.log_masses, 0.0).sum((0, -1))

    def kl(self, other: "DiscretisedGaussian") -> Tensor:
        """D_KL(self || other), (...), nats."""
        return self.cross_entropy(other) - self.entropy

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw per law, (..., d)."""
        like = self.mean_of_gaussian
        return self.from_noise(torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device))

    def from_noise(self, noise: Tensor) -> Tensor:
        """The Gaussian's draw made of ``noise`` (..., d), at the nearest level: exactly this law."""
        x = self.mean_of_gaussian + self.scale * noise
        level = ((x - self.centres[0]) / self.width).round().clamp(0, len(self.centres) - 1)
        return self.centres[level.long()]

    def ratio(self, x: Tensor) -> Tensor:
        """p(x) / p(x) with the denominator held fixed, (...): it carries the gradient that a rounded draw does not."""
        log_p = self.log_prob(x)
        return (log_p - log_p.detach()).exp()

    def expand(self, n: int) -> "DiscretisedGaussian":
        """n copies, (n, ..., d)."""
        mean = self.mean_of_gaussian
        return DiscretisedGaussian(mean.expand(count("n", n, 0), *mean.shape), self.scale, self.centres)
