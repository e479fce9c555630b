"""Mixtures of normal laws, and finite sets of points: densities that are known at every noise level.

One protocol: ``dim``, ``sample(n, generator)``, ``log_prob(z, t)``, ``score(z, t)``, ``posterior_mean(z, t)``,
``posterior_covariance(z, t)`` and ``entropy(t)``, where z = y + sqrt(t) * noise: y the data, t the VARIANCE of the
noise (t = 0: the data itself). Points are (n, d), results float64, logarithms in nats.

All are Gaussian mixtures underneath. A mixture blurred by noise is again a mixture; a finite set of points is a mixture
of variance 0; and a curve convolved with a Gaussian is, by quadrature along the curve, a mixture with many components.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.special import roots_hermitenorm
from torch import Tensor

from dpm_lib.core import check_laws, checks
from dpm_lib.core.constants import LOG_2PI

CHUNK = 128  # points handled together
FEW = 32  # so few components are all looked at: finding the near ones would take longer


class Mixture:
    """sum_k weights_k N(centers_k, variance I): centers (m, d), weights (m,) summing to 1, one variance >= 0.

    ValueError for other shapes and weights, for centers that are not finite, and for a negative variance.
    """

    def __init__(self, centers: Tensor, weights: Tensor, variance: float) -> None:
        self.centers = torch.as_tensor(centers, dtype=torch.float64)
        self.weights = torch.as_tensor(check_laws.laws("weights", weights))
        self.variance = checks.between("variance", variance, 0)
        if self.centers.ndim != 2 or self.weights.shape != self.centers.shape[:1]:
            raise ValueError(f"weights: shape {tuple(self.weights.shape)} for centers {tuple(self.centers.shape)}")
        if not torch.isfinite(self.centers).all():
            row = int((~torch.isfinite(self.centers)).any(1).nonzero()[0])
            raise ValueError(f"centers: not finite at row {row}: {self.centers[row].tolist()}")

    @property
    def dim(self) -> int:
        """Numbers in a point."""
        return self.centers.shape[1]

    @property
    def mean_square(self) -> float:
        """E|y|^2."""
        return float(self.weights @ self.centers.square().sum(-1)) + self.dim * self.variance

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n independent draws of y, (n, d), float64. ValueError for n < 0."""
        n, which = checks.count("n", n, 0), torch.arange(0)
        if n:
            which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.dim, generator=generator, dtype=torch.float64)
        return self.centers[which] + math.sqrt(self.variance) * noise

    def transport(self, uniform: Tensor, t: float = 0.0) -> Tensor:
        """Points (n, d) of y + sqrt(t) noise made of ``uniform`` (n, d+1): independent draws if that is independent.

        The first number chooses the component, in order; the others make its Gaussian by the inverse CDF.
        """
        total = self.weights.cumsum(0)
        which = torch.searchsorted(total, uniform[:, 0].contiguous() * total[-1]).clamp(max=len(total) - 1)
        return self.centers[which] + math.sqrt(self._width(t)) * torch.special.ndtri(uniform[:, 1:])

    def components(self, t: float) -> tuple[Tensor, Tensor]:
        """(centers, weights) that represent the target at noise t; subclasses may use fewer when t is large."""
        return self.centers, self.weights

    def log_prob(self, z: Tensor, t: float = 0.0) -> Tensor:
        """log density of y + sqrt(t) noise at z (n, d): (n,), nats. Differentiable in z."""
        z, width = self._points(z), self._width(t)
        out = torch.empty(len(z), dtype=torch.float64)
        for index, log_terms, _ in self._log_terms(z, t):
            out[index] = torch.logsumexp(log_terms, -1)
        return out - 0.5 * self.dim * (LOG_2PI + math.log(width))

    def cdf(self, z: Tensor, t: float = 0.0) -> Tensor:
        """P(y + sqrt(t) noise <= z) at z (n, 1), on the line: (n,). ValueError in more dimensions."""
        if self.dim != 1:
            raise ValueError(f"cdf: needs a distribution on the line, and this one has {self.dim} dimensions")
        z, width = self._points(z), self._width(t)
        centers, weights = self.components(t)
        return torch.special.ndtr((z - centers.T) / math.sqrt(width)) @ weights

    def posterior_mean(self, z: Tensor, t: float) -> Tensor:
        """E[y | z], (n, d), for z = y + sqrt(t) noise."""
        return self._posterior(z, t)[0]

    def posterior_covariance(self, z: Tensor, t: float) -> Tensor:
        """Cov[y | z], (n, d, d)."""
        return self._posterior(z, t)[1]

    def score(self, z: Tensor, t: float = 0.0) -> Tensor:
        """grad_z log density of y + sqrt(t) noise, (n, d): (mean centre given z, minus z) / (variance + t)."""
        return (self._center_moments(z, t)[0] - self._points(z)) / self._width(t)

    def entropy(self, t: float = 0.0, nodes: int = 16) -> float:
        """-E log density of y + sqrt(t) noise, nats: Gauss-Hermite quadrature over each component's noise.

        Where components overlap it is off by up to 3e-4 nats with 16 ``nodes`` an axis, 3e-5 with 32, 2e-6 with 64;
        ``blurred_entropy`` is good to 1e-9 for a small mixture. The swiss roll's, with 16, is right to 1e-6. ValueError
        at t = 0 for a finite set, which has no density.
        """
        centers, weights = self._outer_nodes(t)
        width = self._width(t)
        root, root_weight = roots_hermitenorm(checks.count("nodes", nodes))
        grid = torch.as_tensor(np.stack(np.meshgrid(*self.dim * [root], indexing="ij"), -1).reshape(-1, self.dim))
        grid_weight = torch.as_tensor(np.prod(np.meshgrid(*self.dim * [root_weight / root_weight.sum()]), 0).ravel())
        points = centers.unsqueeze(1) + math.sqrt(width) * grid
        log_prob = self.log_prob(points.reshape(-1, self.dim), t).reshape(len(centers), -1)
        return -float(weights @ log_prob @ grid_weight)

    def _outer_nodes(self, t: float) -> tuple[Tensor, Tensor]:
        return self.components(t)

    def _width(self, t: float) -> float:
        if not t >= 0:
            raise ValueError(f"t: {t}: need a variance of the noise, which is not negative")
        if not self.variance + t > 0:
            raise ValueError(f"t: {t}: need variance + t > 0 for a density, and the variance is {self.variance}")
        return self.variance + t

    def _points(self, z: Tensor) -> Tensor:
        z = torch.as_tensor(z, dtype=torch.float64)
        if z.ndim != 2 or z.shape[1] != self.dim:
            raise ValueError(f"z: need shape (n, {self.dim}), got {tuple(z.shape)}")
        return checks.finite("z", z)

    def _log_terms(self, z: Tensor, t: float) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For chunks of z: their indices, log weight_k - |z - center_k|^2 / 2 width (chunk, k), and those centers.

        Each chunk holds points that are close together, and sees only the components near it. What is left out
        is less than exp(-40) of what is kept, for every point.
        """
        centers, weights = self.components(t)
        width = self._width(t)
        if len(z) == 0:
            return
        if len(centers) <= FEW:
            for index in torch.arange(len(z)).split(64 * CHUNK):
                square = (z[index].unsqueeze(1) - centers).square().sum(-1)
                yield index, weights.log() - square / (2 * width), centers
            return
        places = z.detach()
        distance, nearest = (torch.as_tensor(a) for a in cKDTree(centers).query(places))
        margin = 2 * width * (40 - weights[nearest].log())
        for index in torch.argsort(nearest).split(CHUNK):
            part = places[index]
            reach = (distance[index].square() + margin[index]).max().sqrt()
            near = ((centers > part.amin(0) - reach) & (centers < part.amax(0) + reach)).all(-1)
            square = _squares(z[index], centers[near])
            yield index, weights[near].log() - square / (2 * width), centers[near]

    def _center_moments(self, z: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Mean (n, d) and covariance (n, d, d) of the component's centre given z."""
        z = self._points(z)
        mean, covariance = torch.empty_like(z), z.new_empty(*z.shape, self.dim)
        for index, log_terms, centers in self._log_terms(z, t):
            share = torch.softmax(log_terms, -1)
            middle = centers.mean(0)  # moments about a point nearby: nothing cancels
            pairs = ((centers - middle).unsqueeze(1) * (centers - middle).unsqueeze(2)).flatten(1)
            shift = share @ (centers - middle)
            mean[index] = middle + shift
            second = (share @ pairs).reshape(-1, self.dim, self.dim)
            covariance[index] = second - shift.unsqueeze(1) * shift.unsqueeze(2)
        return mean, covariance

    def _posterior(self, z: Tensor, t: float) -> tuple[Tensor, Tensor]:
        mean, covariance = self._center_moments(z, t)
        shrink = self.variance / self._width(t)  # given its component, y is a Gaussian between the centre and z
        within = shrink * t * torch.eye(self.dim, dtype=torch.float64)
        return (1 - shrink) * mean + shrink * self._points(z), (1 - shrink) ** 2 * covariance + within


def _squares(x: Tensor, centers: Tensor) -> Tensor:
    """|x - center|^2, (n, m). ``cdist`` takes half the time, but cannot be differentiated twice."""
    if x.requires_grad:
        return (x.unsqueeze(1) - centers).square().sum(-1)
    return torch.cdist(x, centers, compute_mode="donot_use_mm_for_euclid_dist").square()


def finite_set(points: Tensor, weights: Tensor | None = None) -> Mixture:
    """Discrete data: one of the ``points`` (m, d), with probabilities ``weights`` (m,), equal ones by default.

    It has no density at t = 0, where the methods raise ValueError; with noise it is a mixture like any other.
    """
    points = checks.rows("points", points).to(torch.float64)
    even = torch.full(points.shape[:1], 1 / len(points), dtype=torch.float64)
    return Mixture(points, even if weights is None else weights, 0.0)
