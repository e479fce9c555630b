"""Densities for Monte Carlo: awkward to sample from, with every answer known; and proposals to start from.

``Proposal`` is what all have in common, and ``Density`` adds exact moments: only a ``HeavyTails`` has none. All are
differentiable in x and follow its dtype.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.constants import LOG_2PI
from dpm_lib.core.random import normal, uniform

LogDensity = Callable[[Tensor], Tensor]  # (n, d) -> (n,), nats, up to a constant


class Proposal(Protocol):
    """What one can sample from and evaluate."""

    def log_prob(self, x: Tensor) -> Tensor:
        """log q(x) at points x (..., d): (...), nats, normalised. ValueError for points of another width."""
        ...

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n independent draws, (n, d). ValueError for n < 1."""
        ...


class Density(Proposal, Protocol):
    """What a sampler is tried on: its log Z is 0, and its moments are known."""

    dim: int

    @property
    def mean(self) -> Tensor:
        """E[x], (dim,), exact."""
        ...

    @property
    def variance(self) -> Tensor:
        """Var[x_i], (dim,), exact."""
        ...


def drawn(proposal: Proposal, n: int, generator: torch.Generator) -> Tensor:
    """n draws of a proposal, (n, d). ValueError where it answers with another shape, or for n < 1."""
    x = checks.tensor("proposal.sample", proposal.sample(checks.count("n", n), generator), generator.device)
    if x.ndim != 2 or len(x) != n:
        raise ValueError(f"proposal.sample: answers with shape {tuple(x.shape)}: need ({n}, d)")
    return x


def _normal(n: int, dim: int, generator: torch.Generator) -> Tensor:
    return normal((checks.count("n", n), dim), generator)


def _log_normal(x: Tensor, mean: Tensor | float, log_std: Tensor | float) -> Tensor:
    """log N(x; mean, std^2), elementwise."""
    z = (x - mean) * torch.exp(-torch.as_tensor(log_std, dtype=x.dtype, device=x.device))
    return -0.5 * (z.square() + LOG_2PI) - log_std


@dataclass(frozen=True)
class Normal:
    """N(0, std^2 I): the easiest target, and the usual proposal. ValueError for a width or std that is not positive."""

    dim: int
    std: float = 1.0

    def __post_init__(self) -> None:
        checks.count("dim", self.dim)
        checks.positive("std", self.std)

    @property
    def mean(self) -> Tensor:
        return torch.zeros(self.dim, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        return torch.full((self.dim,), self.std**2, dtype=torch.float64)

    def log_prob(self, x: Tensor) -> Tensor:
        x = checks.points(x, self.dim)
        return -0.5 * x.square().sum(-1) / self.std**2 - self.dim * (0.5 * LOG_2PI + math.log(self.std))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.std * _normal(n, self.dim, generator)


@dataclass(frozen=True)
class StandardNormal(Normal):
    """N(0, I): a ``Normal`` of std 1."""

    dim: int = 2
    std: float = field(default=1.0, init=False)


@dataclass(frozen=True)
class TwoClumps:
    """p N(+m, s^2 I) + (1 - p) N(-m, s^2 I), m = (1, ..., 1) distance / (2 sqrt(dim)): two modes, apart.

    ValueError for a std that is not positive, or a share p outside of (0, 1).
    """

    dim: int = 2
    distance: float = 6.0
    std: float = 0.7
    share: float = 0.7  # the weight p of the clump at +m

    def __post_init__(self) -> None:
        checks.count("dim", self.dim)
        checks.positive("std", self.std)
        checks.between("distance", self.distance, -math.inf)
        checks.inside("share", self.share, 0, 1)

    @property
    def _center(self) -> float:
        return 0.5 * self.distance / math.sqrt(self.dim)

    @property
    def mean(self) -> Tensor:
        return torch.full((self.dim,), (2 * self.share - 1) * self._center, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        spread = self.std**2 + 4 * self.share * (1 - self.share) * self._center**2
        return torch.full((self.dim,), spread, dtype=torch.float64)

    def log_prob(self, x: Tensor) -> Tensor:
        x, log_std = checks.points(x, self.dim), math.log(self.std)
        right = _log_normal(x, self._center, log_std).sum(-1) + math.log(self.share)
        left = _log_normal(x, -self._center, log_std).sum(-1) + math.log1p(-self.share)
        return torch.logaddexp(right, left)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        u = torch.rand(checks.count("n", n), 1, generator=generator, dtype=torch.float64, device=generator.device)
        side = torch.where(u < self.share, 1.0, -1.0)
        return side * self._center + self.std * _normal(n, self.dim, generator)


@dataclass(frozen=True)
class Banana:
    """A bent Gaussian: x_1 ~ N(0, s^2), x_2 | x_1 ~ N(b (x_1^2 - s^2), 1), the others N(0, 1) (Haario et al. 1999).

    ValueError for fewer than two dimensions, or a std that is not positive.
    """

    dim: int = 2
    std: float = 2.0
    bend: float = 0.5

    def __post_init__(self) -> None:
        checks.count("dim", self.dim, 2)
        checks.positive("std", self.std)
        checks.between("bend", self.bend, -math.inf)

    @property
    def mean(self) -> Tensor:
        return torch.zeros(self.dim, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        value = torch.ones(self.dim, dtype=torch.float64)
        value[0], value[1] = self.std**2, 1 + 2 * self.bend**2 * self.std**4
        return value

    def log_prob(self, x: Tensor) -> Tensor:
        x = checks.points(x, self.dim)
        first, second, rest = x[..., 0], x[..., 1], x[..., 2:]
        middle = self.bend * (first.square() - self.std**2)
        bent = _log_normal(first, 0.0, math.log(self.std)) + _log_normal(second, middle, 0.0)
        return bent + _log_normal(rest, 0.0, 0.0).sum(-1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        x = _normal(n, self.dim, generator)
        x[:, 0] *= self.std
        x[:, 1] += self.bend * (x[:, 0].square() - self.std**2)
        return x


@dataclass(frozen=True)
class Funnel:
    """Neal's funnel: x_1 ~ N(0, s^2), and the others N(0, exp(x_1)) given x_1 (Neal 2003).

    ValueError for a width or a std that is not positive.
    """

    dim: int = 10
    std: float = 3.0

    def __post_init__(self) -> None:
        checks.count("dim", self.dim)
        checks.positive("std", self.std)

    @property
    def mean(self) -> Tensor:
        return torch.zeros(self.dim, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        value = torch.full((self.dim,), math.exp(0.5 * self.std**2), dtype=torch.float64)
        value[0] = self.std**2
        return value

    def log_prob(self, x: Tensor) -> Tensor:
        x = checks.points(x, self.dim)
        first, rest = x[..., :1], x[..., 1:]
        return _log_normal(first[..., 0], 0.0, math.log(self.std)) + _log_normal(rest, 0.0, 0.5 * first).sum(-1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        x = _normal(n, self.dim, generator)
        x[:, 0] *= self.std
        x[:, 1:] *= torch.exp(0.5 * x[:, :1])
        return x


@dataclass(frozen=True)
class HeavyTails:
    """A proposal with tails heavier than a Gaussian's: Student t of two degrees of freedom, times ``scale`` (d,).

    Its density falls like |x|^-3. Its quantile function is explicit, so it is sampled by the inverse CDF:
    x = (2u - 1) / sqrt(2 u (1 - u)). ValueError for a scale that is not positive and finite.
    """

    scale: Tensor

    def __post_init__(self) -> None:
        scale = checks.tensor("scale", self.scale)
        if scale.ndim != 1 or not bool((scale > 0).all() & torch.isfinite(scale).all()):
            raise ValueError(f"scale: need positive, finite numbers (d,), got {scale.tolist()}")
        object.__setattr__(self, "scale", scale)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        u = uniform((n, len(self.scale)), generator).clamp(1e-16, 1 - 1e-16)
        return self.scale * (2 * u - 1) / (2 * u * (1 - u)).sqrt()

    def log_prob(self, x: Tensor) -> Tensor:
        x = checks.points(x, len(self.scale))
        return (-1.5 * torch.log(2 + (x / self.scale).square()) - self.scale.log()).sum(-1)
