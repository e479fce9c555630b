"""What it costs to unmask several tokens at once, and which numbers of tokens a step cost least.

A step draws each new token from its own law given what stands, and so loses their multi-information. With the order at
random the loss of a whole schedule is a left Riemann sum of the falling curve of ``information.erasure``, less the area
under it. ``h`` (d+1,) are the mean entropies of sets of k tokens, nats.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.information.erasure import increments, masked_cross_entropy, pair_information, revealed


def loss_of_sizes(h: Tensor, sizes: Sequence[int]) -> float:
    """The mean loss of steps that unmask ``sizes`` tokens, in a random order, nats, for ``h`` (d+1,) (eq-mk-riemann).

    It is E D_KL(P || product of the laws drawn), the sets given: 0 for all ones.
    ValueError unless the sizes are positive and sum to d.
    """
    steps, sizes = increments(h), list(sizes)
    if sum(sizes) != len(steps) or any(size < 1 or size != int(size) for size in sizes):
        raise ValueError(f"sizes: {sizes}: need positive whole numbers that sum to d = {len(steps)}")
    starts = np.cumsum([0, *sizes[:-1]])
    return float(sum(size * steps[a] for size, a in zip(sizes, starts, strict=True)) - steps.sum())


def loss_of_levels(h: Tensor, levels: Tensor) -> float:
    """The same where a step from share u to v unmasks each token with probability (v-u)/(1-u), nats (eq-mk-riemann).

    ``levels`` (n+1,) rise from 0 to 1, or ValueError.
    """
    u = checks.checked_times(levels)
    if u[0] != 0 or u[-1] != 1:
        raise ValueError(f"levels: need shares that rise from 0 to 1, got {u[0]:g} to {u[-1]:g}")
    return float((u.diff() * masked_cross_entropy(h, u[:-1])).sum() - revealed(h, 1.0))


def best_sizes(h: Tensor, steps: int) -> tuple[list[int], float]:
    """The sizes of so many steps that lose least, and that loss in nats, for ``h`` (d+1,): by dynamic programming.

    ValueError unless 1 <= steps <= d.
    """
    slopes = increments(h).numpy()
    d = len(slopes)
    if not 1 <= checks.count("steps", steps) <= d:
        raise ValueError(f"steps: {steps}: need 1 <= steps <= d = {d}")
    first, last = np.arange(d)[:, None], np.arange(d + 1)[None]
    cost = np.where(last > first, (last - first) * slopes[:, None], np.inf)  # from first to last in one step
    best, back = cost[0], []
    for _ in range(steps - 1):
        through = best[:d, None] + cost
        back.append(through.argmin(0))
        best = through.min(0)
    ends, sizes = d, []
    for choice in reversed(back):
        sizes.append(int(ends - choice[ends]))
        ends = int(choice[ends])
    return [ends, *reversed(sizes)], float(best[d] - slopes.sum())


def length(h: Tensor) -> float:
    """The thermodynamic length, the integral of sqrt(-E'(u)) from 0 to 1, for ``h`` (d+1,), sqrt nats (eq-mk-floor)."""
    x, w = np.polynomial.legendre.leggauss(200)
    angle = torch.from_numpy(x + 1) * (torch.pi / 4)  # u = sin^2: the ends may be steep
    rate = pair_information(h, angle.sin().square()).clamp(min=0).sqrt()
    return float((torch.from_numpy(w) * rate * (2 * angle).sin()).sum() * torch.pi / 4)


def floor(h: Tensor, steps: int, whole: bool = False) -> float:
    """What the best of many steps lose, to leading order: length^2 / (2 steps), nats, ``h`` (d+1,) (eq-mk-floor).

    With ``whole``, steps of a fixed number of tokens, which lose (h_1 - (h_d - h_{d-1}))/2 less. Raises ValueError for
    no step.
    """
    slopes = increments(h)
    lattice = float(slopes[0] - slopes[-1]) / 2 if whole else 0.0
    return length(h) ** 2 / (2 * checks.count("steps", steps)) - lattice


def best_levels(h: Tensor, steps: int, nodes: int = 4000) -> Tensor:
    """Levels that cross equal parts of the thermodynamic length, (steps+1,), for ``h`` (d+1,): the best for many steps.

    Raises ValueError for no step.
    """
    u = torch.linspace(0, torch.pi / 2, nodes + 1, dtype=torch.float64).sin().square()
    middle = (u[1:] + u[:-1]) / 2
    parts = (u.diff() * pair_information(h, middle).clamp(min=1e-300).sqrt()).cumsum(0)
    marks = torch.linspace(0, 1, checks.count("steps", steps) + 1, dtype=torch.float64) * parts[-1]
    levels = torch.from_numpy(np.interp(marks, torch.cat([torch.zeros(1), parts]), u))
    levels[0], levels[-1] = 0.0, 1.0
    return levels
