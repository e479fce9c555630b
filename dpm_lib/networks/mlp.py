"""A multi-layer perceptron: it maps a noisy point and its time to numbers, and knows nothing of diffusion.

All are called as ``network(x, t, log_tau)`` with x (n, d), integer times t (n,), and log_tau (n,), the logarithm
of the noise-to-signal ratio; each uses the measure of time that suits it.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from dpm_lib.core import checks


class MLP(nn.Module):
    """A multilayer perceptron on Fourier features of x (Tancik et al. 2020) and of log tau.

    Input features: x, sin and cos of ``frequencies`` learned projections of x, and sin and cos of log tau at a few
    fixed frequencies. ``depth`` hidden layers of ``width`` SiLU units. ``scale`` is the standard deviation of the
    projections at the start, in radians per unit of x: it sets how fine a structure is seen early in training.
    ValueError for a size that is no count, or a scale that is not positive.
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
        """The input features (n, inputs): x, the two functions of each projection, and those of log tau (n,)."""
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
        """The layers, the last one being the output's."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]
