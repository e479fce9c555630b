"""Image data: integers from a file, uniform noise on top, and one affine map to zero mean and unit variance.

A pixel that takes the values 0..L-1 has no density. *Dequantised*, it has: with u uniform on [0, 1), the density of
v + u is that of v's level, P(v), on [v, v + 1), so that E log p(v + u) <= log P(v) for every model p. The chain runs on

    x = (v + u - mean) / std,        log p(v + u) = log p(x) - log std      for each pixel,

with one mean and one std for all pixels, taken from the training images. So -K, in bits per pixel, bounds the number
of bits that a code of the integers themselves needs: that is the unit in which images are compared.
"""

import math
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.constants import LN2
from dpm_lib.core.random import seeded
from dpm_lib.data.dataset import Data, original, sides

RESIDENT = 2**31  # bytes of training images that are moved to a device, once


@dataclass(frozen=True, kw_only=True)
class Images(Data):
    """Images of ``shape`` (channels, height, width) as integers 0..levels-1: ``train`` and ``test`` uint8 (n, d).

    ``validation``, uint8 too where there are any, are set aside of the training images: a run chooses by them when it
    was best, and never learns from them. ``labels``, where there are any, has the classes 0, 1, ... of each of these
    parts by name, int64 (n,). ``split`` says in words which images are where. Raises ValueError where shapes or values
    do not fit.
    """

    train: Tensor
    test: Tensor
    validation: Tensor | None = None
    labels: dict[str, Tensor] = field(default_factory=dict)
    shape: tuple[int, int, int]
    levels: int
    split: str
    _moved: dict[torch.device, Tensor] = field(init=False, repr=False, default_factory=dict)
    _moved_labels: dict[torch.device, Tensor] = field(init=False, repr=False, default_factory=dict)
    mean: float = field(init=False)
    std: float = field(init=False)
    target: Any = field(default=None, init=False)  # the exact distribution is not known

    def __post_init__(self) -> None:
        for which, value in self._parts():
            if value.dtype != torch.uint8 or value.ndim != 2 or value.shape[1] != self.dim or len(value) < 2:
                raise ValueError(f"{which}: need uint8 (n, {self.dim}), got {value.dtype} {tuple(value.shape)}")
            if int(value.max()) >= self.levels:
                where = tuple(int(i) for i in (value >= self.levels).nonzero()[0])
                raise ValueError(f"{which}: {int(value[where])} at index {where} is not below {self.levels} levels")
        self._check_labels()
        variance = float(self.train.double().var(correction=0)) + 1 / 12  # of u
        object.__setattr__(self, "mean", float(self.train.double().mean()) + 0.5)
        object.__setattr__(self, "std", math.sqrt(variance))

    def _check_labels(self) -> None:
        """ValueError unless there are none, or one for each image, of classes 0.. that the training images have."""
        for which, value in self._parts() if self.labels else []:
            labels, n = self.labels.get(which, torch.empty(0)), len(value)
            if labels.dtype != torch.int64 or labels.shape != (n,):
                got = f"{labels.dtype} {tuple(labels.shape)}"
                raise ValueError(f"labels: {which}: need int64 ({n},), one for each image, got {got}")
            for label in (int(labels.min()), int(labels.max())):
                if not 0 <= label < self.classes:
                    raise ValueError(f"labels: {label} in {which}: need 0..{self.classes - 1}, as the training images")

    @property
    def classes(self) -> int:
        return int(self.labels["train"].max()) + 1 if self.labels else 0

    def _parts(self) -> list[tuple[str, Tensor]]:
        parts = [("train", self.train), ("test", self.test)]
        return parts if self.validation is None else [*parts, ("validation", self.validation)]

    @property
    def dim(self) -> int:
        """Number of pixels times channels."""
        return math.prod(self.shape)

    @property
    def bits(self) -> bool:
        """Never: their states are numbers."""
        return False

    @property
    def log_scale(self) -> float:
        return self.dim * math.log(self.std)

    def dequantised(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """Integers (n, d) as a chain state: with uniform noise, centred and scaled, float64."""
        noise = torch.rand(values.shape, generator=generator, dtype=torch.float64, device=generator.device)
        return (values + noise - self.mean) / self.std

    def batch(self, n: int, generator: torch.Generator) -> Tensor:
        """n training images, drawn with replacement, (n, d), on the generator's device: they are moved there once."""
        return self._drawn(n, generator)[0]

    def labelled(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if not self.labels:
            return super().labelled(n, generator)
        x0, chosen = self._drawn(n, generator)
        if chosen.device not in self._moved_labels:
            self._moved_labels[chosen.device] = self.labels["train"].to(chosen.device)
        return x0, self._moved_labels[chosen.device][chosen]

    def _drawn(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n training images (n, d), and which ones, (n,)."""
        device = generator.device
        if device not in self._moved:
            self._moved[device] = self.train.to(device)
        chosen = torch.randint(len(self.train), (n,), generator=generator, device=device)
        return self.dequantised(self._moved[device][chosen], generator), chosen

    def draws_on(self, device: torch.device) -> bool:
        """Whether ``batch`` draws on this device: the CPU, or one that the training images are not too large for."""
        return device.type == "cpu" or self.train.nbytes <= RESIDENT

    def held_out(self, n: int | None = None, seed: int = 0) -> Tensor:  # type: ignore[override]
        """The first n held-out images, or all of them where n is none or more, (n, d); ``seed`` decides the noise."""
        chosen = self.test if n is None else self.test[: checks.count("n", n, 0)]
        return self.dequantised(chosen, seeded(1_000_003 + seed))

    @property
    def validates(self) -> bool:
        return self.validation is not None

    def validation_rows(self, least: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """The validation images (n, d), each about as often, for ``least`` rows at least; labels (n,)."""
        if self.validation is None:
            return super().validation_rows(least, generator)
        chosen = torch.arange(max(least, len(self.validation))) % len(self.validation)
        labels = self.labels["validation"][chosen] if self.labels else None
        return self.dequantised(self.validation[chosen], generator), labels

    def record(self) -> dict[str, Any]:
        """The split in words, how many images are in each part of it, the SHA-256 of their bytes, and the units."""
        parts = {"held_out" if which == "test" else which: value for which, value in self._parts()}
        units = {"mean": self.mean, "std": self.std, "shape": list(self.shape), "levels": self.levels}
        return {"name": self.name, "split": self.split, **sides(parts), **units}

    def pixels(self, x: Tensor) -> Tensor:
        """States (..., d) as images (..., channels, height, width) in units of levels, from 0 to ``levels``."""
        return original(x, {"mean": self.mean, "std": self.std}).reshape(*x.shape[:-1], *self.shape)

    def bits_per_dimension(self, log_p: Tensor) -> Tensor:
        """-log2 p(v + u) per pixel (and channel), from log p(x) (...), nats."""
        return (math.log(self.std) - log_p / self.dim) / LN2

    @property
    def null_bits(self) -> float:
        """Bits per pixel of an isotropic Gaussian with the training images' mean and variance, on those: -L_null."""
        return math.log2(self.std) + 0.5 * math.log2(2 * math.pi * math.e)

    def edges(self, cells: int = 0) -> Tensor:
        """Where the levels begin and end, in units of the chain, (levels + 1,).

        With ``cells`` there are so many cells, (cells + 1,): neighbouring levels are put together by ``cell_ends``.
        ValueError where there are not so many levels.
        """
        if not 0 <= checks.count("cells", cells, 0) <= self.levels:
            raise ValueError(f"cells: {cells}: {self.name} has {self.levels} levels; 0 keeps each by itself")
        ends = list(range(self.levels + 1))
        if cells:
            ends = cell_ends(torch.bincount(self.train.flatten().long(), minlength=self.levels).tolist(), cells)
        return (torch.tensor(ends, dtype=torch.float64) - self.mean) / self.std


def cell_ends(counts: list[int], cells: int) -> list[int]:
    """The ends of ``cells`` cells of neighbouring levels, cells + 1 numbers, from how often each level was counted.

    The fullest cell of more than one level (of equally full ones the widest) is cut in two, as evenly as it can be, and
    so on. So a level that is most of the picture, such as blank paper, is soon alone, and the others share the rest.
    """
    ends = [0, len(counts)]
    below = [0, *accumulate(counts)]
    while len(ends) <= cells:
        pairs = [(below[b] - below[a], b - a, a, b) for a, b in pairwise(ends) if b - a > 1]
        _, _, a, b = max(pairs)
        ends.append(
            min(range(a + 1, b), key=lambda cut: (abs(below[cut] * 2 - below[a] - below[b]), abs(2 * cut - a - b)))
        )
        ends.sort()
    return ends
