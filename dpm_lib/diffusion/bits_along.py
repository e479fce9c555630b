"""Where along the noise a bound spends its bits.

Between two levels of noise a step costs b_t bits a dimension. Spread evenly over log tau_{t-1}..log tau_t it is a
density, bits per unit of log tau, whose area is what all steps cost. It does not vanish at small noise: who knows
nothing of the place of x_0 within its cell pays 1 / (2 log 2) = 0.72 bits for each unit of log tau, however small tau.
The edge kernel gives that back: up to (beta_1 / 2 log 2)(|x_0|^2 / d - 1) its term is

    B_last = (1/2) log2(2 pi e beta_1 s^2) = -(1 / 2 log 2) log(tau_* / tau_1),    tau_* = 1 / (2 pi e) squared levels,

for tau_1 = beta_1 s^2 in squared levels of grey. Taken off at that rate from tau_1 up to tau_*, it leaves the net
density, which does not depend on where the chain begins, and whose area is the number of bits. A last step on levels
gives nothing back: what it costs is put on one unit below log tau_1.
"""

import math

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.constants import LN2

RATE = 1 / (2 * LN2)  # bits per unit of log tau, where nothing but noise is to be told
BEND = -math.log(2 * math.pi * math.e)  # log tau_*, in squared levels


def spread(edges: Tensor, amounts: Tensor, grid: Tensor) -> Tensor:
    """The density, (m,), on cells with the ends ``grid`` (m+1,), of ``amounts`` (k,) spread between ``edges`` (k+1,).

    Its sum times the widths of the cells is the sum of all amounts, exactly. ValueError for edges or a grid that do not
    rise, other shapes, and edges beyond the grid.
    """
    edges, grid = checks.finite("edges", edges), checks.finite("grid", grid)
    for name, value in (("edges", edges), ("grid", grid)):
        if value.ndim != 1 or len(value) < 2 or not (value.diff() > 0).all():
            raise ValueError(f"{name}: need two numbers or more that rise, got {value[:4].tolist()}")
    if amounts.shape != (len(edges) - 1,):
        raise ValueError(f"amounts: need shape ({len(edges) - 1},), got {tuple(amounts.shape)}")
    if edges[0] < grid[0] or edges[-1] > grid[-1]:
        raise ValueError(
            f"edges: from {edges[0]:g} to {edges[-1]:g}: need to lie in the grid, {grid[0]:g} to {grid[-1]:g}"
        )
    below = torch.cat([torch.zeros_like(amounts[:1]), amounts.cumsum(0)])
    place = torch.searchsorted(edges, grid, right=True).clamp(1, len(edges) - 1)
    share = ((grid - edges[place - 1]) / (edges[place] - edges[place - 1])).clamp(0, 1)
    return torch.lerp(below[place - 1], below[place], share).diff() / grid.diff()


def net(log_tau: Tensor, steps: Tensor, last: float, grid: Tensor) -> Tensor:
    """The density, (m,), of all bits but the prior's on ``grid`` (m+1,), after what the last step gives back.

    ``log_tau`` (k+1,) is the noise from t = 1 to T, in squared levels of grey, ``steps`` (k,) are the bits a dimension
    of the steps between, and ``last`` those of the last step. ValueError as ``spread``.
    """
    if last == 0:
        return spread(log_tau, steps, grid)
    end = log_tau[0] + (abs(last) / RATE if last < 0 else -1.0)
    ends = torch.stack([log_tau[0], end]).sort().values
    return spread(log_tau, steps, grid) + spread(ends, torch.as_tensor([last], dtype=steps.dtype), grid)
