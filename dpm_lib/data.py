"""Data sets behind one ``load(name)``: what training draws from and what evaluation holds out."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpm_lib.codebooks import Codebook
from dpm_lib.distributions import Mixture, SwissRoll

DATA = ("swiss-roll", "heartbeat")


@dataclass(frozen=True)
class Data:
    """A data set of dimension ``dim``; ``target`` is its exact distribution where that is known.

    ``batch(n, generator)`` gives training data (n, dim), ``held_out(n, seed)`` gives data that training never sees.
    """

    name: str
    target: Mixture | Codebook

    @property
    def dim(self) -> int:
        return self.target.dim

    def batch(self, n: int, generator: torch.Generator) -> Tensor:
        return self.target.sample(n, generator)

    def held_out(self, n: int, seed: int = 0) -> Tensor:
        return self.target.sample(n, torch.Generator().manual_seed(1_000_003 + seed))

    def draws_on(self, device: torch.device) -> bool:
        """Whether ``batch`` takes a generator of this device, and draws there: of a law, on the CPU alone."""
        return device.type == "cpu"

    def record(self) -> dict[str, Any]:
        """Which data these are, as far as the recipe does not say it, for the files of a run."""
        return {"name": self.name}


def load(name: str, noise: float = 0.25, side: int = 0, channels: int = 1) -> Data:
    """The data set called ``name``.

    "swiss-roll" of this ``noise`` and "heartbeat" are fresh draws without end. All others are images, for which see
    ``images.load``: "digits", "mnist-5k", "mnist", "cifar10", "dead-leaves", "textures", "folder:PATH".
    """
    from dpm_lib import images  # which imports Data

    if name == "swiss-roll":
        return Data(name, SwissRoll(noise))
    if name == "heartbeat":
        return Data(name, heartbeat())
    if images.known(name):
        return images.load(name, side, channels)
    raise ValueError(f"data: {name!r} is not known; there are: {', '.join((*DATA, *images.NAMES))}")


def heartbeat(length: int = 20, period: int = 5) -> Codebook:
    """The 2015 paper's heartbeat: a 1 in every ``period``-th bin, the first of them in any of the first ``period``.

    All are equally likely, so its entropy is log ``period``: log2 5 = 2.322 bits for the paper's.
    """
    if not 1 <= period <= length or length % period:
        raise ValueError(f"period: {period} does not divide the length {length}")
    return Codebook(torch.eye(period, dtype=torch.float64).repeat(1, length // period))
