"""A radial basis function network: the 2015 paper's, for the swiss roll."""

import math

import torch
from torch import Tensor, nn

from dpm_lib.core import checks


class RBF(nn.Module):
    """The 2015 paper's network for the swiss roll: normalised radial basis functions and a readout for each t.

    phi_j(x) = exp(-|x - c_j|^2 / 2 w_j^2) / sum_k exp(-|x - c_k|^2 / 2 w_k^2), shared by all times; then, for each
    time t, its own affine map of phi (Sohl-Dickstein et al. 2015, appendix D.1.1: one hidden layer of 16 units).
    ValueError for fewer than one unit.
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
