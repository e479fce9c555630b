"""Inpainting and denoising: data that are known in part, or through noise, completed by a model.

``inpaint`` and ``denoise`` condition exactly, as far as ``conditioning.tilt`` does; ``clamp`` is the replacement
method, which does not.
"""

from typing import Any

import torch
from torch import Tensor

from dpm_lib.diffusion.conditioning import PlainSamples, tilt
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.probability.products_of_laws import Tilt
from dpm_lib.probability.weighted_samples import WeightedSamples


def inpaint(
    model: DiffusionModel, x0: Tensor, mask: Tensor, method: str = "particles", *, noise: float = 0.05, **options: Any
) -> WeightedSamples:
    """Draws of x_0 given what ``x0`` (d,) is where ``mask`` (d,) is true, by ``tilt``, whose options apply.

    ``noise`` is what the look at them is allowed to miss by: a standard deviation, or for bits and tokens the chance of
    an error.
    ValueError for other shapes. {eq}`def-post-look`
    """
    x0, mask = _checked_look(model, x0, mask)
    return tilt(model, seen(model, x0, noise, mask), method, **options)


def denoise(
    model: DiffusionModel, y: Tensor, noise: float, method: str = "particles", **options: Any
) -> WeightedSamples:
    """Draws of x_0 given a noisy ``y`` (d,): y = x_0 + noise N(0, I), or bits, each wrong with chance ``noise``.

    ValueError for another shape.
    """
    y, mask = _checked_look(model, y, torch.ones(model.kernel.dim, dtype=torch.bool))
    return tilt(model, seen(model, y, noise, mask), method, **options)


def seen(model: DiffusionModel, y: Tensor, noise: float, mask: Tensor) -> Tilt:
    """r(x_0): the likelihood of having seen ``y`` (d,) where ``mask`` (d,) is true."""
    return model.kernel.seen(y, noise, mask)


@torch.no_grad()
def clamp(
    model: DiffusionModel, x0: Tensor, mask: Tensor, n: int, generator: torch.Generator, *, noisy: bool = True
) -> PlainSamples:
    """The replacement method: at each t the known part of x_t is overwritten. It is biased.

    Overwritten by a draw of q(x_t | x_0) if ``noisy``; else by x_0 itself, clean at every t: the 2015 paper's
    inpainting, where r is a delta function at every step. x0 (d,), mask (d,) true where known, else ValueError. n
    draws.
    """
    x0, mask = _checked_look(model, x0, mask)
    known = x0.expand(n, -1)
    x = model.kernel.prior.expand(n).sample(generator)
    for t in range(model.T, 0, -1):
        x = torch.where(mask, model.kernel.marginal(known, t).sample(generator) if noisy else known, x)
        x = model.reverse_step(x, t).sample(generator)
    return PlainSamples(torch.where(mask, known, x), torch.zeros(n, dtype=torch.float64, device=x.device))


def _checked_look(model: DiffusionModel, x0: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What is seen, and where, checked, on the model's device."""
    d, device = model.kernel.dim, model.schedule.log_alpha_bar.device
    mask = torch.as_tensor(mask).to(device)
    if mask.shape != (d,) or mask.dtype != torch.bool:
        raise ValueError(f"mask: need {d} booleans, shape ({d},), got shape {tuple(mask.shape)} of {mask.dtype}")
    x0 = torch.as_tensor(x0, dtype=torch.float64).to(device)
    if x0.shape != (d,):
        raise ValueError(f"x0: need shape ({d},), got {tuple(x0.shape)}")
    return torch.where(mask, model.kernel.state(torch.where(mask, x0, 0.0)), 0.0), mask
