"""What a trained model is worth: K on held-out data, beside the limit that is known exactly."""

import math
from typing import Any

import torch
from torch import Tensor

from dpm_lib import limits
from dpm_lib.bound import LN2
from dpm_lib.data import Data
from dpm_lib.diffusion import DiffusionModel


def evaluate(model: DiffusionModel, data: Data, n: int = 20_000, seed: int = 0) -> dict[str, Any]:
    """K in bits for n held-out points, each with one forward trajectory: K = mean log weight.

    Returns ``bound_bits`` and its standard error; ``entropy_limit_bits``, the exact -H(X0); ``ceiling_bits``, what the
    fixed edge step leaves of it; and ``gap_bits`` = E[log q(x0) - K(x0)], paired point by point, so that its
    standard error is several times smaller. ``bound_bits_paired`` is the limit less the gap.
    """
    if n < 2:
        raise ValueError(f"n: {n}: need at least 2 held-out points")
    x0 = data.held_out(n, seed)
    device = model.schedule.log_alpha_bar.device
    generator = torch.Generator(device).manual_seed(seed)
    weights = [model.trajectory_weights(part.to(device), 1, generator).elbo for part in x0.split(5000)]
    K = torch.cat(weights).cpu() / LN2
    gap = data.target.log_prob(x0) / LN2 - K
    limit = -data.target.entropy() / LN2
    return {
        "bound_bits": float(K.mean()),
        "bound_bits_stderr": stderr(K),
        "entropy_limit_bits": limit,
        "ceiling_bits": limits.ceiling(data.target, model.schedule) / LN2,
        "gap_bits": float(gap.mean()),
        "gap_bits_stderr": stderr(gap),
        "bound_bits_paired": limit - float(gap.mean()),
        "held_out": n,
        "beta_1": float(model.schedule.beta[1]),
    }


def stderr(values: Tensor) -> float:
    """Standard error of the mean of independent values (n,)."""
    return float(values.std() / math.sqrt(len(values)))
