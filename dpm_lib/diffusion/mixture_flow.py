"""The flow between two mixtures, exactly: the velocity of x_s = a y + b e for independent y and e, and where it leads.

Given the component of each, x_s is normal and its velocity linear in x; so the law of x_s is a mixture with a component
for each pair, and the velocity a mean over pairs. On the line the map of the flow is known without solving it.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_states, shaped
from dpm_lib.diffusion.interpolants import LINEAR, Path, follow
from dpm_lib.probability.mixtures import Mixture


def standard_normal(dim: int) -> Mixture:
    """N(0, I) in ``dim`` dimensions, as a mixture of one. ValueError for no dimensions."""
    return Mixture(torch.zeros(1, checks.count("dim", dim)), torch.ones(1), 1.0)


class MixtureFlow:
    """The flow of x_s = a(s) y + b(s) e, y from ``target`` and e, independent, from ``source`` (N(0, I) by default).

    ValueError for laws of different dimensions, and for one without a density.
    """

    def __init__(self, target: Mixture, source: Mixture | None = None, path: Path = LINEAR) -> None:
        source = standard_normal(target.dim) if source is None else source
        if target.dim != source.dim:
            raise ValueError(f"source: has {source.dim} dimensions, and the target {target.dim}")
        for name, law in (("target", target), ("source", source)):
            checks.positive(f"{name}, variance", law.variance)
        self.target, self.source, self.path = target, source, path
        self.weights = torch.outer(target.weights, source.weights).flatten()

    def law(self, s: float) -> Mixture:
        """The law of x_s: a component for each pair. ValueError for s outside of [0, 1]."""
        a, b = self.path.a(checks.between("s", s, 0, 1)), self.path.b(s)
        return Mixture(self._pairs(a, b), self.weights, a**2 * self.target.variance + b**2 * self.source.variance)

    def velocity(self, x: Tensor, s: float) -> Tensor:
        """E[a' y + b' e | x_s = x], (n, d), at x (n, d). ValueError for s outside of [0, 1]. eq-str-pairs."""
        share, means, drift, growth = self._given(x, s)
        return share @ (drift - growth * means) + growth * x

    def divergence(self, x: Tensor, s: float) -> Tensor:
        """div of the velocity, (n,), at x (n, d): that within the pairs, and the covariance of mean and drift."""
        share, means, drift, growth = self._given(x, s)
        offset = drift - growth * means
        together = share @ (means * offset).sum(-1) - ((share @ means) * (share @ offset)).sum(-1)
        return growth * self.target.dim + together / self.law(s).variance

    def spread(self, x: Tensor, s: float) -> Tensor:
        """E|a' y + b' e - velocity|^2 given x_s = x, (n,): what no velocity tells. ValueError for s beyond [0, 1]."""
        share, means, drift, growth = self._given(x, s)
        a, b, da, db = (f(s) for f in (self.path.a, self.path.b, self.path.da, self.path.db))
        v, u = self.target.variance, self.source.variance
        within = da**2 * v + db**2 * u - growth**2 * (a**2 * v + b**2 * u)  # of the velocity, given the pair and x
        offset = drift - growth * means
        return self.target.dim * within + share @ offset.square().sum(-1) - (share @ offset).square().sum(-1)

    def log_likelihood(self, x: Tensor, steps: int, velocity: "Velocity | None" = None,
                       divergence: "Velocity | None" = None) -> Tensor:  # fmt: skip
        """log density at x (n, d) and s = 0, (n,), nats, by the flow to the source, Heun's method. eq-str-likelihood.

        2 ``steps`` calls. The ``velocity`` is its own by default, or another with its ``divergence``. ValueError for
        no steps, and answers of another shape.
        """
        velocity = self.velocity if velocity is None else velocity
        divergence = self.divergence if divergence is None else divergence
        x, change = checked_states(x, "x"), torch.zeros(len(x), dtype=torch.float64)
        times = torch.linspace(0, 1, checks.count("steps", steps) + 1, dtype=torch.float64).tolist()
        for s, after in pairwise(times):
            h, slope = after - s, shaped("velocity", velocity(x, s), tuple(x.shape))
            euler = x + h * slope
            rates = divergence(x, s) + divergence(euler, after)
            change = change + 0.5 * h * shaped("divergence", rates, (len(x),))
            x = x + 0.5 * h * (slope + velocity(euler, after))
        return self.source.log_prob(x) + change

    def map(self, x: Tensor, start: float, end: float, steps: int = 0) -> Tensor:
        """Where the flow takes x (n, d) from s = ``start`` to ``end``, (n, d): by Heun's method in so many ``steps``.

        With no steps, the default, on the line alone and exactly: eq-str-monotone. ValueError for bad input.
        """
        if steps:
            times = np.linspace(start, end, checks.count("steps", steps) + 1).tolist()
            return follow(self.velocity, x, times)[-1]
        return monotone_map(self.law(start), self.law(end), x)

    def _pairs(self, a: float, b: float) -> Tensor:
        return (a * self.target.centers.unsqueeze(1) + b * self.source.centers).flatten(0, 1)

    def _given(self, x: Tensor, s: float) -> tuple[Tensor, Tensor, Tensor, float]:
        """The shares of pairs (n, m) given x, their means and mean velocities (m, d), and the growth within a pair."""
        law, x = self.law(s), checks.points(checked_states(x, "x"), self.target.dim)
        a, b, da, db = (f(s) for f in (self.path.a, self.path.b, self.path.da, self.path.db))
        growth = (a * da * self.target.variance + b * db * self.source.variance) / law.variance
        square = (x.unsqueeze(1) - law.centers).square().sum(-1)
        share = torch.softmax(law.weights.log() - square / (2 * law.variance), -1)
        return share, law.centers, self._pairs(da, db), growth


Velocity = Callable[[Tensor, float], Tensor]


def monotone_map(source: Mixture, target: Mixture, x: Tensor) -> Tensor:
    """The rising map on the line that takes ``source`` to ``target``, at x (n, 1): (n, 1), by bisection.

    It takes each quantile to the same quantile, so it is optimal for every convex cost of the distance. Good to 1e-13
    of the reach of the target as far as 35 standard deviations out, since upper tails are compared as such. ValueError
    for laws that are not on the line, or have no density.
    """
    for name, law in (("source", source), ("target", target)):
        if law.dim != 1:
            raise ValueError(f"{name}: need a law on the line, and this one has {law.dim} dimensions")
        checks.positive(f"{name}, variance", law.variance)
    x = checked_states(x, "x")
    below, above = _tails(source, x)
    lower = below < above
    wide = 40 * math.sqrt(target.variance)
    low = torch.full_like(x, float(target.centers.min()) - wide)
    high = torch.full_like(x, float(target.centers.max()) + wide)
    for _ in range(60):
        middle = 0.5 * (low + high)
        left, right = _tails(target, middle)
        less = torch.where(lower, left < below, right > above)  # the image is to the right of the middle
        low, high = torch.where(less, middle, low), torch.where(less, high, middle)
    return 0.5 * (low + high)


def _tails(law: Mixture, x: Tensor) -> tuple[Tensor, Tensor]:
    """P(X <= x) and P(X > x), each (n, 1)."""
    z = (x - law.centers.T) / math.sqrt(2 * law.variance)
    weights = 0.5 * law.weights.unsqueeze(1)  # ndtr has lost its lower tail at -9
    return torch.special.erfc(-z) @ weights, torch.special.erfc(z) @ weights
