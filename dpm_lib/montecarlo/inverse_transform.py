"""Inverse transform sampling: a uniform number, through the inverse of a distribution function."""

from collections.abc import Callable

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.random import uniform


def inverse_cdf(
    cdf: Callable[[Tensor], Tensor], n: int, generator: torch.Generator, low: float = -100.0, high: float = 100.0
) -> Tensor:
    """Draws (n,) of a number whose distribution function is ``cdf``: (n,) -> (n,), increasing.

    Solves cdf(x) = u by bisection on [low, high], for uniform u: 100 halvings, down to rounding error. Raises
    ValueError if ``cdf`` leaves [0, 1], or if some u has its solution outside [low, high].
    Implements eq-mc-inverse-cdf.
    """
    u = uniform((checks.count("n", n),), generator)
    left, right = torch.full_like(u, low), torch.full_like(u, high)
    if not low < high:
        raise ValueError(f"low, high: {low}, {high}: need low < high")
    for name, end, sign in (("low", left, 1), ("high", right, -1)):
        if (sign * (_checked_cdf(cdf, end) - u) > 0).any():
            raise ValueError(f"{name}: cdf({end[0].item()}) = {cdf(end)[0].item()} leaves part of the mass out")
    for _ in range(100):
        middle = 0.5 * (left + right)
        below = _checked_cdf(cdf, middle) < u
        left, right = torch.where(below, middle, left), torch.where(below, right, middle)
    return 0.5 * (left + right)


def _checked_cdf(cdf: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    value = checks.tensor("cdf", cdf(x), x.device)
    bad = ~((value >= 0) & (value <= 1))
    if bad.any():
        raise ValueError(f"cdf: {value[bad][0].item()} at x = {x[bad][0].item()}, not in [0, 1]")
    return value
