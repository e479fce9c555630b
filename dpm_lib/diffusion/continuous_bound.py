"""The bound K as T grows, and what the schedule is then good for (Kingma et al. 2021, "VDM").

With the exact E[x_0 | x_t] and the variance of q(x_{t-1} | x_t, x_0), the bound loses at each step
(SNR_{t-1} - SNR_t) mmse(tau_t) / 2 nats. Many short steps make of the sum an integral in which the schedule is a mere
change of variable (eq-smp-continuous): a ``Pace`` log tau(u), u in [0, 1], moves it through its two ends only. What the
pace between them does move is the error of T steps (eq-smp-gap), and the spread of an estimate that draws one u at
random (eq-smp-second). For either there is a best pace (eq-smp-best-pace). Targets are mixtures on the line; nats.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.special import roots_legendre
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.diffusion.best_bound import fixed_terms
from dpm_lib.diffusion.schedules import Schedule, from_tau
from dpm_lib.information.mmse import line_rule, mmse
from dpm_lib.probability.mixtures import Mixture


@dataclass(frozen=True)
class Moments:
    """Of the error y - E[y | z(t)]: ``second``, its mean square; ``fourth``, of its fourth power; ``squared``, the mean
    of Var[y | z]^2. All three are numbers.
    """

    second: float
    fourth: float
    squared: float


def error_moments(target: Mixture, t: float) -> Moments:
    """Moments of the best guess's error at noise variance t, on the line: trapezoidal, exact to about 1e-14.

    ValueError for a target that is not on the line, and t <= 0.
    """
    if target.dim != 1:
        raise ValueError(f"target: needs to be on the line, and has {target.dim} dimensions")
    width = target.variance + checks.positive("t", t)
    g, weight = (torch.as_tensor(values) for values in line_rule(0.05))
    center = target.centers[:, 0]
    z = (center.unsqueeze(1) + math.sqrt(width) * g).reshape(-1, 1)
    share = torch.softmax(target.weights.log() - (z - center).square() / (2 * width), -1)
    guess = center + target.variance / width * (z - center)  # of a component's own
    off, s2 = guess - (share * guess).sum(-1, keepdim=True), target.variance * t / width
    second = (share * off.square()).sum(-1) + s2
    fourth = (share * (off**4 + 6 * s2 * off.square())).sum(-1) + 3 * s2**2
    chance = (target.weights.unsqueeze(1) * weight).reshape(-1)
    return Moments(*(float(chance @ values) for values in (second, fourth, second.square())))


@dataclass(frozen=True)
class Pace:
    """A schedule in continuous time: log tau at ``u`` (k,), from 0 to 1, and along straight lines between.

    ``log_tau`` (k,). ValueError unless both rise and are finite, and u goes from 0 to 1.
    """

    u: Tensor
    log_tau: Tensor

    def __post_init__(self) -> None:
        for name in ("u", "log_tau"):
            value = torch.as_tensor(getattr(self, name), dtype=torch.float64)
            if value.ndim != 1 or len(value) < 2 or not bool((value.diff() > 0).all() and value.isfinite().all()):
                raise ValueError(f"{name}: {value.tolist()}: need two or more finite numbers that rise")
            object.__setattr__(self, name, value)
        if len(self.u) != len(self.log_tau) or self.u[0] != 0 or self.u[-1] != 1:
            raise ValueError(f"u: {self.u.tolist()}: need one for each log_tau, from 0 to 1")

    def at(self, u: Tensor) -> Tensor:
        """log tau at u (m,): (m,)."""
        i = (torch.searchsorted(self.u, u) - 1).clamp(min=0)
        return self.log_tau[i] + (u - self.u[i]) * (self.log_tau.diff() / self.u.diff())[i]

    def schedule(self, T: int) -> Schedule:
        """T levels at even u, the first and the last at the ends. ValueError for T < 2."""
        u = torch.linspace(0, 1, checks.count("T", T, 2), dtype=torch.float64)
        return from_tau(torch.cat([torch.zeros(1, dtype=torch.float64), self.at(u).exp()]))


def pace_of(density: Callable[[float], float], tau_1: float, tau_T: float, pieces: int = 60) -> Pace:
    """The pace that is at log tau for a share of u that is ``density`` (of log tau, of any scale) there.

    In ``pieces`` of even log tau, by the trapezoidal rule. ValueError unless 0 < tau_1 < tau_T, and the density is
    positive.
    """
    log_tau = _ends(tau_1, tau_T, pieces + 1)
    values = torch.tensor([checks.positive("density", density(v)) for v in log_tau.tolist()], dtype=torch.float64)
    u = torch.cat([torch.zeros(1, dtype=torch.float64), (0.5 * (values[1:] + values[:-1])).cumsum(0)])
    return Pace(u / u[-1], log_tau)


def least_spread(target: Mixture, tau_1: float, tau_T: float, pieces: int = 60) -> Pace:
    """The pace whose one-time estimate of the bound has the least variance: density ~ sqrt(E error^4) / tau.

    ValueError unless 0 < tau_1 < tau_T. eq-smp-best-pace.
    """
    return pace_of(lambda v: math.sqrt(error_moments(target, math.exp(v)).fourth) * math.exp(-v), tau_1, tau_T, pieces)


def least_gap(target: Mixture, tau_1: float, tau_T: float, pieces: int = 60) -> Pace:
    """The pace that loses least at a large T: density ~ sqrt(E Var[y | z]^2) / tau.

    ValueError unless 0 < tau_1 < tau_T. eq-smp-best-gap.
    """
    return pace_of(lambda v: math.sqrt(error_moments(target, math.exp(v)).squared) * math.exp(-v), tau_1, tau_T, pieces)


def bound(target: Mixture, schedule: Schedule) -> float:
    """K of the exact mean with the variance of q(x_{t-1} | x_t, x_0), nats. eq-smp-discrete."""
    snr, tau = schedule.snr, schedule.tau
    lost = sum(0.5 * float(snr[t - 1] - snr[t]) * mmse(target, float(tau[t])) for t in range(2, schedule.T + 1))
    return fixed_terms(target, schedule) - lost


def limit(target: Mixture, tau_1: float, tau_T: float, nodes: int = 96) -> float:
    """K of infinitely many steps from tau_1 to tau_T, nats: no schedule enters. eq-smp-continuous.

    Gauss-Legendre in log tau. ValueError unless 0 < tau_1 < tau_T.
    """
    log_tau = _ends(tau_1, tau_T, 2)
    pace = Pace(torch.tensor([0.0, 1.0]), log_tau)
    return fixed_terms(target, pace.schedule(2)) - loss(target, pace, nodes)


def loss(target: Mixture, pace: Pace, nodes: int = 12) -> float:
    """int_0^1 w(u) mmse(tau(u)) du, nats, with w = -SNR'(u) / 2: Gauss-Legendre in u, ``nodes`` in each line."""
    return sum(weight * w * mmse(target, tau) for weight, w, tau in _nodes(pace, nodes))


def spread(target: Mixture, pace: Pace, nodes: int = 12) -> float:
    """The standard deviation, nats, of w(u) |x_0 - E[x_0 | x_u]|^2 over u even in [0, 1], x_0 and the noise.

    That of one draw: a mean of n has 1 / sqrt(n) of it. eq-smp-second.
    """
    first = second = 0.0
    for weight, w, tau in _nodes(pace, nodes):
        error = error_moments(target, tau)
        first += weight * w * error.second
        second += weight * w**2 * error.fourth
    return math.sqrt(second - first**2)


def _nodes(pace: Pace, nodes: int) -> list[tuple[float, float, float]]:
    """(weight, w(u), tau(u)) at the nodes u of all lines."""
    root, share = roots_legendre(checks.count("nodes", nodes))
    found = []
    rates = (pace.log_tau.diff() / pace.u.diff()).tolist()
    for start, length, rate in zip(pace.u.tolist(), pace.u.diff().tolist(), rates, strict=False):
        u = start + 0.5 * length * (1 + torch.as_tensor(root))
        for value, part in zip(pace.at(u).tolist(), share.tolist(), strict=True):
            found.append((0.5 * length * part, 0.5 * rate * math.exp(-value), math.exp(value)))
    return found


def _ends(tau_1: float, tau_T: float, count: int) -> Tensor:
    """``count`` even values of log tau from one end to the other."""
    if not 0 < tau_1 < tau_T < math.inf:
        raise ValueError(f"tau_1, tau_T: {tau_1}, {tau_T}: need 0 < tau_1 < tau_T < infinity")
    return torch.linspace(math.log(tau_1), math.log(tau_T), count, dtype=torch.float64)
