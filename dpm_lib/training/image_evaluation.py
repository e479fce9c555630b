"""Evaluation on images: K in bits per dimension, on the held-out ones."""

import math
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core.random import seeded
from dpm_lib.core.standard_error import stderr
from dpm_lib.data.images import Images
from dpm_lib.diffusion import bound
from dpm_lib.diffusion.model import DiffusionModel

PART = 500  # images evaluated at a time


def image_bounds(model: DiffusionModel, data: Images, n: int | None = None, seed: int = 0) -> Tensor:
    """-K of n held-out images (all by default), (n,), in bits per dimension: all T terms, one draw of x_t for each."""
    device = model.schedule.log_alpha_bar.device
    generator = seeded(seed, device)
    parts = data.held_out(n, seed).split(PART)
    K = torch.cat([bound.terms(model, part.to(device), generator).K for part in parts])
    return data.bits_per_dimension(K).cpu()


def evaluate_images(model: DiffusionModel, data: Images, n: int | None = None, seed: int = 0) -> dict[str, Any]:
    """-K in bits per dimension of dequantised levels on n held-out images, with its standard error over images.

    Per dimension: per pixel and channel. n is by default all of them, or fewer where T times the pixels is large: about
    a minute's worth on the CPU, and 50 times as many on a GPU; 100 at least. How many there are is ``held_out_of``.

    ``gain_bits_per_dimension`` is K - L_null: what the model knows beyond an isotropic Gaussian of the same mean and
    variance; it does not depend on the unit. ``bound_bits`` is K in the units of the chain, for the whole image.
    ValueError for n < 2.
    """
    if n is not None and n < 2:
        raise ValueError(f"n: {n}: need at least 2 held-out images")
    device = model.schedule.log_alpha_bar.device
    n = default_count(model, data) if n is None else n
    bits = image_bounds(model, data, n, seed)
    x0 = data.held_out(n, seed)
    null = data.bits_per_dimension(model.kernel.prior.log_prob(x0.to(device)).cpu())
    gain = null - bits
    return {
        "bits_per_dimension": float(bits.mean()),
        "bits_per_dimension_stderr": stderr(bits),
        "null_bits_per_dimension": float(null.mean()),
        "gain_bits_per_dimension": float(gain.mean()),
        "gain_bits_per_dimension_stderr": stderr(gain),
        "bound_bits": data.dim * (math.log2(data.std) - float(bits.mean())),
        "bound_bits_stderr": data.dim * stderr(bits),
        "held_out": len(bits),
        "held_out_of": len(data.test),
        "beta_1": float(model.schedule.beta[1]),
    }


def default_count(model: DiffusionModel, data: Images) -> int:
    """Of how many held-out images K is taken, where nobody says: see ``evaluate_images``."""
    work = 20_000_000 if model.schedule.log_alpha_bar.device.type == "cpu" else 1_000_000_000
    return max(100, work // (model.T * data.dim))
