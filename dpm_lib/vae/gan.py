"""A generative adversarial net on the library's plain networks (Goodfellow et al. 2014).

A generator G turns Gaussian noise into points; a judge D gives each point a number, log odds that it is real. There is
no encoder and no density, so nothing here is a ``MarkovianVAE``.
"""

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.networks.mlp import MLP


def networks(dim: int, latent: int, width: int, depth: int, generator: torch.Generator) -> tuple[MLP, MLP]:
    """G: noise (n, latent) to points (n, dim), and D: points to log odds (n, 1)."""
    draws = MLP(latent, dim, width, depth, 16, 1.0, generator)
    judges = MLP(dim, 1, width, depth, 16, 1.0, generator)
    draws.wake(generator)  # or it would draw the same point for all noise
    return draws, judges


def draw(network: MLP, n: int, generator: torch.Generator) -> Tensor:
    """n points of the generator, (n, dim), float32. ValueError for n < 0."""
    noise = torch.randn(checks.count("n", n, 0), network.projection.shape[0], generator=generator)
    return network(noise, noise[:, 0], torch.zeros(n))


def judge(network: MLP, x: Tensor) -> Tensor:
    """The judge's log odds that x (n, dim) are real, (n,)."""
    x = x.float()
    return network(x, x[:, 0], torch.zeros(len(x))).squeeze(-1)
