"""A Gaussian reverse kernel that knows that its data are integers with uniform noise on top.

Let a pixel of x_0 lie in cell k = [e_k, e_{k+1}) with probability w_k given *the other pixels* of x_t, and be uniform
in its cell. Then, given also its own noisy value, y = x_t / sqrt(alpha_bar_t) = x_0 + sqrt(tau_t) z,

    p(x_0 | x_t)  is proportional to  sum_k w_k 1[x_0 in cell k] exp(-(y - x_0)^2 / 2 tau_t),

a mixture of truncated Gaussians, whose mean and variance are closed forms. So the network says which level a pixel has
as far as the others tell, and Bayes' rule adds the pixel's own evidence, sharp edges included. This is to images what
``BernoulliReverse`` is to bits.
"""

import torch
from torch import Tensor, nn

from dpm_lib.core.checks import checked_step
from dpm_lib.core.constants import LOG_2PI
from dpm_lib.diffusion.forward_kernels import GaussianKernel, pick
from dpm_lib.diffusion.reverse_kernels import GaussianReverse, call_network

NOTHING_LEFT = 60.0  # log tau beyond which a pixel's own value says nothing of it: alpha_bar = 0 included
NARROW = 3e-3  # of the spread: in cells this narrow the density is a straight line, nearly, and a series is exact


class LevelReverse(GaussianReverse):
    """p(x_{t-1} | x_t) as a diagonal Gaussian with the moments of levels whose log weights come from a network.

    ``edges`` (L+1,) are the ends of the cells in units of the chain; the network maps (n, d), (n,), (n,) to (n, L d),
    the weight of the first level for every pixel first.
    """

    edges: Tensor

    def __init__(self, network: nn.Module, kernel: GaussianKernel, edges: Tensor) -> None:
        super().__init__(network, kernel, "diagonal")
        self.register_buffer("edges", edges)

    def moments(self, xt: Tensor, t: int | Tensor, kernel: GaussianKernel) -> tuple[Tensor, Tensor]:
        """Predicted E[x_0 | x_t] (..., d), and the std of each pixel of x_0. ValueError unless t is in 1..T."""
        t, levels = checked_step(t, kernel.schedule.T), len(self.edges) - 1
        log_w = call_network(self.network, xt, t, kernel.schedule, levels * self.dim)
        log_w = log_w.reshape(*xt.shape[:-1], levels, self.dim).mT
        y = xt / (0.5 * pick(kernel.schedule.log_alpha_bar, t).clamp(min=-NOTHING_LEFT)).exp()
        spread = (0.5 * pick(kernel.schedule.log_tau, t).clamp(max=NOTHING_LEFT)).exp().expand_as(y)
        log_mass, mean, variance = truncated(y.unsqueeze(-1), spread.unsqueeze(-1), self.edges)
        weights = torch.softmax(log_w + log_mass, -1)
        x0_hat = (weights * mean).sum(-1)
        apart = mean - x0_hat.unsqueeze(-1)
        return x0_hat, (weights * (variance + apart.square())).sum(-1).sqrt()


def truncated(y: Tensor, spread: Tensor, edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """N(y, spread^2) cut to each cell between ``edges`` (L+1,): log mass, mean, variance, each (..., L).

    ``y`` and ``spread`` (..., 1). Cells to the right of y are mirrored, so that nothing cancels in their tails; where
    the cells are much narrower than the spread, so that all cancels, a series takes over.
    """
    width = edges[1:] - edges[:-1]
    narrow = width < NARROW * spread
    low, high = (edges[:-1] - y) / spread, (edges[1:] - y) / spread
    middle, h = 0.5 * (low + high), width / spread
    low, high = torch.where(narrow, middle - 1, low), torch.where(narrow, middle + 1, high)  # any cell will do
    right = low + high > 0
    near, far = torch.where(right, -low, high), torch.where(right, -high, low)  # far < near, far <= 0
    log_near, log_far = torch.special.log_ndtr(near), torch.special.log_ndtr(far)
    log_mass = log_near + torch.log(-torch.expm1(log_far - log_near))
    at_near = (-0.5 * (near.square() + LOG_2PI) - log_mass).exp()
    at_far = (-0.5 * (far.square() + LOG_2PI) - log_mass).exp()
    shift = at_far - at_near  # the mean, in units of spread, on the mirrored side
    variance = 1 + far * at_far - near * at_near - shift.square()
    mean = y + spread * torch.where(right, -shift, shift)
    mean = torch.minimum(torch.maximum(mean, edges[:-1]), edges[1:])
    variance = torch.minimum((spread.square() * variance).clamp(min=1e-300), width.square() / 4)

    bend = (middle * h).square()
    flat_mass = h.log() - 0.5 * (middle.square() + LOG_2PI) + (bend - h.square()) / 24
    flat_mean = 0.5 * (edges[:-1] + edges[1:]) - width * middle * h * (1 - bend / 60) / 12
    flat_variance = width.square() / 12 * (1 - bend / 20 - h.square() / 30)
    flat = zip((flat_mass, flat_mean, flat_variance), (log_mass, mean, variance), strict=True)
    log_mass, mean, variance = (torch.where(narrow, a, b) for a, b in flat)
    return log_mass, mean, variance
