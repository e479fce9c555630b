"""Many draws, some at a time: the memory they take beside the result does not grow with their number."""

from collections.abc import Callable

import torch
from torch import Tensor

from dpm_lib.core import checks

NUMBERS = 2**16  # in the states that are drawn at a time


def rows(dim: int) -> int:
    """How many states of ``dim`` numbers are drawn at a time: those of 2^16 numbers, and 16 at least.

    ValueError for dim < 1.
    """
    return max(16, NUMBERS // checks.count("dim", dim))


def in_batches(draw: Callable[[int], Tensor], n: int, dim: int) -> Tensor:
    """n draws, (n, d), of ``draw``, which gives as many as it is asked for: ``rows(dim)`` at a time, in order.

    One call for n up to ``rows(dim)``. ValueError for a negative n.
    """
    size, n = rows(dim), checks.count("n", n, 0)
    if n <= size:
        return draw(n)
    first = draw(size)
    found = torch.empty(n, *first.shape[1:], dtype=first.dtype, device=first.device)
    found[:size] = first
    for start in range(size, n, size):
        found[start : start + size] = draw(min(size, n - start))
    return found
