"""Checks on what runs along a clock: states, times, and that all numbers stay finite. Each names argument and place."""

import math

import torch
from torch import Tensor


def finite(name: str, value: Tensor, t: Tensor | float) -> Tensor:
    """``value`` itself. ValueError for NaN or infinity, with its index and the time ``t``."""
    good = torch.isfinite(value)
    if not good.all():
        where = tuple((~good).nonzero()[0].tolist())
        raise ValueError(f"{name}: {value[where].item()} at index {where}, time {float(t):g}")
    return value


def checked_states(x0: Tensor, name: str = "x0") -> Tensor:
    """States (n, d) as float64. ValueError for another shape, no states, or numbers that are not finite."""
    if x0.ndim != 2 or 0 in x0.shape:
        raise ValueError(f"{name}: needs shape (n, d), one row per particle, got {tuple(x0.shape)}")
    return finite(name, x0.to(torch.float64), math.nan)


def checked_times(times: Tensor, like: Tensor | None = None) -> Tensor:
    """Times (m,) as float64, where ``like`` is. ValueError unless there are two or more that all rise, or all fall."""
    checked = torch.as_tensor(times, dtype=torch.float64, device=None if like is None else like.device)
    if checked.ndim != 1 or len(checked) < 2:
        raise ValueError(f"times: need at least two, in one row, got shape {tuple(checked.shape)}")
    steps = checked.diff()
    wrong = ~((steps * steps[0] > 0) & torch.isfinite(steps))
    if wrong.any():
        k = int(wrong.nonzero()[0])
        raise ValueError(f"times: must all rise or all fall, got {checked[k].item()}, {checked[k + 1].item()} at {k}")
    return checked
