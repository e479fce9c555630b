"""Variational autoencoders of one or more rungs on plain networks, as Markovian VAEs.

The first rung is learned both ways; the others forget by a Gaussian step that keeps the fraction c_l of the amplitude:

    P_enc(z_1 | y)       = N(m(y), diag s(y)^2)               P_gen(y | z_1)         = N(mu_1(z_1), diag sigma_1(z_1)^2)
    P_enc(z_l | z_{l-1}) = N(c_l z_{l-1}, (1 - c_l^2) I)      P_gen(z_{l-1} | z_l)   = the same form, l = 2..N

with P_pri = N(0, I) and c_l in (0, 1) learned. With N = 1 this is the VAE of Kingma and Welling (2014).
"""

import torch
from torch import Tensor, nn

from dpm_lib.core import checks
from dpm_lib.networks.mlp import MLP
from dpm_lib.probability.distributions import Gaussian

LEAST = -4.0  # log of the smallest standard deviation: or a point that is missed by a little would cost without limit


class GaussianVAE(nn.Module):
    """``rungs`` latent variables of dimension ``latent`` for data of dimension ``dim``; float64 states.

    Its networks are MLPs of ``width`` and ``depth``: one encodes y, one for each rung generates. ValueError for
    rungs < 1.
    """

    def __init__(
        self,
        dim: int,
        latent: int,
        rungs: int,
        width: int,
        depth: int,
        generator: torch.Generator,
        scale: float = 1.0,
        kept: float = 0.7,
    ) -> None:
        super().__init__()
        rungs = checks.count("rungs", rungs)
        self.dim, self.latent, self.N = dim, latent, rungs
        sizes = [(dim, latent)] + [(latent, dim)] + [(latent, latent)] * (rungs - 1)
        nets = [MLP(a, 2 * b, width, depth, 16, scale, generator) for a, b in sizes]
        for net in nets:  # a last layer of zeros would be a saddle: encoder and generator would both say nothing
            net.wake(generator)
            with torch.no_grad():
                net.linear[-1].bias[len(net.linear[-1].bias) // 2 :] = -1.0  # standard deviations start near 1/e
        self.encoder, self.generators = nets[0], nn.ModuleList(nets[1:])
        start = torch.full((rungs - 1,), kept, dtype=torch.float64)
        self.odds = nn.Parameter(torch.logit(start))

    @property
    def prior(self) -> Gaussian:
        return Gaussian(torch.zeros(self.latent).double(), torch.ones(1).double())

    @property
    def kept(self) -> Tensor:
        """c_l at [l], (N+1,): rows 0 and 1 are 1, since rung 1 is the network's own."""
        return torch.cat([torch.ones(2).double(), torch.sigmoid(self.odds)])

    def state(self, y: Tensor) -> Tensor:
        """y as float64; ValueError where it is not (..., dim) or not finite."""
        if y.shape[-1] != self.dim or not torch.isfinite(y).all():
            raise ValueError(f"y: need finite values (..., {self.dim}), got shape {tuple(y.shape)}")
        return y.double()

    def encode(self, z: Tensor, rung: int) -> Gaussian:
        if rung == 1:
            return _gaussian(self.encoder, z)
        c = self.kept[rung]
        return Gaussian(c * z, (1 - c**2).sqrt().reshape(1))

    def generate(self, z: Tensor, rung: int) -> Gaussian:
        return _gaussian(self.generators[rung - 1], z)

    def read(self, y: Tensor) -> Gaussian:
        """P_enc(z_1 | y), (..., d): all that the rungs above know of y."""
        return self.encode(y, 1)

    def marginal(self, first: Gaussian, rung: int) -> Gaussian:
        """The Gaussian of z_1, shrunk and blurred by the steps between: eq-vae-two-step."""
        c = self.kept[: rung + 1].prod()
        return Gaussian(c * first.mean, (c**2 * first.scale.square() + 1 - c**2).sqrt())

    def posterior(self, first: Gaussian, z: Tensor, rung: int) -> Gaussian:
        """P_enc(z_{l-1} | z_l, y), (..., d): precisions add up."""
        before, c = self.marginal(first, rung - 1), self.kept[rung]
        precision = 1 / before.scale.square() + c**2 / (1 - c**2)
        mean = (before.mean / before.scale.square() + c * z / (1 - c**2)) / precision
        return Gaussian(mean, precision.rsqrt())


def _gaussian(network: nn.Module, x: Tensor) -> Gaussian:
    """The diagonal Gaussian whose mean and log standard deviation the network gives, kept within e^-4..e^3."""
    flat = x.reshape(-1, x.shape[-1]).float()
    raw = network(flat, flat[:, 0], torch.zeros(len(flat))).double().reshape(*x.shape[:-1], -1)
    mean, log_scale = raw.chunk(2, -1)
    return Gaussian(mean, log_scale.clamp(LEAST, 3.0).exp())
