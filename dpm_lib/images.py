"""Image data: integers from a file, uniform noise on top, and one affine map to zero mean and unit variance.

A pixel that takes the values 0..L-1 has no density. *Dequantised*, it has: with u uniform on [0, 1), the density of
v + u is that of v's level, P(v), on [v, v + 1), so that E log p(v + u) <= log P(v) for every model p. The chain runs on

    x = (v + u - mean) / std,        log p(v + u) = log p(x) - log std      for each pixel,

with one mean and one std for all pixels, taken from the training images. So -K, in bits per pixel, bounds the number
of bits that a code of the integers themselves needs: that is the unit in which images are compared.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from dpm_lib.bound import LN2
from dpm_lib.data import Data


@dataclass(frozen=True, kw_only=True)
class Images(Data):
    """Images of ``shape`` (channels, height, width) as integers 0..levels-1: ``train`` and ``test`` uint8 (n, d).

    ``split`` says in words which images are held out. Raises ValueError where shapes or values do not fit.
    """

    train: Tensor
    test: Tensor
    shape: tuple[int, int, int]
    levels: int
    split: str
    mean: float = field(init=False)
    std: float = field(init=False)
    target: Any = field(default=None, init=False)  # the exact distribution is not known

    def __post_init__(self) -> None:
        for which in ("train", "test"):
            value = getattr(self, which)
            if value.dtype != torch.uint8 or value.ndim != 2 or value.shape[1] != self.dim or len(value) < 2:
                raise ValueError(f"{which}: need uint8 (n, {self.dim}), got {value.dtype} {tuple(value.shape)}")
            if int(value.max()) >= self.levels:
                where = tuple(int(i) for i in (value >= self.levels).nonzero()[0])
                raise ValueError(f"{which}: {int(value[where])} at index {where} is not below {self.levels} levels")
        variance = float(self.train.double().var(correction=0)) + 1 / 12  # of u
        object.__setattr__(self, "mean", float(self.train.double().mean()) + 0.5)
        object.__setattr__(self, "std", math.sqrt(variance))

    @property
    def dim(self) -> int:
        """Number of pixels times channels."""
        return math.prod(self.shape)

    def dequantised(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """Integers (n, d) as a chain state: with uniform noise, centred and scaled, float64."""
        noise = torch.rand(values.shape, generator=generator, dtype=torch.float64)
        return (values + noise - self.mean) / self.std

    def batch(self, n: int, generator: torch.Generator) -> Tensor:
        """n training images, drawn with replacement, (n, d)."""
        chosen = torch.randint(len(self.train), (n,), generator=generator)
        return self.dequantised(self.train[chosen], generator)

    def held_out(self, n: int | None = None, seed: int = 0) -> Tensor:  # type: ignore[override]
        """The first n held-out images, or all of them where n is none or more, (n, d); ``seed`` decides the noise."""
        return self.dequantised(self.test[:n], torch.Generator().manual_seed(1_000_003 + seed))

    def pixels(self, x: Tensor) -> Tensor:
        """States (..., d) as images (..., channels, height, width) in units of levels, from 0 to ``levels``."""
        return (x * self.std + self.mean).reshape(*x.shape[:-1], *self.shape)

    def bits_per_pixel(self, log_p: Tensor) -> Tensor:
        """-log2 p(v + u) per pixel (and channel), from log p(x) (...), nats."""
        return (math.log(self.std) - log_p / self.dim) / LN2

    @property
    def null_bits(self) -> float:
        """Bits per pixel of an isotropic Gaussian with the training images' mean and variance, on those: -L_null."""
        return math.log2(self.std) + 0.5 * math.log2(2 * math.pi * math.e)

    @property
    def edges(self) -> Tensor:
        """Where the levels begin and end, in units of the chain, (levels + 1,)."""
        return (torch.arange(self.levels + 1, dtype=torch.float64) - self.mean) / self.std


def digits() -> Images:
    """scikit-learn's 1797 handwritten digits of 8x8 pixels and 17 levels; 297 are held out, by a fixed permutation."""
    values = torch.as_tensor(load_digits().data).to(torch.uint8)
    order = np.random.default_rng(0).permutation(len(values))
    split = "permutation by numpy.random.default_rng(0): the first 1500 train, the last 297 are held out"
    train, test = values[order[:1500]], values[order[1500:]]
    return Images(name="digits", train=train, test=test, shape=(1, 8, 8), levels=17, split=split)


SETS: dict[str, Callable[[], Images]] = {"digits": digits}


@lru_cache(maxsize=4)
def load(name: str) -> Images:
    """The images called ``name``, kept in memory once loaded."""
    return SETS[name]()
