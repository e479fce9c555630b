"""Data sets behind one ``load(name)``: what training draws from and what evaluation holds out."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_lib.distributions import Mixture, SwissRoll


@dataclass(frozen=True)
class Data:
    """A data set of dimension ``dim``; ``target`` is its exact distribution where that is known.

    ``batch(n, generator)`` gives training data (n, dim), ``held_out(n, seed)`` gives data that training never sees.
    """

    name: str
    target: Mixture

    @property
    def dim(self) -> int:
        return self.target.dim

    def batch(self, n: int, generator: torch.Generator) -> Tensor:
        return self.target.sample(n, generator)

    def held_out(self, n: int, seed: int = 0) -> Tensor:
        return self.target.sample(n, torch.Generator().manual_seed(1_000_003 + seed))


def load(name: str, noise: float = 0.25) -> Data:
    """The data set called ``name``. "swiss-roll": fresh draws of ``distributions.SwissRoll(noise)``, without end."""
    if name == "swiss-roll":
        return Data(name, SwissRoll(noise))
    raise ValueError(f"data: {name!r} is not known; there is: swiss-roll")
