"""Reflow and couplings: what pairs of data and noise are joined by straight lines, and what it costs.

A coupling is a law of pairs (y, e) with given marginals. Its lines x_s = (1 - s) y + s e have a flow, whose map pairs
data and noise anew, with the same marginals. With C the mean of |e - y|^2 over the pairs, C' over the new ones, S how
much the flow bends and L what no velocity can tell of e - y: C = C' + S + L (eq-str-budget). Rows are draws.
"""

import math
from dataclasses import dataclass

import torch
from numpy.polynomial.legendre import leggauss
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_states
from dpm_lib.diffusion.interpolants import Path
from dpm_lib.diffusion.mixture_flow import MixtureFlow

REACH = 8.5  # standard deviations, beyond which there is less than 1e-16


def cost(y: Tensor, e: Tensor) -> Tensor:
    """|e - y|^2 of each pair, (n,), for y and e (n, d). ValueError for different shapes."""
    y, e = checked_states(y, "y"), checked_states(e, "e")
    if y.shape != e.shape:
        raise ValueError(f"e: need shape {tuple(y.shape)}, that of y, got {tuple(e.shape)}")
    return (e - y).square().sum(-1)


def assignment(y: Tensor, e: Tensor) -> Tensor:
    """Which row of e (n, d) belongs to each row of y (n, d), (n,), so that the sum of |e - y|^2 is least.

    A permutation: each row is used once. On the line by sorting. ValueError for different shapes.
    """
    cost(y, e)
    if y.shape[1] == 1:
        order = torch.empty(len(y), dtype=torch.long)
        order[y[:, 0].argsort()] = e[:, 0].argsort()
        return order
    return torch.as_tensor(linear_sum_assignment(torch.cdist(y, e).square().numpy())[1])


def minibatch(y: Tensor, e: Tensor, batch: int) -> Tensor:
    """e (n, d), in a new order: within each run of ``batch`` rows, every y is paired at the least cost in sum.

    Both marginals stay exactly what they were, for any batch. ValueError unless ``batch`` divides n.
    """
    batch = checks.count("batch", batch)
    if len(y) % batch:
        raise ValueError(f"batch: {batch}: need a divisor of the {len(y)} rows")
    parts = [e[i : i + batch][assignment(y[i : i + batch], e[i : i + batch])] for i in range(0, len(y), batch)]
    return torch.cat(parts)


@dataclass(frozen=True)
class Budget:
    """Where the cost of a coupling goes: ``pairs`` = ``flow`` + ``bend`` + ``unknown``. eq-str-budget.

    pairs is E|e - y|^2 with ends as they are coupled, flow the same with ends as the flow joins them, bend the mean of
    |velocity - (x_1 - x_0)|^2 along it, unknown that of |pair's velocity - velocity|^2.
    """

    pairs: float
    flow: float
    bend: float
    unknown: float


def line_budget(flow: MixtureFlow, places: int = 501, nodes: int = 48) -> Budget:
    """The budget of a flow on the line, by quadrature, each term on its own: Gauss-Legendre in s, trapezoids over x_0.

    ``pairs`` is the integral of E|a' y + b' e|^2, which is E|e - y|^2 on the linear path. ValueError for a flow that is
    not on the line, fewer than 100 ``places`` and no ``nodes``.
    """
    places, wide = checks.count("places", places, 100), flow.target.dim
    if wide != 1:
        raise ValueError(f"flow: need one on the line, and this one has {wide} dimensions")
    source, target, path = flow.source, flow.target, flow.path
    reach = float(target.centers.abs().max()) + REACH * math.sqrt(target.variance)
    y = torch.linspace(-reach, reach, places, dtype=torch.float64).unsqueeze(1)
    mass = target.log_prob(y).exp() * float(y[1] - y[0])
    chord, bend, unknown, pairs = flow.map(y, 0, 1) - y, 0.0, 0.0, 0.0
    mean = float(target.weights @ target.centers[:, 0]) * float(source.weights @ source.centers[:, 0])
    for node, weight in zip(*leggauss(checks.count("nodes", nodes)), strict=True):
        s, share = 0.5 * (1 + float(node)), 0.5 * float(weight)
        x = flow.map(y, 0, s)
        bend += share * float(mass @ (flow.velocity(x, s) - chord).square()[:, 0])
        unknown += share * float(mass @ flow.spread(x, s))
        da, db = path.da(s), path.db(s)
        pairs += share * (da**2 * target.mean_square + db**2 * source.mean_square + 2 * da * db * mean)
    return Budget(pairs, float(mass @ chord.square()[:, 0]), bend, unknown)


def normal_bend(path: Path, variance: float, nodes: int = 64) -> float:
    """How much the flow from N(0, 1) to N(0, ``variance``) bends on a ``path``, a dimension: eq-str-normal-bend.

    x_s is w(s) times a normal, w^2 = a^2 variance + b^2; the integral of (w' - (w(1) - w(0)))^2, by ``nodes`` of Gauss
    and Legendre. ValueError for a variance that is not positive.
    """
    v, found = checks.positive("variance", variance), 0.0

    def width(s: float) -> float:
        return math.hypot(path.a(s) * math.sqrt(v), path.b(s))

    for node, weight in zip(*leggauss(checks.count("nodes", nodes)), strict=True):
        s = 0.5 * (1 + float(node))
        slope = (path.a(s) * path.da(s) * v + path.b(s) * path.db(s)) / width(s)
        found += 0.5 * float(weight) * (slope - width(1) + width(0)) ** 2
    return found
