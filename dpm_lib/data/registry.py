"""Data sets behind one ``load(name)``, and your own arrays by ``as_data``.

model, metrics = dpm_lib.fit(dpm_lib.recipe("swiss-roll"), data=x)        # x: n points of d numbers, (n, d)
draws = dpm_lib.original(model.sample(100, generator), model.data_set)    # in the units of x
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpm_lib.core.checks import checked_states
from dpm_lib.data.dataset import DATA, Data, Points, Strings, permuted, seen_before
from dpm_lib.probability.codebooks import Codebook, heartbeat
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.swiss_roll import SwissRoll


def load(name: str, noise: float = 0.25, side: int = 0, channels: int = 1, length: int = 128) -> Data:
    """The data set called ``name``.

    "swiss-roll" of this ``noise`` and "heartbeat" are fresh draws without end. A name that ends in .npy is an array in
    a file, for which see ``as_data``. "text" is this book's prose and "text:PATH" a file of UTF-8, in windows of
    ``length`` characters. All others are images (``image_datasets``): "digits", "mnist-5k", "mnist",
    "cifar10", "dead-leaves", "textures", "folder:PATH". ValueError for another name, and for a broken file.
    """
    from dpm_lib.data import image_datasets, text  # which import Data

    if name == "swiss-roll":
        return Data(name, SwissRoll(noise))
    if name == "heartbeat":
        return Data(name, heartbeat())
    if text.known(name):
        try:
            return text.own(name.removeprefix("text:"), length) if name != "text" else text.book(length)
        except ValueError as error:
            raise ValueError(f"data: {name}: {error}") from None
    if image_datasets.known(name):
        return image_datasets.load(name, side, channels)
    if name.endswith(".npy"):
        try:
            return as_data(np.load(Path(name).expanduser(), allow_pickle=False), name)
        except (OSError, EOFError, ValueError) as error:
            raise ValueError(f"data: {name}: {error}") from None
    known = (*DATA, *image_datasets.NAMES, "text", "text:PATH", "FILE.npy")
    raise ValueError(f"data: {name!r} is not known; there are: {', '.join(known)}")


def as_data(x: Any, name: str = "own", tokens: int | None = None) -> Data:
    """Your own data, for ``training.fit``: a tensor or NumPy array, or a law.

    - floating-point numbers (n, d): n points, or strings of bits where all are zeros and ones;
    - whole numbers of an integer type (n, d): strings of ``tokens`` S, 0..S-1, by default as many as occur;
    - uint8 (n, h, w) or (n, c, h, w): pictures of 256 levels, in grey or with c planes;
    - a Codebook or a Mixture: fresh draws without end, and the exact limit of K.

    A tenth of an array is held out, two rows at least, by a fixed permutation; a warning tells how many of them are
    training rows too. ValueError where it is none of these, or has fewer than four rows.
    """
    from dpm_lib.data import image_datasets  # which imports Data

    if isinstance(x, Data):
        return x
    if isinstance(x, (Codebook, Mixture)):
        return Data(name, x)
    if not isinstance(x, (Tensor, np.ndarray)):
        raise ValueError(f"data: need a tensor, a NumPy array, a Codebook, a Mixture or Data, got {type(x).__name__}")
    values = torch.as_tensor(x).detach().cpu()
    if values.dtype == torch.uint8 and values.ndim in (3, 4):
        return image_datasets.own(name, values)
    if values.ndim == 2 and not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool):
        S = max(2, int(values.max()) + 1 if values.numel() else 0) if tokens is None else tokens
        train, test, split = permuted(name, values.long())
        found = split + seen_before(train, test, "strings")
        return Strings(name, train=train, test=test, split=found, vocabulary=S)
    if tokens is not None:
        raise ValueError(f"tokens: {tokens}: is for whole numbers (n, d), got {values.dtype} {tuple(values.shape)}")
    if values.ndim != 2 or not values.is_floating_point():
        raise ValueError(
            "data: need floating-point points (n, d), integer tokens (n, d), or uint8 pictures (n, h, w) or "
            f"(n, c, h, w), got {values.dtype} {tuple(values.shape)}"
        )
    checked_states(values, "data")
    train, test, split = permuted(name, values.double())
    return Points(name, train=train, test=test, split=split + seen_before(train, test, "points"))
