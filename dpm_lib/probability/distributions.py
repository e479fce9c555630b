"""Normal and Bernoulli distributions of one state: what a kernel answers with.

Each holds many independent laws at once, over the last axis of its parameters. ``Law`` lists what they have in common.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpm_lib.core.checks import checked_width, count
from dpm_lib.core.constants import LOG_2PI
from dpm_lib.probability import triangular


class Law(Protocol):
    """The interface: a law of states (..., d). Probabilities and entropies (...) are in nats."""

    @property
    def mean(self) -> Tensor:
        """E[x], (..., d)."""
        ...

    @property
    def entropy(self) -> Tensor:
        """-E log p(x), (...), nats."""
        ...

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of each law, (..., d)."""
        ...

    def from_noise(self, noise: Tensor) -> Tensor:
        """The draw made of standard normal ``noise`` (..., d): the same noise, the same draw."""
        ...

    def ratio(self, x: Tensor) -> Tensor:
        """1, (...), with whatever gradient a draw x (..., d) by ``from_noise`` does not carry itself."""
        ...

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), (...), nats, at x (..., d)."""
        ...

    def cross_entropy(self, other: Any) -> Tensor:
        """-E log other(x) for x of this law, (...), nats."""
        ...

    def kl(self, other: Any) -> Tensor:
        """D_KL(self || other), (...), nats."""
        ...

    def expand(self, n: int) -> "Law":
        """n copies along a new first axis."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """Gaussians over the last axis, with ``mean`` (..., d).

    ``scale`` holds standard deviations, (..., 1) isotropic or (..., d) diagonal; or, with ``full``, lower-triangular
    Cholesky factors (..., d, d) of the covariances. ValueError for a scale, a point or another law of another width:
    broadcasting would give the density of something else.
    """

    mean: Tensor
    scale: Tensor
    full: bool = False

    def __post_init__(self) -> None:
        d, shape = self.mean.shape[-1:], self.scale.shape
        if not d or (shape[-2:] != 2 * d if self.full else shape[-1:] not in (d, (1,))):
            form = "(..., d, d)" if self.full else "(..., d) or (..., 1)"
            raise ValueError(
                f"scale: need shape {form} for a mean (..., d), got {tuple(shape)}, {tuple(self.mean.shape)}"
            )

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw per Gaussian, (..., d)."""
        mean = self.mean
        return self.from_noise(torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device))

    def from_noise(self, noise: Tensor) -> Tensor:
        """The draw made of standard normal ``noise`` (..., d): differentiable in mean and scale."""
        if self.full:
            return self.mean + (self.scale @ noise.unsqueeze(-1)).squeeze(-1)
        return self.mean + self.scale * noise

    def ratio(self, x: Tensor) -> Tensor:
        """1, (...): the gradient passes through the draw itself (the reparameterisation)."""
        return torch.ones_like(x[..., 0])

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; mean, covariance), (...), nats."""
        square = self._whiten(checked_width("x", x, self.mean.shape[-1]) - self.mean).square().sum(-1)
        return -0.5 * (square + self.mean.shape[-1] * LOG_2PI) - self._log_scale

    @property
    def entropy(self) -> Tensor:
        """Differential entropy, (...), nats."""
        return 0.5 * self.mean.shape[-1] * (1 + LOG_2PI) + self._log_scale

    def cross_entropy(self, other: "Gaussian") -> Tensor:
        """-E log other(x) for x of this law, (...), nats, in closed form."""
        return 0.5 * (self._mean_square(other) + self.mean.shape[-1] * LOG_2PI) + other._log_scale

    def kl(self, other: "Gaussian") -> Tensor:
        """D_KL(self || other), (...), nats, in closed form."""
        return 0.5 * (self._mean_square(other) - self.mean.shape[-1]) + other._log_scale - self._log_scale

    def expand(self, n: int) -> "Gaussian":
        """n copies, (n, ..., d)."""
        return Gaussian(self.mean.expand(count("n", n, 0), *self.mean.shape), self.scale, self.full)

    def each(self, change: Callable[[Tensor], Tensor]) -> "Gaussian":
        """The laws whose parameters (..., d) are ``change`` of these; not of a full covariance."""
        return Gaussian(change(self.mean), change(self.scale))

    def reach(self, slope: Tensor) -> Tensor:
        """How far exp(slope x), slope (..., d), moves the law, in standard deviations: (...). {eq}`eq-post-guidance`"""
        moved = (self.scale.mT @ slope.unsqueeze(-1)).squeeze(-1) if self.full else self.scale * slope
        return moved.norm(dim=-1)

    def tilted(self, c: Tensor, b: Tensor, a: Tensor) -> tuple["Gaussian", Tensor]:
        """Times exp(c_j + b_j x - a_j x^2 / 2) for each of J terms: laws (..., J, d), and log Z (..., J), nats.

        Not of a full covariance. {eq}`eq-post-product`, completing the square: precisions 1/v + a add up, and the mean
        moves by v' (b - a mu); {eq}`eq-post-normaliser`.
        """
        mean, variance = self.mean.unsqueeze(-2), self.scale.square().unsqueeze(-2)
        slope, shrink = b - a * mean, 1 + a * variance
        moved = variance / shrink * slope
        gain = b * mean - 0.5 * a * mean.square() + 0.5 * moved * slope - 0.5 * torch.log(shrink)
        return Gaussian(mean + moved, (variance / shrink).sqrt()), c + gain.sum(-1)

    def _mean_square(self, other: "Gaussian") -> Tensor:
        """E |L^-1 (x - m)|^2 for x of this law, with the other's mean m and factor L, (...)."""
        apart = self.mean - checked_width("other", other.mean, self.mean.shape[-1])
        if self.full or other.full:
            batch = torch.broadcast_shapes(apart.shape, self.factor.shape[:-1])
            columns = torch.cat([apart.expand(batch).unsqueeze(-1), self.factor.expand(*batch, batch[-1])], -1)
            return triangular.solve(other.factor, columns).square().sum((-2, -1))
        ratio = (self.scale / other.scale).square().expand_as(apart)
        return (other._whiten(apart).square() + ratio).sum(-1)

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
            return triangular.solve(self.scale, v.unsqueeze(-1)).squeeze(-1)
        return v / self.scale


@dataclass(frozen=True)
class Bernoulli:
    """Independent bits over the last axis: ``logits`` (..., d), log P(x = 1) - log P(x = 0), may be infinite.

    ValueError for a point or another law of another width.
    """

    logits: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw per law, (..., d), of zeros and ones."""
        like = self.logits
        return self.from_noise(torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device))

    def from_noise(self, noise: Tensor) -> Tensor:
        """The draw made of standard normal ``noise`` (..., d): a bit is 1 where Phi(noise) < P(x = 1).

        A step function of the logits: its derivative is zero wherever it exists. ``ratio`` makes up for it.
        """
        return (noise < torch.special.ndtri(self.mean.detach())).to(self.logits.dtype)

    def ratio(self, x: Tensor) -> Tensor:
        """p(x) / p(x) with the denominator held fixed, (...): 1, and its gradient is that of log p(x).

        For x ~ p, E[f ratio(x)] has the gradient of E[f], also where it comes from the law of x (the score function).
        """
        log_p = self.log_prob(x)
        return (log_p - log_p.detach()).exp()

    def log_prob(self, x: Tensor) -> Tensor:
        """log P(x) for bits x (..., d), (...), nats."""
        x = checked_width("x", x, self.logits.shape[-1])
        return logsigmoid(torch.where(x > 0.5, self.logits, -self.logits)).sum(-1)

    @property
    def mean(self) -> Tensor:
        """P(x = 1) of each bit, (..., d)."""
        return torch.sigmoid(self.logits)

    @property
    def entropy(self) -> Tensor:
        """Entropy, (...), nats."""
        return self.cross_entropy(self)

    def cross_entropy(self, other: "Bernoulli") -> Tensor:
        """-E log other(x) for x of this law, (...), nats."""
        logits = checked_width("other", other.logits, self.logits.shape[-1])
        on = _expected(self.logits, logsigmoid(logits))
        return -(on + _expected(-self.logits, logsigmoid(-logits))).sum(-1)

    def kl(self, other: "Bernoulli") -> Tensor:
        """D_KL(self || other), (...), nats: infinite where ``other`` rules out what this law does not."""
        logits = checked_width("other", other.logits, self.logits.shape[-1])
        on = _expected(self.logits, logsigmoid(self.logits) - logsigmoid(logits))
        off = _expected(-self.logits, logsigmoid(-self.logits) - logsigmoid(-logits))
        return (on + off).sum(-1)

    def each(self, change: Callable[[Tensor], Tensor]) -> "Bernoulli":
        """The laws whose logits (..., d) are ``change`` of these."""
        return Bernoulli(change(self.logits))

    def tilted(self, c: Tensor, b: Tensor, a: Tensor) -> tuple["Bernoulli", Tensor]:
        """Times exp(c_j + b_j x - a_j x^2 / 2) for each of J terms: laws (..., J, d), and log Z (..., J), nats.

        {eq}`eq-post-bits`: Z = e^c prod [P(1) e^shift + P(0)], and the log-odds add up; x^2 = x.
        """
        logits, shift = self.logits.unsqueeze(-2), b - 0.5 * a
        log_z = c + torch.logaddexp(logsigmoid(logits) + shift, logsigmoid(-logits)).sum(-1)
        return Bernoulli(logits + shift), log_z

    def expand(self, n: int) -> "Bernoulli":
        """n copies, (n, ..., d)."""
        return Bernoulli(self.logits.expand(count("n", n, 0), *self.logits.shape))


def _expected(logits: Tensor, values: Tensor) -> Tensor:
    """P(x = 1) times ``values``, where 0 times infinity is 0, and so is its gradient."""
    p = torch.sigmoid(logits)
    return p * values.masked_fill(p == 0, 0.0)
