"""The law of an Euler-Maruyama chain on the line, exactly, without drawing anything.

A step z' = m(z) + s * noise turns the density p into p'(x) = integral of p(z) N(x; m(z), s^2) dz. For a smooth p the
trapezoidal rule does this integral to rounding, once its spacing is half of s. So the error of the discretisation can
be seen alone, with no error of sampling on top. Without noise, a step moves the quantiles.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from dpm_lib.core.checks import checked_times
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.sde.sde import SDE, check_direction, check_noise_direction

MOST = 6000  # places in the table of a density
TAIL = 1e-17


@dataclass(frozen=True)
class LineLaw:
    """A law on the line: its distribution function ``cdf`` (m,) at rising places ``z`` (m,), nearly 0 to nearly 1."""

    z: Tensor
    cdf: Tensor

    def wasserstein(self, target: "Mixture | LineLaw", t: float = 0.0) -> float:
        """The area between the two distribution functions, which is the Wasserstein-1 distance.

        Beyond the first and last place the law has nothing, and the target may have: that area is added.
        """
        beyond = _area_beyond(target, self.z[0], t, 1) + _area_beyond(target, self.z[-1], t, -1)
        return float(torch.trapezoid(self._gap(target, t).abs(), self.z) + beyond)

    def kolmogorov(self, target: "Mixture | LineLaw", t: float = 0.0) -> float:
        """The largest difference of the two distribution functions."""
        return float(self._gap(target, t).abs().max())

    def total_variation(self, target: "Mixture | LineLaw", t: float = 0.0) -> float:
        """Half of the sum over the cells between places, and beyond, of the differences in probability.

        It is the total variation of the two laws seen through these cells: at most the full one, and close to it where
        the places are dense.
        """
        gap = self._gap(target, t)
        return 0.5 * float(gap.diff().abs().sum() + gap[0].abs() + gap[-1].abs())

    def below(self, z: Tensor) -> Tensor:
        """The distribution function at any z (n,): (n,), linear between places, flat beyond."""
        z = torch.as_tensor(z, dtype=torch.float64)
        i = torch.searchsorted(self.z.contiguous(), z.contiguous()).clamp(1, len(self.z) - 1)
        share = ((z - self.z[i - 1]) / (self.z[i] - self.z[i - 1]).clamp(min=1e-300)).clamp(0, 1)
        return self.cdf[i - 1] + share * (self.cdf[i] - self.cdf[i - 1])

    def mean(self) -> float:
        """E[z], with what lies between two places spread evenly."""
        return float(self._masses() @ (self.z[1:] + self.z[:-1]) / 2)

    def std(self) -> float:
        """The standard deviation of z, with what lies between two places spread evenly."""
        off, gap = (self.z[1:] + self.z[:-1]) / 2 - self.mean(), self.z.diff()
        return math.sqrt(float(self._masses() @ (off.square() + gap.square() / 12)))

    def _masses(self) -> Tensor:
        masses = self.cdf.diff()
        return masses / masses.sum()

    def _gap(self, target: "Mixture | LineLaw", t: float) -> Tensor:
        if isinstance(target, LineLaw):
            return self.cdf - target.below(self.z)
        return self.cdf - target.cdf(self.z.unsqueeze(1), t)


def _area_beyond(target: Mixture | LineLaw, edge: Tensor, t: float, side: int) -> Tensor:
    """The mean of how far the target lies below the edge (``side`` 1) or above it (-1): the area under that tail."""
    if isinstance(target, LineLaw):
        off = (side * (edge - target.z)).clamp(min=0)
        return (0.5 * (off[1:] + off[:-1]) * target.cdf.diff()).sum()
    width = math.sqrt(target.variance + t)
    centers, weights = target.components(t)
    off = side * (edge - centers[:, 0])
    density = torch.exp(-0.5 * (off / width).square()) / math.sqrt(2 * math.pi)
    return weights @ (0.5 * off * torch.special.erfc(-off / (math.sqrt(2) * width)) + width * density)


def chain_law(process: SDE, target: Mixture, times: Tensor, places: int = 2001) -> LineLaw:
    """The law at times[-1] of Euler-Maruyama over ``times`` (m,), started from the exact law of ``target`` at times[0].

    On the line, with a diffusion that depends on t alone and is either never 0 or always 0. ``places``: how many in the
    tables at the start and at the end. ValueError for a target in more dimensions, for steps so long that a map without
    noise folds, or so short that a table would need more than 6000 places; for a diffusion that depends on the place,
    and for noise against its direction: a ``backward`` SDE over rising times, any other over falling ones.
    """
    times = checked_times(times)
    check_direction(process, times)
    reach = float(target.centers.abs().max()) + 9 * math.sqrt(target.variance + float(times[0]))
    z = torch.linspace(-reach, reach, places, dtype=torch.float64)
    cdf = target.cdf(z.unsqueeze(1), float(times[0]))
    mass = target.log_prob(z.unsqueeze(1), float(times[0])).exp() * (z[1] - z[0])
    for t, after in pairwise(times):
        check_noise_direction(process, z.unsqueeze(1), t, after - t)
        mean = process.step(z.unsqueeze(1), t, after - t, torch.zeros(len(z), 1, dtype=z.dtype))[:, 0]
        sigma = process.sigma(z.unsqueeze(1), t)
        if sigma.min() < sigma.max():
            raise ValueError(f"process: its diffusion goes from {sigma.min():g} to {sigma.max():g} at time {t:g}")
        width = float(sigma.max()) * math.sqrt(float((after - t).abs()))
        if width > 0 and after == times[-1]:
            z = _table(mean, mass, width, places)
            cdf = torch.special.ndtr((z.unsqueeze(1) - mean) / width) @ mass
        elif width > 0:
            z, mass = _spread(mean, mass, width)
        elif bool((mean.diff() > 0).all()):
            z = mean
        else:
            raise ValueError(f"times: the step from {float(t):g} to {float(after):g} is so long that the map folds")
    return LineLaw(z, cdf)


def _table(mean: Tensor, mass: Tensor, width: float, places: int | None = None) -> Tensor:
    """Even places that hold all of ``mass`` at ``mean``, blurred by ``width``; half of it apart, or so many."""
    kept = mean[mass > TAIL]
    low, high = float(kept.min()) - 9 * width, float(kept.max()) + 9 * width
    count = places or math.ceil((high - low) / (0.5 * width)) + 1
    if count > MOST:
        raise ValueError(f"times: steps so short need a table of {count} places, more than {MOST}")
    return torch.linspace(low, high, count, dtype=torch.float64)


def _spread(mean: Tensor, mass: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """mean + width * noise on a table of its own: places, and the mass at each."""
    z = _table(mean, mass, width)
    kept = mass > TAIL
    kernel = torch.exp(-0.5 * ((z.unsqueeze(1) - mean[kept]) / width).square())
    return z, kernel @ mass[kept] * float(z[1] - z[0]) / (width * math.sqrt(2 * math.pi))
