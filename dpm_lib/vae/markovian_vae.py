"""Markovian VAEs: an encoder chain that forgets the data, and a generator chain that comes back.

    P_enc(z_1..z_N | y) = P_enc(z_1 | y) prod_l P_enc(z_l | z_{l-1})
    P_gen(y, z_1..z_N)  = P_pri(z_N) prod_l P_gen(z_{l-1} | z_l),   z_0 = y

Rung l = 1..N, a layer of latent variables, is an index, as on paper. States are (..., d_l); a rung may have a dimension
of its own. Such pairs of chains are autoregressive models (``autoregressive``), hierarchical variational autoencoders
(``gaussian_vae``) and diffusion models (``Diffusion``); the functions here evaluate them all. ``hierarchical`` lists
every path where rungs are finite sets. Nats.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.probability.distributions import Law
from dpm_lib.probability.weighted_samples import WeightedSamples


class MarkovianVAE(Protocol):
    """The interface: two chains as laws. The last three methods serve only ``terms``."""

    @property
    def N(self) -> int:
        """Number of rungs."""
        ...

    @property
    def prior(self) -> Any:
        """P_pri(z_N), the law of one state."""
        ...

    def state(self, y: Tensor) -> Tensor:
        """y (..., d) as chain state; ValueError, naming the entry, where it is none."""
        ...

    def encode(self, z: Tensor, rung: int) -> Any:
        """P_enc(z_l | z_{l-1} = z), (..., d_l), for l = ``rung`` in 1..N."""
        ...

    def generate(self, z: Tensor, rung: int) -> Any:
        """P_gen(z_{l-1} | z_l = z), (..., d)."""
        ...

    def read(self, y: Tensor) -> Any:
        """What the two laws below need of a state y (..., d): an encoder that is a network is asked here, once."""
        ...

    def marginal(self, known: Any, rung: int) -> Any:
        """P_enc(z_l | y), with ``known`` = ``read(y)``."""
        ...

    def posterior(self, known: Any, z: Tensor, rung: int) -> Any:
        """P_enc(z_{l-1} | z_l = z, y), (..., d), for l = 2..N, with ``known`` = ``read(y)``."""
        ...


@torch.no_grad()
def sample(vae: MarkovianVAE, n: int, generator: torch.Generator) -> list[Tensor]:
    """n runs of the generator, [y, z_1, ..., z_N], each (n, d_l): ``[0]`` are the draws of y."""
    path = [vae.prior.expand(n).sample(generator)]
    for rung in range(vae.N, 0, -1):
        path.append(vae.generate(path[-1], rung).sample(generator))
    return path[::-1]


@torch.no_grad()
def trajectory_weights(vae: MarkovianVAE, y: Tensor, n: int, generator: torch.Generator) -> WeightedSamples:
    """The probability of each y (batch, d) as importance sampling over n runs of the encoder: eq-vae-weight.

    log w = log P_pri(z_N) + sum_l [log P_gen(z_{l-1} | z_l) - log P_enc(z_l | z_{l-1})]. So ``elbo`` (batch,) estimates
    the Markovian ELBO, and ``log_z`` (batch,) log P_gen(y), where the encoder can take every path that the generator
    takes to y. The particles are the z_N, (batch, n, d_N). ValueError for n < 1.
    """
    checks.count("n", n)
    y = vae.state(y)
    z = y.unsqueeze(-2).expand(*y.shape[:-1], n, y.shape[-1])
    log_weights = torch.zeros(z.shape[:-1], dtype=torch.float64, device=z.device)
    for rung in range(1, vae.N + 1):
        encoder = vae.encode(z, rung)
        z_next = encoder.sample(generator)
        log_weights = log_weights + vae.generate(z_next, rung).log_prob(z) - encoder.log_prob(z_next)
        z = z_next
    return WeightedSamples(z, log_weights + vae.prior.log_prob(z))


@dataclass(frozen=True)
class ElboTerms:
    """The three parts of the ELBO for each of n data points, nats: eq-vae-elbo-kl.

    ``reconstruction`` (n,): log P_gen(y | z_1) at one draw of z_1.  ``kl`` (N+1, n): row l, for l = 2..N, is
    D_KL(P_enc(z_{l-1} | z_l, y) || P_gen(z_{l-1} | z_l)) at one draw of z_l; rows 0 and 1 are zero.
    ``prior`` (n,): D_KL(P_enc(z_N | y) || P_pri).
    """

    reconstruction: Tensor
    kl: Tensor
    prior: Tensor

    @property
    def elbo(self) -> Tensor:
        """The bound for each data point, (n,)."""
        return self.reconstruction - self.kl.sum(0) - self.prior


def terms(vae: MarkovianVAE, y: Tensor, generator: torch.Generator) -> ElboTerms:
    """Every term of the ELBO for each row of ``y`` (n, d), with one draw of each z_l from P_enc(z_l | y).

    Each network is asked once a row, so a step of training passes over each weight once, and twice backwards. Gradients
    pass where the laws' ``sample`` lets them: for Gaussians, through the frozen noise.
    """
    y = vae.state(y)
    known = vae.read(y)
    first = vae.marginal(known, 1).sample(generator)
    reconstruction = vae.generate(first, 1).log_prob(y)
    kl = [torch.zeros_like(reconstruction)] * 2
    for rung in range(2, vae.N + 1):
        z = vae.marginal(known, rung).sample(generator)
        kl.append(vae.posterior(known, z, rung).kl(vae.generate(z, rung)))
    return ElboTerms(reconstruction, torch.stack(kl), vae.marginal(known, vae.N).kl(vae.prior))


@dataclass(frozen=True)
class Diffusion:
    """A diffusion model, seen as a Markovian VAE: the encoder is the forward chain, and N = T."""

    model: DiffusionModel

    @property
    def N(self) -> int:
        return self.model.T

    @property
    def prior(self) -> Law:
        return self.model.kernel.prior

    def state(self, y: Tensor) -> Tensor:
        return self.model.kernel.state(y)

    def encode(self, z: Tensor, rung: int) -> Law:
        return self.model.kernel.step(z, rung)

    def generate(self, z: Tensor, rung: int) -> Law:
        return self.model.reverse_step(z, rung)

    def read(self, y: Tensor) -> Tensor:
        return y

    def marginal(self, y: Tensor, rung: int) -> Law:
        return self.model.kernel.marginal(y, rung)

    def posterior(self, y: Tensor, z: Tensor, rung: int) -> Law:
        return self.model.kernel.posterior(y, z, rung)
