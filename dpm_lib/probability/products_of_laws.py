"""Products of laws: the functions r by which a Gaussian, a law of bits, or a blend of them is multiplied exactly.

A ``Tilt`` is a sum of exponentials of (diagonal) quadratics,

    r(x) = sum_j exp(c_j + b_j x - a_j x^2 / 2) ,

which covers Gaussian likelihoods, several of them painted side by side, and errors in reading bits (there x^2 = x).
A ``Blend`` is a mixture of laws of one kind. Both are closed under ``times``: the product of a law and a tilt is a
law again, and its normaliser Z = E[r] is known.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpm_lib.core import checks
from dpm_lib.core.constants import LOG_2PI
from dpm_lib.probability.codebooks import Codebook
from dpm_lib.probability.distributions import Bernoulli, Gaussian
from dpm_lib.probability.mixtures import Mixture

MOST_EVIDENCE = 50.0  # nats: what a bit that is read without error counts for


@dataclass(frozen=True)
class Tilt:
    """log r(x) = logsumexp_j [c_j + sum_i (b_ji x_i - a_ji x_i^2 / 2)]: c (J,), b (J, d), a (J, d) >= 0.

    r > 0 everywhere. Leading axes, one for each particle, are allowed. Raises ValueError where r is nowhere positive,
    an a is negative, or a number is NaN.
    """

    c: Tensor
    b: Tensor
    a: Tensor

    def __post_init__(self) -> None:
        for name, value in (("c", self.c), ("b", self.b), ("a", self.a)):
            bad = torch.isnan(value) if name == "c" else ~torch.isfinite(value)
            bad = bad | (value < 0) if name == "a" else bad | (value == torch.inf)
            if bad.any():
                where = tuple(bad.nonzero()[0].tolist())
                raise ValueError(f"{name}: {value[where].item()} at index {where}")
        if self.b.shape[:-1] != self.c.shape or self.a.shape[-1] != self.b.shape[-1]:
            raise ValueError(f"b, a: shapes {tuple(self.b.shape)}, {tuple(self.a.shape)} for c {tuple(self.c.shape)}")
        if torch.isneginf(self.c).all(-1).any():
            raise ValueError("c: minus infinity everywhere: r is nowhere positive")

    def __call__(self, x: Tensor) -> Tensor:
        """log r(x) for x (..., d): (...), nats. ValueError for another d."""
        check_width("x", x.shape[-1], self)
        x = x.unsqueeze(-2)
        return (self.c + (self.b * x - 0.5 * self.a * x.square()).sum(-1)).logsumexp(-1)

    def power(self, exponent: float) -> "Tilt":
        """Each term to the ``exponent``: r^exponent itself if there is one term, and close to it if they are apart."""
        c = torch.where(torch.isneginf(self.c), self.c, exponent * self.c)
        return Tilt(c, exponent * self.b, exponent * self.a)

    def plus(self, floor: float) -> "Tilt":
        """r(x) + floor. ValueError for a floor that is not positive."""
        checks.positive("floor", floor)
        zero = torch.zeros_like(self.b[:1])
        return Tilt(
            torch.cat([self.c, self.c.new_tensor([math.log(floor)])]),
            torch.cat([self.b, zero]),
            torch.cat([self.a, zero]),
        )


def gaussian_tilt(mean: Tensor, std: float | Tensor, mask: Tensor | None = None) -> Tilt:
    """r(x) = prod_i N(mean_i; x_i, std^2) over the coordinates i that are seen: those where ``mask`` (d,) is true.

    ``mean`` (d,), or (J, d) for a sum of J of them; ``std`` one number, or (d,). With x_0 for x it is the likelihood of
    a noisy look at it. Raises ValueError for a std that is not positive and finite, and for shapes that do not fit.
    """
    mean = torch.atleast_2d(torch.as_tensor(mean, dtype=torch.float64))
    width, d = torch.as_tensor(std, dtype=torch.float64), mean.shape[-1]
    if not bool(((width > 0) & torch.isfinite(width)).all()):
        raise ValueError(f"std: {std}: need positive, finite numbers")
    if width.numel() != 1 and width.shape != (d,):
        raise ValueError(f"std: need one number or shape ({d},), got shape {tuple(width.shape)}")
    if mask is not None and mask.shape != (d,):
        raise ValueError(f"mask: need shape ({d},), as mean has, got {tuple(mask.shape)}")
    seen = torch.ones_like(mean) if mask is None else mask.to(mean).expand_as(mean)
    mean = torch.where(seen > 0, mean, 0.0)
    precision = seen / width**2
    log_scale = torch.where(seen > 0, LOG_2PI - precision.clamp(min=1e-300).log(), 0.0)
    return Tilt(-0.5 * (precision * mean.square() + log_scale).sum(-1), precision * mean, precision)


def bit_tilt(bits: Tensor, error: float, mask: Tensor | None = None) -> Tilt:
    """r(x) = the probability of reading ``bits`` (d,) where x is, each wrong with probability ``error`` in [0, 1/2].

    Bits where ``mask`` (d,) is false were not read. An error of 0 is taken as one of exp(-50).
    Raises ValueError for another error, for bits that are neither 0 nor 1, and for shapes that do not fit.
    """
    checks.between("error", error, 0, 0.5)
    if bits.ndim != 1 or (mask is not None and mask.shape != bits.shape):
        shapes = f"{tuple(bits.shape)}, {None if mask is None else tuple(mask.shape)}"
        raise ValueError(f"bits, mask: need the same shape (d,), got {shapes}")
    if not bool(((bits == 0) | (bits == 1)).all()):
        raise ValueError(f"bits: need zeros and ones, got {bits.tolist()}")
    evidence = min(math.log1p(-error) - math.log(max(error, 1e-300)), MOST_EVIDENCE)
    seen = torch.ones_like(bits) if mask is None else mask.to(bits)
    b = seen * evidence * (2 * bits - 1)
    right, wrong = logsigmoid(torch.tensor([evidence, -evidence], dtype=torch.float64, device=bits.device))
    c = (seen * torch.where(bits > 0.5, wrong, right)).sum(-1, keepdim=True)  # log r(0)
    return Tilt(c, b.unsqueeze(-2), torch.zeros_like(b).unsqueeze(-2))


@dataclass(frozen=True)
class Blend:
    """A mixture of K laws of one kind for each state: ``log_weights`` (..., K), ``parts`` of parameters (..., K, d)."""

    log_weights: Tensor
    parts: Any

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw per blend, (..., d): of the part first."""
        shape, dim = self.log_weights.shape[:-1], self.parts.mean.shape[-1]
        share = self.log_weights.reshape(-1, self.log_weights.shape[-1]).softmax(-1)
        which = torch.multinomial(share, 1, generator=generator).reshape(*shape, 1, 1).expand(*shape, 1, dim)

        def chosen(value: Tensor) -> Tensor:
            return value.expand(*self.log_weights.shape, dim).gather(-2, which).squeeze(-2)

        return self.parts.each(chosen).sample(generator)

    def log_prob(self, x: Tensor) -> Tensor:
        """log density, or probability of bits, at x (..., d): (...), nats."""
        return (self.log_weights.log_softmax(-1) + self.parts.log_prob(x.unsqueeze(-2))).logsumexp(-1)

    @property
    def mean(self) -> Tensor:
        """(..., d)."""
        return (self.log_weights.softmax(-1).unsqueeze(-1) * self.parts.mean).sum(-2)

    def reach(self, slope: Tensor) -> Tensor:
        """How far exp(slope x), slope (..., d), moves the part that it moves farthest, in its deviations: (...)."""
        return self.parts.reach(slope.unsqueeze(-2)).amax(-1)

    def expand(self, n: int) -> "Blend":
        """n copies along a new first axis."""
        return Blend(self.log_weights.expand(n, *self.log_weights.shape), self.parts.expand(n))

    def times(self, tilt: Tilt) -> tuple[Any, Tensor]:
        """The product with a tilt, normalised, and log Z (...), nats: part k times term j has the weight w_k Z_kj.

        ValueError for a tilt of another width.
        """
        check_width("law", self.parts.mean.shape[-1], tilt)
        made, log_z = self.parts.tilted(tilt.c.unsqueeze(-2), tilt.b.unsqueeze(-3), tilt.a.unsqueeze(-3))
        shape = (self.log_weights.shape[-1], tilt.c.shape[-1])
        log_z = (self.log_weights.log_softmax(-1).unsqueeze(-1) + log_z).flatten(-2)
        return _blended(made.each(lambda m: m.expand(*m.shape[:-3], *shape, m.shape[-1]).flatten(-3, -2)), log_z)


def blend_of(target: Mixture | Codebook) -> Blend:
    """The data's law as a blend: of Gaussians, or of the strings of a codebook, which are certain."""
    if isinstance(target, Codebook):
        return Blend(target.weights.log(), Bernoulli(torch.where(target.rows > 0.5, torch.inf, -torch.inf)))
    scale = target.centers.new_tensor([math.sqrt(target.variance)])
    return Blend(target.weights.log(), Gaussian(target.centers, scale))


def times(law: Any, tilt: Tilt) -> tuple[Any, Tensor]:
    """The law proportional to law(x) r(x), and log Z = log E[r(x)], (...), nats. {eq}`eq-post-product`.

    ``law`` is a Gaussian, a Bernoulli, a Blend of them, or a Categorical. With K parts and J terms the answer is a
    blend of K J laws;
    with one of each, it is a law of the same kind. ValueError where law and tilt are of different widths.
    """
    if hasattr(law, "times"):  # a blend; or a law of tokens, by a table
        return law.times(tilt)
    check_width("law", law.mean.shape[-1], tilt)
    if getattr(law, "full", False):
        return _times_full(law, tilt)
    return _blended(*law.tilted(tilt.c, tilt.b, tilt.a))


def _blended(made: Any, log_z: Tensor) -> tuple[Any, Tensor]:
    """Laws ``made`` with parameters (..., K, d) and weights (..., K) as one law, and the log of the weights' sum."""
    if log_z.shape[-1] == 1:
        return made.each(lambda m: m.squeeze(-2)), log_z.squeeze(-1)
    return Blend(log_z, made), log_z.logsumexp(-1)


def check_width(name: str, d: int, tilt: Tilt) -> None:
    """ValueError unless ``tilt`` is a function of d coordinates: one of fewer would be stretched over all."""
    if tilt.b.shape[-1] != d:
        raise ValueError(f"{name}: has {d} coordinates, and the tilt {tilt.b.shape[-1]}")


def _times_full(law: Gaussian, tilt: Tilt) -> tuple[Gaussian, Tensor]:
    """The same for a full covariance S = L L^T and one term: S' = (S^-1 + A)^-1 = L (I + L^T A L)^-1 L^T."""
    if tilt.c.shape[-1] != 1:
        raise ValueError(f"tilt: {tilt.c.shape[-1]} terms do not fit a Gaussian with a full covariance; use one")
    c, b, a = tilt.c.squeeze(-1), tilt.b.squeeze(-2), tilt.a.squeeze(-2)
    L = law.scale
    # I + L^T A L is well conditioned where S is nearly singular; det(I + S A) is its determinant
    inner = torch.eye(L.shape[-1], dtype=L.dtype, device=L.device) + L.mT @ (a.unsqueeze(-1) * L)
    root = torch.linalg.cholesky(inner)
    covariance = L @ torch.cholesky_solve(L.mT, root)
    slope = b - a * law.mean  # then as in eq-post-product and eq-post-normaliser, with S' for v'
    moved = (covariance @ slope.unsqueeze(-1)).squeeze(-1)
    log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    gain = (b * law.mean - 0.5 * a * law.mean.square() + 0.5 * moved * slope).sum(-1)
    factor = torch.linalg.cholesky(0.5 * (covariance + covariance.mT))
    return Gaussian(law.mean + moved, factor, full=True), c + gain - log_det
