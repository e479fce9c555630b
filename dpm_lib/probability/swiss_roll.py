"""The swiss roll, with its density by quadrature along the curve: exact at every noise level."""

import math
from functools import lru_cache

import torch
from scipy.special import roots_legendre
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.probability.mixtures import Mixture


class SwissRoll(Mixture):
    """scikit-learn's swiss roll, (x, z): phi (cos phi, sin phi) + noise N(0, I), phi uniform on [1.5 pi, 4.5 pi].

    Centred, and scaled by one factor so that E|x0|^2 = 2. ``noise`` is scikit-learn's, before the scaling; the
    scaled width of the curve is ``sqrt(variance)``. The log density is exact to quadrature error: below 1e-8 nats
    within 6 widths of the curve, 1e-4 within 10, and 0.1 (of 450) at 30, where only beyond the ends is it that large.
    ValueError for a noise that is not positive.
    """

    FIRST, LAST = 1.5 * math.pi, 4.5 * math.pi

    def __init__(self, noise: float = 0.25) -> None:
        if not 0 < noise < math.inf:
            raise ValueError(
                f"noise: {noise}: need a positive, finite one; without it there is no density, and -H(X0) is infinite"
            )
        self.noise = float(noise)
        angles, weights = self._angles(1.0)
        curve = self._raw_curve(angles)
        self._shift = weights @ curve
        spread = float(weights @ (curve - self._shift).square().sum(-1))
        self.scale = math.sqrt(2 / (spread + 2 * noise**2))
        variance = (noise * self.scale) ** 2
        angles, weights = self._angles(noise)
        super().__init__(self.curve(angles), weights, variance)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws, (n, 2), float64, from the curve itself (not from the quadrature nodes). ValueError for n < 0."""
        u = torch.rand(n := checks.count("n", n, 0), generator=generator, dtype=torch.float64)
        noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return self.curve(self.FIRST + (self.LAST - self.FIRST) * u) + math.sqrt(self.variance) * noise

    def curve(self, phi: Tensor) -> Tensor:
        """Points of the scaled roll without noise, (n, 2), at angles phi (n,)."""
        return self.scale * (self._raw_curve(phi) - self._shift)

    def components(self, t: float) -> tuple[Tensor, Tensor]:
        """Quadrature nodes (m, 2) and weights (m,), dense enough for the roll's width at noise t."""
        if t == 0:
            return self.centers, self.weights
        angles, weights = self._angles(min(4.0, math.sqrt(self.variance + t) / self.scale))
        return self.curve(angles), weights

    def _outer_nodes(self, t: float) -> tuple[Tensor, Tensor]:
        # the log density varies slowly along the curve, except within a few widths of its two ends
        angles, weights = _panels(self.FIRST, self.LAST, 1.0, halvings=12)
        return self.curve(angles), weights

    @classmethod
    def _angles(cls, width: float) -> tuple[Tensor, Tensor]:
        """Gauss-Legendre nodes in phi, in panels of equal arc length of about two widths: angles and weights."""
        # arc length of the spiral grows as phi^2 / 2; widths are rounded to a power of two so that they are shared
        return _panels(cls.FIRST, cls.LAST, 2.0 ** math.floor(math.log2(width)))

    @staticmethod
    def _raw_curve(phi: Tensor) -> Tensor:
        return torch.stack([phi * phi.cos(), phi * phi.sin()], -1)


@lru_cache(maxsize=64)
def _panels(first: float, last: float, width: float, halvings: int = 0) -> tuple[Tensor, Tensor]:
    count = max(8, math.ceil((last**2 - first**2) / (4 * width)))
    share = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    ends = 0.5 ** torch.arange(halvings, 0, -1, dtype=torch.float64) / count  # finer and finer towards both ends
    share = torch.cat([share[:1], ends, share[1:-1], 1 - ends.flip(0), share[-1:]])
    edges = (first**2 + (last**2 - first**2) * share).sqrt()
    root, weight = (torch.as_tensor(a) for a in roots_legendre(8))
    half = (edges[1:] - edges[:-1]) / 2
    angles = (edges[:-1] + half).unsqueeze(1) + half.unsqueeze(1) * root
    return angles.ravel(), (half.unsqueeze(1) * weight).ravel() / (last - first)
