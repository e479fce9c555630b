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
from dpm_lib.data.dataset import DATA, Data, Points, permuted, seen_before
from dpm_lib.probability.codebooks import Codebook, heartbeat
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.swiss_roll import SwissRoll


def load(name: str, noise: float = 0.25, side: int = 0, channels: int = 1) -> Data:
    """The data set called ``name``.

    "swiss-roll" of this ``noise`` and "heartbeat" are fresh draws without end. A name that ends in .npy is an array in
    a file, for which see ``as_data``. All others are images (``image_datasets``): "digits", "mnist-5k", "mnist",
    "cifar10", "dead-leaves", "textures", "folder:PATH". ValueError for another name, and for a broken file.
    """
    from dpm_lib.data import image_datasets  # which imports Data

    if name == "swiss-roll":
        return Data(name, SwissRoll(noise))
    if name == "heartbeat":
        return Data(name, heartbeat())
    if image_datasets.known(name):
        return image_datasets.load(name, side, channels)
    if name.endswith(".npy"):
        try:
            return as_data(np.load(Path(name).expanduser(), allow_pickle=False), name)
        except (OSError, EOFError, ValueError) as error:
            raise ValueError(f"data: {name}: {error}") from None
    raise ValueError(f"data: {name!r} is not known; there are: {', '.join((*DATA, *image_datasets.NAMES, 'FILE.npy'))}")


def as_data(x: Any, name: str = "own") -> Data:
    """Your own data, for ``training.fit``: a tensor or NumPy array, or a law.

    - floating-point numbers (n, d): n points, or strings of bits where all are zeros and ones;
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
    if values.ndim != 2 or not values.is_floating_point():
        raise ValueError(
            f"data: need floating-point points (n, d), or uint8 pictures (n, h, w) or (n, c, h, w), got {values.dtype} "
            f"{tuple(values.shape)}"
        )
    checked_states(values, "data")
    train, test, split = permuted(name, values.double())
    return Points(name, train=train, test=test, split=split + seen_before(train, test, "points"))
