"""The bound K of strings that are so short that every x_t can be listed: in T steps, and in infinitely many."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpm_lib.diffusion import bound, jump_bound
from dpm_lib.diffusion.categorical_kernel import CategoricalKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import Schedule

MOST = 20_000  # strings


def strings(kernel: CategoricalKernel) -> Tensor:
    """All strings of the chain's tokens, (n^d, d). ValueError for more than 20,000."""
    if kernel.tokens**kernel.dim > MOST:
        raise ValueError(f"kernel: {kernel.tokens}^{kernel.dim} strings: need {MOST} at most, to list them")
    tokens = torch.arange(kernel.tokens, dtype=torch.float64)
    return torch.cartesian_prod(*[tokens] * kernel.dim).reshape(-1, kernel.dim)


@torch.no_grad()
def stepwise(model: DiffusionModel, x0: Tensor) -> Tensor:
    """K of each row of ``x0`` (m, d), (m,), nats, without a draw: every expectation is a sum over all x_t.

    ValueError for too many strings.
    """
    kernel: Any = model.kernel
    x0, every = kernel.state(x0), strings(kernel)
    prior, edge, entropy_T, entropy_1 = bound.ends(kernel, x0)
    K = prior + entropy_T + (edge - entropy_1 if model.first > 1 else 0)
    for t in range(model.first, model.T + 1):

        def cost(x: Tensor, xt: Tensor, t: int = t) -> Tensor:
            return kernel.posterior(x, xt, t).kl(model.reverse(xt, t, kernel))

        K = K - _mean(kernel, x0, every, t, cost)
    return K


@torch.no_grad()
def limit(model: DiffusionModel, x0: Tensor, nodes: int = 64) -> Tensor:
    """K of infinitely many steps, (m,), nats: what the model's guesses, told the level alone, are worth in the end.

    The integral over s = -log alpha_bar, from 0 to the end of the model's schedule, is taken by so many points of
    Gauss, which are dense at both ends. Its network must not mind times that are no steps of its own: as ``t`` it is
    told the number of the point. ValueError for too many strings.
    """
    kernel: Any = model.kernel
    x0, every = kernel.state(x0), strings(kernel)
    last = float(kernel.schedule.alpha_bar[-1])
    z, w = np.polynomial.legendre.leggauss(nodes)
    angle = torch.from_numpy(np.pi / 4 * (z + 1))
    lost = angle.sin().square() * (1 - last)  # 1 - alpha_bar, rising
    weight = torch.from_numpy(w) * (np.pi / 4) * (2 * angle).sin() * (1 - last) / (1 - lost)  # ds = d lost / alpha_bar
    ends = torch.cat([torch.zeros(1), torch.log1p(-lost), kernel.schedule.log_alpha_bar[-1:]])
    points = CategoricalKernel(kernel.dim, Schedule(ends), kernel.jumps)
    prior, _, entropy_T, _ = bound.ends(kernel, x0)
    K = prior + entropy_T
    for t in range(1, nodes + 1):

        def rate(x: Tensor, xt: Tensor, t: int = t) -> Tensor:
            ratios = points.ratios(model.reverse.start(xt, t, points), xt, t)  # type: ignore[attr-defined]
            return jump_bound.loss_rate(points, x, xt, t, ratios)

        K = K - weight[t - 1] * _mean(points, x0, every, t, rate)
    return K


def _mean(kernel: CategoricalKernel, x0: Tensor, every: Tensor, t: int, value: Any) -> Tensor:
    """E[value(x_0, x_t) | x_0] for each x_0 (m, d), (m,): over those x_t alone that can be."""
    found = torch.zeros(len(x0), dtype=torch.float64)
    for i, x in enumerate(x0):
        log_q = kernel.marginal(x, t).log_prob(every)
        some = every[~torch.isneginf(log_q)]
        found[i] = log_q[~torch.isneginf(log_q)].exp() @ value(x.expand_as(some), some)
    return found
