"""The reverse jumps of a masked diffusion: at their exact times, or in leaps.

Let u be the share of tokens that are shown. Back in time each masked token waits with the hazard 1/(1-u) and is then
drawn from its law given what stands. So the times are uniform in u, and independent of the tokens.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dpm_lib.core import checks


def first_hitting(
    conditionals: Callable[[Tensor], Tensor], length: int, kinds: int, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """n strings (n, d), int64, and the shares u (n, d) at which their tokens came: exact, with d calls.

    ``conditionals`` takes masked strings (n, d), with ``kinds`` for a mask, and answers laws of tokens (n, d, S). With
    m masks left, the next comes at 1 - u' = (1-u) V^(1/m), V uniform (eq-mk-hitting), and is any of them. ValueError
    for length, kinds or n < 1, and for an answer of another shape.
    """
    d, S, n = checks.count("length", length), checks.count("kinds", kinds), checks.count("n", n)
    x = torch.full((n, d), S)
    times = torch.zeros(n, d, dtype=torch.float64)
    u, rows = torch.zeros(n, dtype=torch.float64), torch.arange(n)
    for left in range(d, 0, -1):
        u = 1 - (1 - u) * torch.rand(n, generator=generator, dtype=torch.float64) ** (1 / left)
        place = torch.multinomial((x == S).double(), 1, generator=generator).squeeze(1)
        laws = checks.shaped("conditionals", conditionals(x), (n, d, S))[rows, place]
        x[rows, place] = torch.multinomial(laws, 1, generator=generator).squeeze(1)
        times[rows, place] = u
    return x, times


def step_chance(u: float, v: float) -> float:
    """The chance that a token masked at the share u is shown at v: (v-u)/(1-u). Raises ValueError unless u < v <= 1."""
    return (checks.between("v", v, 0, 1) - checks.between("u", u, 0, v)) / (1 - u)


def leap_chance(u: float, v: float) -> float:
    """The same where the hazard stays as it was at u (tau-leaping): 1 - exp(-(v-u)/(1-u)). ValueError as there."""
    return -math.expm1(-step_chance(u, v))


def left_by_leaps(steps: int) -> float:
    """The share of tokens that even leaps leave masked at u = 1: exp(-(1 + 1/2 + ... + 1/steps)) (eq-mk-left).

    Raises ValueError for no step.
    """
    return math.exp(-sum(1 / k for k in range(1, checks.count("steps", steps) + 1)))


def mean_calls(length: int, levels: Tensor) -> float:
    """How many of the steps between ``levels`` (n+1,) unmask anything on average, and so need a call: at most d.

    A step from u to v unmasks none of the d tokens with the chance (1-(v-u))^d (eq-mk-calls). ValueError unless the
    levels all rise or all fall.
    """
    shares = checks.checked_times(levels).diff().abs()
    return float((1 - (1 - shares) ** checks.count("length", length)).sum())
