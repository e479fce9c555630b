"""The 2015 paper's multi-scale convolutional network for images (Sohl-Dickstein et al. 2015, appendix D.2).

**Network.** Layers of multi-scale convolution, then layers that act on each pixel by itself. They see x_t alone, not t.
For each pixel they give J coefficients for the mean and J for the variance, of bumps in time

    g_j(t) = exp(-(t - t_j)^2 / 2 w^2) / sum_k exp(-(t - t_k)^2 / 2 w^2),

with J centres t_j spread evenly over 0..T, and w their spacing; z = sum_j y_j g_j(t).

**Readout.** Mean and variance are those of the forward kernel, disturbed by the two images z_mu and z_Sigma:

    Sigma = sigmoid(logit(beta_t) + z_Sigma),        mu = sqrt(1 - beta_t) x_t + sqrt(beta_t) z_mu.

The variance is the paper's. The mean is that of its published code; the text has (x_t - z_mu)(1 - Sigma) + z_mu. Where
z is 0 the code's step is the forward kernel's, so that an untrained model is exactly pi, and K is exactly L_null.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, softplus

from dpm_lib.core import checks
from dpm_lib.networks.unet import Shape, reset, zero


class MultiScale(nn.Module):
    """``depth`` multi-scale convolutions of ``width`` channels, two layers for each pixel by itself, bumps in time.

    ValueError for fewer than two bumps.
    """

    bumps: Tensor

    def __init__(
        self, shape: Shape, T: int, width: int = 20, depth: int = 4, scales: int = 3, bumps: int = 10,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        channels = shape[0]
        self.shape = shape
        self.register_buffer("bumps", bump_functions(T, bumps))
        self.lower = nn.ModuleList(MultiScaleConvolution(width if i else channels, width, scales) for i in range(depth))
        self.upper = nn.Conv2d(width, width, 1)
        self.leave = nn.Conv2d(width, 2 * bumps * channels, 1)
        reset(self, generator)
        zero(self.leave)

    def forward(self, x: Tensor, t: Tensor, log_tau: Tensor) -> Tensor:
        """(n, 2 d): z_mu, then z_Sigma. ``log_tau`` is not used."""
        h = x.reshape(-1, *self.shape)
        for layer in self.lower:
            h = softplus(layer(h))
        coefficients = self.leave(torch.tanh(self.upper(h)))
        coefficients = coefficients.reshape(len(x), 2, -1, *self.shape)  # (n, 2, J, channels, height, width)
        return torch.einsum("nkjchw,nj->nkchw", coefficients, self.bumps[t]).flatten(1)


class MultiScaleConvolution(nn.Module):
    """The sum over scales of: means of 2^s x 2^s pixels, a 3x3 convolution, and back to full size."""

    def __init__(self, inputs: int, outputs: int, scales: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(nn.Conv2d(inputs, outputs, 3, padding=1) for _ in range(scales))

    def forward(self, h: Tensor) -> Tensor:
        total = torch.zeros(1, dtype=h.dtype, device=h.device)
        for s, layer in enumerate(self.scales):
            small = avg_pool2d(h, 2**s, ceil_mode=True)
            total = total + interpolate(layer(small), scale_factor=2**s)[..., : h.shape[-2], : h.shape[-1]]
        return total


def bump_functions(T: int, bumps: int) -> Tensor:
    """g_j(t), (T + 1, J): J bumps in time, which add up to 1 at every t. ValueError for fewer than two."""
    centres = torch.linspace(0, T, checks.count("bumps", bumps, 2))
    t = torch.arange(T + 1.0).unsqueeze(1)
    return torch.softmax(-0.5 * ((t - centres) * (bumps - 1) / T).square(), 1)
