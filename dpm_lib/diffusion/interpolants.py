"""Interpolants: x_s = a(s) y + b(s) eps, from data at s = 0 to noise at s = 1. They are one Brownian motion, rescaled.

With z = x_s / a(s) and t = (b / a)^2 = tau, a path is z(t) = y + W_t seen by another clock and on another scale
(eq-str-change). So one guess x0_hat serves all of them: the velocity, the mean of a' y + b' eps given x_s = x, is
linear in x and x0_hat (eq-str-velocity), and the other way round. States are (n, d) float64, times s numbers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_states, shaped
from dpm_lib.diffusion.samplers import Callback, Denoising, Noise, checked_levels
from dpm_lib.diffusion.schedules import Schedule, from_tau

METHODS = ("euler", "heun")
Scalar = Callable[[float], float]


@dataclass(frozen=True)
class Path:
    """An interpolant: ``a`` and ``b`` at s in [0, 1], their derivatives ``da`` and ``db``, and ``clock``.

    a(0) = 1, b(0) = 0, and b / a rises; ``clock`` is its inverse: the s at which b / a = sigma.
    """

    name: str
    a: Scalar
    b: Scalar
    da: Scalar
    db: Scalar
    clock: Scalar

    def tau(self, s: float) -> float:
        """(b / a)^2, the variance of the noise in the unshrunk picture; infinite where no signal is left."""
        a, b = self.a(self._time(s)), self.b(s)
        return (b / a) ** 2 if a > 0 else math.inf

    def time(self, tau: float) -> float:
        """The s of a noise variance ``tau``, which may be infinite. ValueError for one that the path does not reach."""
        sigma = math.sqrt(tau) if tau >= 0 else math.nan
        s = self.clock(sigma)
        if not 0 <= s <= 1 + 1e-12:
            raise ValueError(f"tau: {tau}: need 0 <= tau <= {self.tau(1.0):g}, where the path {self.name!r} ends")
        return min(s, 1.0)

    def unshrunk(self, x: Tensor, s: float) -> tuple[Tensor, float]:
        """z (n, d) and its time t = tau of x (n, d) at s: eq-str-change. ValueError where no signal is left."""
        if not self.a(self._time(s)) > 0:
            raise ValueError(f"s: {s}: need a(s) > 0, for z = x / a(s)")
        return checked_states(x, "x") / self.a(s), self.tau(s)

    def velocity(self, x: Tensor, x0: Tensor, s: float) -> Tensor:
        """a' x0 + b' eps, (n, d), where x = a x0 + b eps; of a guess x0 (n, d) its guess. eq-str-velocity.

        ValueError at s = 0, where x says nothing of the noise.
        """
        b = self.b(self._time(s, 0.0))
        return self.da(s) * x0 + self.db(s) * (x - self.a(s) * x0) / b

    def parts(self, x: Tensor, velocity: Tensor, s: float) -> tuple[Tensor, Tensor]:
        """x0 and eps, each (n, d), of a velocity (n, d) at x (n, d): two equations, solved. eq-str-parts."""
        a, b, da, db = self.a(self._time(s)), self.b(s), self.da(s), self.db(s)
        return (db * x - b * velocity) / self.turn(s), (a * velocity - da * x) / self.turn(s)

    def score(self, x: Tensor, velocity: Tensor, s: float) -> Tensor:
        """grad log of the density of x_s, (n, d), from the velocity (n, d), for normal eps that is independent of y.

        eq-str-score. ValueError at s = 0.
        """
        return -self.parts(x, velocity, self._time(s, 0.0))[1] / self.b(s)

    def turn(self, s: float) -> float:
        """a b' - a' b = a^2 (b / a)' > 0: by how much (a, b) turns."""
        return self.a(self._time(s)) * self.db(s) - self.da(s) * self.b(s)

    def weight(self, s: float) -> float:
        """By what |v - v_hat|^2 exceeds |x0 - x0_hat|^2: (turn / b)^2. eq-str-weight. ValueError at s = 0."""
        return (self.turn(s) / self.b(self._time(s, 0.0))) ** 2

    def schedule(self, steps: int) -> Schedule:
        """The levels at s = 0, 1 / steps, ..., 1: the last without signal, if the path ends so. ValueError for none."""
        steps = checks.count("steps", steps)
        tau = [self.tau(i / steps) for i in range(steps + 1)]
        return from_tau(torch.tensor(tau, dtype=torch.float64))

    def _time(self, s: float, above: float = -math.inf) -> float:
        """``s`` itself. ValueError unless it lies in [0, 1], and is larger than ``above``."""
        if not (0 <= s <= 1 and s > above):
            raise ValueError(f"s: {s}: need a time in {'[' if above < 0 else '('}0, 1]")
        return s


LINEAR = Path(
    "linear", lambda s: 1 - s, lambda s: s, lambda s: -1.0, lambda s: 1.0,
    lambda sigma: 1.0 if math.isinf(sigma) else sigma / (1 + sigma),
)  # fmt: skip
_QUARTER = math.pi / 2
COSINE = Path(
    "cosine", lambda s: math.cos(_QUARTER * s) if s < 1 else 0.0, lambda s: math.sin(_QUARTER * s),
    lambda s: -_QUARTER * math.sin(_QUARTER * s), lambda s: _QUARTER * math.cos(_QUARTER * s),
    lambda sigma: math.atan(sigma) / _QUARTER,
)  # fmt: skip


def exploding(sigma: float = 20.0) -> Path:
    """The variance-exploding path a = 1, b = ``sigma`` s. ValueError for a sigma that is not positive."""
    sigma = checks.positive("sigma", sigma)
    return Path("exploding", lambda s: 1.0, lambda s: sigma * s, lambda s: 0.0, lambda s: sigma, lambda v: v / sigma)


PATHS = {path.name: path for path in (LINEAR, COSINE, exploding())}


def follow(
    velocity: Callable[[Tensor, float], Tensor], x: Tensor, times: Sequence[float], method: str = "heun"
) -> Tensor:
    """Points x (n, d) at times[0], carried by dx/ds = velocity(x, s) along ``times``: at all of them, (m, n, d).

    By Euler's method, one call a step, or Heun's, two. ValueError for bad times, another method, and a velocity of
    another shape.
    """
    checks.one_of("method", method, METHODS)
    path = [checked_states(x, "x")]

    def asked(x: Tensor, s: float) -> Tensor:
        return shaped("velocity", velocity(x, s), tuple(x.shape))

    for s, after in pairwise(checks.checked_times(torch.as_tensor(times, dtype=torch.float64)).tolist()):
        x, h = path[-1], after - s
        slope = asked(x, s)
        if method == "heun":
            slope = 0.5 * (slope + asked(x + h * slope, after))
        path.append(x + h * slope)
    return torch.stack(path)


def along(
    model: Denoising, x: Tensor, levels: Sequence[int], generator: Noise = None, callback: Callback | None = None,
    path: Path = LINEAR, method: str = "euler",
) -> Tensor:  # fmt: skip
    """A sampler: Euler's or Heun's ``method`` for the flow on a ``path``, for x (n, d) at the first of the ``levels``.

    The step to 0 of Heun's method is Euler's, as there no velocity can be asked for. On the linear path, and on every
    exploding one, Euler's steps are those of DDIM (eq-str-euler). Draws nothing. ValueError for bad input.
    """
    checks.one_of("method", method, METHODS)
    x, schedule = checked_states(x, "x"), model.schedule
    tau = schedule.tau.tolist()

    def scale(s: float) -> float:
        """From states whose a^2 + b^2 = 1 to those of the path."""
        return math.hypot(path.a(s), path.b(s))

    def slope(x: Tensor, s: float, t: int) -> tuple[Tensor, Tensor]:
        x0_hat = shaped("denoise", model.denoise(x / scale(s), t), tuple(x.shape))
        return path.velocity(x, x0_hat, s), x0_hat

    levels = checked_levels(levels, schedule)
    x = scale(path.time(tau[levels[0]])) * x
    with torch.no_grad():
        for i, (t, after) in enumerate(pairwise(levels)):
            s, end = path.time(tau[t]), path.time(tau[after])
            v, x0_hat = slope(x, s, t)
            if method == "heun" and after:
                v = 0.5 * (v + slope(x + (end - s) * v, end, after)[0])
            x = x + (end - s) * v
            if callback is not None:
                callback(i, t, after, x / scale(end), x0_hat)
    return x
