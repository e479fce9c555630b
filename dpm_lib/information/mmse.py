"""The MMSE: how well data y can be guessed from z(t) = y + sqrt(t) noise, at best.

mmse(t) = E|y - E[y | z(t)]|^2 is the least mean squared error of any guess. For small mixtures and finite sets it is
summed exactly, with the entropy of z(t) beside it; for any other mixture it is estimated by sampling.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.constants import LOG_2PI
from dpm_lib.core.standard_error import stderr
from dpm_lib.probability.mixtures import Mixture

MAX_POINTS = 4_000_000  # of a quadrature grid, times components
REACH = 9.0  # standard deviations of noise that a grid covers: what is outside weighs less than 1e-18


def mmse(target: Mixture, t: float, step: float = 0.0) -> float:
    """E|y - E[y | z(t)]|^2 for a small mixture in at most 3 dimensions, by the trapezoidal rule around every centre.

    ``step`` is the spacing in standard deviations of z about a centre: by default 0.05 in one dimension, 0.125 in two,
    0.5 in three, good to about 1e-14, 1e-11 and 1e-4 of the data's variance. ``Equidistant`` has its own exact sum.
    Raises ValueError where the grid would be too large: see ``sampled_mmse``. (def-info-mmse)
    """
    if isinstance(target, Equidistant):
        return target.mmse(t)
    z, weight = _grid(target, checks.positive("t", t), step)
    width = target.variance + t
    share = torch.softmax(_log_joint(target, z, width), -1)  # P(component | z), (m, grid, m)
    # Cov[y | z] = (t / w)^2 Cov[centre | z] + (variance t / w) I with w = variance + t: def-info-mmse is its mean trace
    pairs = torch.cdist(target.centers, target.centers).square()
    trace = 0.5 * ((share @ pairs) * share).sum(-1)  # of the centre's covariance: nothing cancels
    return (t / width) ** 2 * float((weight * trace).sum()) + target.dim * target.variance * t / width


def expectation(target: Mixture, f: Callable[[Tensor], Tensor], t: float, step: float = 0.0) -> float:
    """E f(z(t)), for f from points (n, d) to numbers (n,), on the same grid and with the same limits as ``mmse``.

    As exact as there where f is smooth on the scale of the grid, and does not grow like an exponential. ValueError for
    a t that is not positive, for answers of another shape, and where the grid would be too large.
    """
    z, weight = _grid(target, checks.positive("t", t), step)
    z = z.reshape(-1, target.dim)
    return float(weight.reshape(-1) @ checks.shaped("f", f(z), z.shape[:1]))


def blurred_entropy(target: Mixture, t: float, step: float = 0.0) -> float:
    """h(z(t)) = -E log density of z(t), nats, on the same grid and with the same limits as ``mmse`` (ValueError).

    A route to the information that uses no mmse: I(y; z(t)) = h(z(t)) - d/2 log(2 pi e t).
    """
    z, weight = _grid(target, checks.positive("t", t), step)
    width = target.variance + t
    log_prob = torch.logsumexp(_log_joint(target, z, width), -1)
    return -float((weight * log_prob).sum()) + 0.5 * target.dim * (LOG_2PI + math.log(width))


def sampled_mmse(target: Mixture, t: float, n: int, generator: torch.Generator) -> tuple[float, float]:
    """(estimate, standard error) of E|y - E[y | z(t)]|^2 for any mixture: n draws of the trace of Cov[y | z].

    ValueError for n < 2.
    """
    z = noisy(target.sample(checks.count("n", n, 2), generator), checks.positive("t", t), generator)
    error = target.posterior_covariance(z, t).diagonal(dim1=-2, dim2=-1).sum(-1)
    return float(error.mean()), stderr(error)


def noisy(y: Tensor, t: float, generator: torch.Generator) -> Tensor:
    """z(t) = y + sqrt(t) noise, for rows y (n, d). ValueError for t < 0."""
    checks.between("t", t, 0)
    y = torch.as_tensor(y, dtype=torch.float64)
    return y + math.sqrt(t) * torch.randn(y.shape, generator=generator, dtype=torch.float64)


def covariance(target: Mixture) -> Tensor:
    """Cov[y], (d, d)."""
    centred = target.centers - target.weights @ target.centers
    spread = target.variance * torch.eye(target.dim, dtype=torch.float64)
    return (target.weights.unsqueeze(1) * centred).T @ centred + spread


class Equidistant(Mixture):
    """``count`` equally likely points, every two of them ``distance`` apart: a finite set with an exact mmse.

    The heartbeat's codewords are such a set: 5 strings that differ in 8 of 20 bits, so at distance sqrt(8). ValueError
    for fewer than two, or a distance that is not positive.
    """

    def __init__(self, count: int, distance: float) -> None:
        count = checks.count("count", count, 2)
        self.distance = checks.positive("distance", distance)
        corners = distance / math.sqrt(2) * torch.eye(count, dtype=torch.float64)
        super().__init__(corners, torch.full((count,), 1 / count, dtype=torch.float64), 0.0)

    def mmse(self, t: float) -> float:
        """Exact at every t, by two sums in one dimension, whatever the count (eq-info-race)."""
        # eq-info-race: others = S(r), density = -S'(r + s^2), at r that are 0.25 apart: trapezoidal, exact to rounding
        _, others, _, _, density = self._race(checks.positive("t", t))
        first = 0.25 * float(density @ others ** (len(self.weights) - 1))
        return 0.5 * self.distance**2 * (1 - first)

    def information(self, t: float) -> float:
        """I(y; z(t)), nats, by another route: log count + s^2 - E log sum of the rates (beside eq-info-race).

        The first ring of all the clocks comes after an exponential time of that total rate, so its mean logarithm is
        minus Euler's constant, minus the mean log rate.
        """
        r, others, other_density, true, density = self._race(checks.positive("t", t))
        m = len(self.weights)
        # the density of the first ring: it is the true clock's, or one of the m - 1 others'
        first = density * others ** (m - 1) + (m - 1) * true * other_density * others ** (m - 2)
        return math.log(m) + self.distance**2 / (2 * t) + np.euler_gamma + 0.25 * float(r @ first)

    def _race(self, t: float) -> tuple[np.ndarray, ...]:
        """r, then P(silent until time exp(r)) and the density in r of its ring, of another clock and of the true one.

        P(true point | z) is a softmax: the chance that, of clocks with rates exp(s^2 [true] + s g_j), the true one
        rings first, where s^2 = distance^2 / 2t.
        """
        square = self.distance**2 / (2 * t)
        s = math.sqrt(square)
        g, weight = line_rule(min(0.1, 0.25 / s))
        r = np.arange(-square - REACH * s - 40, REACH * s + 5, 0.25)
        out = [r]
        for lead in (0.0, square):
            rings = np.exp(np.minimum(np.add.outer(r + lead, s * g), 700.0))
            silent = np.exp(-rings)  # given g; its density in r is rings * silent
            out += [silent @ weight, (rings * silent) @ weight]
        return tuple(out)


def _grid(target: Mixture, t: float, step: float) -> tuple[Tensor, Tensor]:
    """Points (m, grid, d) about every centre of z(t)'s mixture, and their weights (m, grid), which sum to 1."""
    checks.between("step", step, 0)
    step = step or {1: 0.05, 2: 0.125}.get(target.dim, 0.5)
    line, weight = line_rule(step)
    m, d = target.centers.shape
    if m**2 * float(len(line)) ** d > MAX_POINTS:
        raise ValueError(f"target: {m} components in {d} dimensions: the grid is too large; use sampled_mmse")
    grid = np.stack(np.meshgrid(*d * [line], indexing="ij"), -1).reshape(-1, d)
    grid_weight = torch.as_tensor(np.prod(np.meshgrid(*d * [weight], indexing="ij"), 0).ravel())
    points = target.centers.unsqueeze(1) + math.sqrt(target.variance + t) * torch.as_tensor(grid)
    return points, target.weights.unsqueeze(1) * grid_weight


def _log_joint(target: Mixture, z: Tensor, width: float) -> Tensor:
    """log weight_k - |z - center_k|^2 / 2 width, (m, grid, m)."""
    apart = torch.cdist(z, target.centers, compute_mode="donot_use_mm_for_euclid_dist").square()
    return target.weights.log() - apart / (2 * width)


def line_rule(step: float) -> tuple[np.ndarray, np.ndarray]:
    """Trapezoidal nodes (m,) and weights (m,) for means over a standard normal. ValueError for a step <= 0."""
    checks.positive("step", step)
    # the error of this rule, for an analytic function times exp(-g^2 / 2), falls like exp(-2 pi^2 / step^2)
    g = np.linspace(-REACH, REACH, 2 * math.ceil(REACH / step) + 1)
    weight = np.exp(-0.5 * g**2)
    return g, weight / weight.sum()
