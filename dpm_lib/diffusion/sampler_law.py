"""The exact law of what a sampler draws, on the line, without drawing anything.

What ``sampler_law`` follows is the sampler's own code: in the place of points it has a table of places, and in the
place of noise a function that blurs the table. A step without noise moves the places, and their distribution function
stays; a step with noise of width w makes of mass at m a normal density around m, summed by the trapezoidal rule on a
new table. So a sampler's error is seen alone: that of few steps, and that of starting from N(0, 1), but none of draws.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.diffusion.samplers import Denoising
from dpm_lib.sde.chain_law import TAIL, LineLaw

REACH = 8.2  # standard deviations, beyond which there is less than 1e-15
FAINT = 1e-13  # mass that may fall beside the table
MOST = 24_000  # places in a table
SIDES = torch.tensor([-1.0, 1.0], dtype=torch.float64)
CHUNK = 64  # places that are summed together: each sees the mass nearby alone


class DenoisingIn(Denoising, Protocol):
    """The interface: a model that says in how many dimensions it guesses: of a mixture, guided, or trained."""

    @property
    def dim(self) -> int:
        """Numbers in a state."""
        ...


def sampler_law(
    sampler: Callable[..., Tensor], model: DenoisingIn, levels: Sequence[int], places: int = 1501, **own: Any
) -> LineLaw:
    """The law of sampler(model, x, levels, **own) for x ~ N(0, 1): at falling ``levels``, on tables of ``places``.

    Where these are too few for faint noise, all is done again with twice as many, up to 24,000. ValueError where that
    is not enough, for a target that is not on the line, for bad input to the sampler, and fewer than 100 places.
    """
    if model.dim != 1:
        raise ValueError(f"model: needs a target on the line, and this one has {model.dim} dimensions")
    places = checks.count("places", places, 100)
    while places <= MOST:
        table = _Table(places)
        try:
            end = sampler(model, table.start.unsqueeze(1), levels, table.blur, **own)[:, 0]
        except _TooCoarse:
            places *= 2
        else:
            return LineLaw(*table.law(end))
    raise ValueError(f"levels: {list(levels)}: noise so faint needs a table of more than {MOST} places")


class _TooCoarse(Exception):
    """Noise that falls between the places of a table."""


class _Table:
    """Mass at places, and its distribution function there."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.start = torch.linspace(-REACH, REACH, places, dtype=torch.float64)
        self.cdf = torch.special.ndtr(self.start)
        self.mass = torch.exp(-0.5 * self.start.square()) / math.sqrt(2 * math.pi) * (self.start[1] - self.start[0])

    def blur(self, mean: Tensor, width: float) -> Tensor:
        """The places of mean + width * noise, (m, 1), for mass at ``mean`` (n, 1)."""
        kept, dense = self.mass > TAIL, self.mass > FAINT
        apart = float(mean[:, 0].diff().abs()[dense[1:] & dense[:-1]].max())
        center, order = mean[kept, 0].sort()
        mass = self.mass[kept][order]
        low, high = float(center[0]) - REACH * width, float(center[-1]) + REACH * width
        count = max(self.places, math.ceil(4 * (high - low) / width) + 1)
        if apart > width or count > MOST:
            raise _TooCoarse
        x = torch.linspace(low, high, count, dtype=torch.float64)
        below = torch.cat([torch.zeros(1, dtype=torch.float64), mass.cumsum(0)])
        cdf, density = [], []
        for part in x.split(CHUNK):
            first, last = torch.searchsorted(center, torch.stack([part[0], part[-1]]) + REACH * width * SIDES).tolist()
            off = (part.unsqueeze(1) - center[first:last]) / width
            cdf.append(below[first] + torch.special.ndtr(off) @ mass[first:last])
            density.append(torch.exp(-0.5 * off.square()) @ mass[first:last])
        self.cdf = torch.cat(cdf)
        self.mass = torch.cat(density) * (x[1] - x[0]) / (width * math.sqrt(2 * math.pi))
        return x.unsqueeze(1)

    def law(self, end: Tensor) -> tuple[Tensor, Tensor]:
        """Rising places, and the distribution function there, of a table whose places came to ``end`` (m,).

        Where the map folds, so that it is not rising, what lay between two places is spread evenly between their ends.
        """
        if bool((end.diff() >= 0).all()):
            return end, self.cdf
        low, high = torch.minimum(end[1:], end[:-1]), torch.maximum(end[1:], end[:-1])
        z = end.sort().values
        share = ((z.unsqueeze(1) - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
        return z, self.cdf[0] + share @ self.cdf.diff()
