"""Plain networks: they map a noisy point and its time to numbers, and know nothing of diffusion.

All are called as ``network(x, t, log_tau)`` with x (n, d), integer times t (n,), and log_tau (n,), the logarithm
of the noise-to-signal ratio; each uses the measure of time that suits it.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from dpm_lib import checks


class MLP(nn.Module):
    """A multilayer perceptron on Fourier features of x (Tancik et al. 2020) and of log tau.

    Input features: x, sin and cos of ``frequencies`` learned projections of x, and sin and cos of log tau at a few
    fixed frequencies. ``depth`` hidden layers of ``width`` SiLU units. ``scale`` is the standard deviation of the
    projections at the start, in radians per unit of x: it sets how fine a structure is seen early in training.
    """

    time_frequencies: Tensor

    def __init__(
        self,
        dim: int,
        outputs: int,
        width: int = 128,
        depth: int = 3,
        frequencies: int = 16,
        scale: float = 4.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        width, depth = checks.count("width", width), checks.count("depth", depth, 0)
        frequencies = checks.count("frequencies", frequencies, 0)
        self.projection = nn.Parameter(torch.empty(dim, frequencies))
        self.register_buffer("time_frequencies", 0.25 * 2.0 ** torch.arange(4))
        sizes = [dim + 2 * frequencies + 2 * len(self.time_frequencies)] + depth * [width] + [outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.reset(scale, generator)

    def reset(self, scale: float, generator: torch.Generator | None) -> None:
        """Draw the starting weights from ``generator``; the last layer starts at zero."""
        checks.positive("scale", scale)
        with torch.no_grad():
            self.projection.normal_(std=scale, generator=generator)
            for layer in self.linear:
                layer.weight.normal_(std=1 / math.sqrt(layer.in_features), generator=generator)
                layer.bias.zero_()
            self.linear[-1].weight.zero_()

    def wake(self, generator: torch.Generator | None) -> None:
        """Draw the last layer too: where nothing tells outputs apart at the start, zeros would be a saddle."""
        last = self.linear[-1]
        with torch.no_grad():
            last.weight.normal_(std=1 / math.sqrt(last.in_features), generator=generator)

    def features(self, x: Tensor, log_tau: Tensor) -> Tensor:
        """The input features, (n, d + 2 frequencies + 2 time frequencies)."""
        angle = x @ self.projection
        phase = log_tau.unsqueeze(-1) * self.time_frequencies
        return torch.cat([x, angle.sin(), angle.cos(), phase.sin(), phase.cos()], -1)

    def forward(self, x: Tensor, t: Tensor, log_tau: Tensor) -> Tensor:
        """(n, outputs); the integer time ``t`` is not used."""
        hidden = self.features(x, log_tau)
        for layer in self.linear[:-1]:
            hidden = nn.functional.silu(layer(hidden))
        return self.linear[-1](hidden)

    @property
    def linear(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]


class RBF(nn.Module):
    """The 2015 paper's network for the swiss roll: normalised radial basis functions and a readout for each t.

    phi_j(x) = exp(-|x - c_j|^2 / 2 w_j^2) / sum_k exp(-|x - c_k|^2 / 2 w_k^2), shared by all times; then, for each
    time t, its own affine map of phi (Sohl-Dickstein et al. 2015, appendix D.1.1: one hidden layer of 16 units).
    """

    integer_times = True  # it knows the times of one schedule, and cannot be asked between them

    def __init__(
        self, dim: int, outputs: int, T: int, units: int = 16, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        units = checks.count("units", units)
        self.centers = nn.Parameter(torch.randn(units, dim, generator=generator))
        self.log_widths = nn.Parameter(torch.full((units,), math.log(0.5)))
        self.readout = nn.Parameter(torch.zeros(T + 1, units, outputs))
        self.bias = nn.Parameter(torch.zeros(T + 1, outputs))

    def forward(self, x: Tensor, t: Tensor, log_tau: Tensor) -> Tensor:
        """(n, outputs); ``log_tau`` is not used."""
        squared = (x.unsqueeze(1) - self.centers).square().sum(-1)
        phi = torch.softmax(-0.5 * squared * (-2 * self.log_widths).exp(), -1)
        return torch.einsum("nj,njk->nk", phi, self.readout[t]) + self.bias[t]
