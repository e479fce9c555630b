"""Schedules: how fast a diffusion forgets.

A schedule holds log alpha_bar_t for t = 0..T in float64, where alpha_bar_t = prod_{i<=t} (1 - beta_i) is the
fraction of the signal's variance that is left. Everything else follows from it:

    beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}          the diffusion rate of step t
    tau_t  = 1 / alpha_bar_t - 1 = 1 / SNR_t            noise variance in the variance-exploding picture

with ``beta[0] = 0``, ``alpha_bar[0] = 1``, ``tau[0] = 0``, so that ``beta[t]`` is the beta_t of the page.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps

import torch
from torch import Tensor, nn

from dpm_lib.core import checks


def _holdable(values: Callable[..., Tensor]) -> property:
    """A property (T+1,) that is computed once while its schedule is ``held``."""

    @wraps(values)
    def once(schedule: "Schedule") -> Tensor:
        return schedule.once(values)

    return property(once)


class Schedule(nn.Module):
    """A fixed schedule from ``log_alpha_bar`` (T+1,): 0 first, then strictly decreasing; the last may be -inf.

    ValueError for any other.
    """

    def __init__(self, log_alpha_bar: Tensor) -> None:
        super().__init__()
        self._held = None
        value = torch.as_tensor(log_alpha_bar, dtype=torch.float64)
        if value.ndim != 1 or len(value) < 2 or value[0] != 0:
            raise ValueError(
                f"log_alpha_bar: need shape (T+1,) with 0 first, got {tuple(value.shape)}: {value[:3].tolist()}"
            )
        falls = value[1:] < value[:-1]
        if not falls.all():
            t = int((~falls).nonzero()[0]) + 1
            raise ValueError(
                f"log_alpha_bar: need a fall at every step; at t={t} it goes from {value[t - 1]} to {value[t]}"
            )
        self.register_buffer("_log_alpha_bar", value)

    _log_alpha_bar: Tensor
    _held: dict[tuple[Callable[..., Tensor], bool], Tensor] | None  # on each, else a compiled step is traced twice

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, what follows from the schedule is computed once: for many questions to one that stays as it is.

        Gradients pass as they do outside. A parameter must not be changed inside.
        """
        if self._held is not None:
            yield
            return
        self._held = {}
        try:
            yield
        finally:
            self._held = None

    def once(self, values: Callable[..., Tensor]) -> Tensor:
        """``values(schedule)``, of any shape: computed once while the schedule is ``held``."""
        if self._held is None:
            return values(self)
        key = values, torch.is_grad_enabled()  # what was computed without a graph will not do where there is one
        if key not in self._held:
            self._held[key] = values(self)
        return self._held[key]

    @_holdable
    def log_alpha_bar(self) -> Tensor:
        """log alpha_bar_t, (T+1,)."""
        return self._log_alpha_bar

    @property
    def T(self) -> int:
        """Number of steps."""
        return len(self.log_alpha_bar) - 1

    @_holdable
    def alpha_bar(self) -> Tensor:
        """prod_{i<=t} (1 - beta_i), (T+1,): fraction of the signal's variance left at t."""
        return self.log_alpha_bar.exp()

    @_holdable
    def beta(self) -> Tensor:
        """Diffusion rates, (T+1,), with beta[0] = 0."""
        log = self.log_alpha_bar
        return torch.cat([torch.zeros_like(log[:1]), -torch.expm1(log[1:] - log[:-1])])

    @_holdable
    def tau(self) -> Tensor:
        """1 / alpha_bar_t - 1, (T+1,): the variance of the noise when the signal is not shrunk."""
        return torch.expm1(-self.log_alpha_bar)

    @_holdable
    def log_tau(self) -> Tensor:
        """log tau_t, (T+1,), with -inf first: minus the log signal-to-noise ratio. Exact to float64 at both ends."""
        log = self.log_alpha_bar
        return torch.cat([torch.full_like(log[:1], -math.inf), torch.log(-torch.expm1(log[1:])) - log[1:]])

    @_holdable
    def snr(self) -> Tensor:
        """alpha_bar_t / (1 - alpha_bar_t), (T+1,), with +inf first."""
        return (-self.log_tau).exp()


class LearnedSchedule(Schedule):
    """A schedule whose beta_2..beta_T are learned, with beta_1 fixed, as in the 2015 paper.

    Starts at ``start`` (any schedule with finite log alpha_bar). The parameters are the logarithms of the
    T-1 increments of log tau, so every value of them is a valid schedule. With ``knots`` (2 or more) they are instead
    what is added to those logarithms at so many even places, and linearly between: few numbers, and smooth schedules.
    ValueError for a start that ends at -inf, and for other knots.
    """

    def __init__(self, start: Schedule, knots: int = 0) -> None:
        super().__init__(start.log_alpha_bar)
        log_tau = start.log_tau
        if not torch.isfinite(log_tau[1:]).all():
            raise ValueError(
                "start: tau_T is infinite, and its logarithm cannot be learned; end it, as cosine(tau_T=...)"
            )
        knots = checks.count("knots", knots, 0)
        if knots == 1 or knots > start.T - 1:
            raise ValueError(f"knots: {knots} is not 0, nor between 2 and T - 1 = {start.T - 1}")
        self.register_buffer("_log_tau_1", log_tau[1:2])
        increments = torch.log(log_tau[2:] - log_tau[1:-1])
        if knots:
            place = torch.linspace(0, knots - 1, start.T - 1, dtype=torch.float64).unsqueeze(1)
            self.register_buffer("_hats", (1 - (place - torch.arange(knots)).abs()).clamp(min=0))
            self.register_buffer("_start", increments)
            self.offsets = nn.Parameter(torch.zeros(knots, dtype=torch.float64))
        else:
            self.log_increments = nn.Parameter(increments)
        self.knots = knots

    _log_tau_1: Tensor
    _hats: Tensor
    _start: Tensor

    @_holdable
    def log_tau(self) -> Tensor:
        """log tau_t, (T+1,): log tau_1 + sum of the learned increments."""
        first = self._log_tau_1
        increments = self._start + self._hats @ self.offsets if self.knots else self.log_increments
        rest = first + torch.cumsum(increments.exp(), 0)
        return torch.cat([torch.full_like(first, -math.inf), first, rest])

    @_holdable
    def log_alpha_bar(self) -> Tensor:
        """log alpha_bar = -log(1 + tau), (T+1,), from log tau."""
        return -torch.logaddexp(self.log_tau, torch.zeros_like(self.log_tau))


def from_beta(beta: Tensor) -> Schedule:
    """The schedule with diffusion rates ``beta`` (T+1,), beta[0] = 0, each later one in (0, 1), the last in (0, 1].

    ValueError for others.
    """
    beta = torch.as_tensor(beta, dtype=torch.float64)
    if beta.ndim != 1 or len(beta) < 2 or beta[0] != 0:
        raise ValueError(f"beta: need shape (T+1,) with beta[0] = 0, got {tuple(beta.shape)}: {beta[:3].tolist()}")
    outside = ~((beta[1:] > 0) & (beta[1:] <= 1))
    if outside.any():
        t = int(outside.nonzero()[0]) + 1
        raise ValueError(f"beta: beta[{t}] = {beta[t]} is outside (0, 1]")
    if (beta[1:-1] == 1).any():
        t = int((beta == 1).nonzero()[0])
        raise ValueError(f"beta: beta[{t}] = 1 leaves nothing for the later steps to forget: only the last may be 1")
    return Schedule(torch.cumsum(torch.log1p(-beta), 0))


def from_tau(tau: Tensor) -> Schedule:
    """The variance-preserving schedule of noise variances ``tau`` (T+1,), tau[0] = 0, rising, else ValueError."""
    tau = torch.as_tensor(tau, dtype=torch.float64)
    if tau.ndim != 1 or len(tau) < 2 or tau[0] != 0:
        raise ValueError(f"tau: need shape (T+1,) with tau[0] = 0, got {tuple(tau.shape)}: {tau[:3].tolist()}")
    rises = tau[1:] > tau[:-1]
    if not rises.all():
        t = int((~rises).nonzero()[0]) + 1
        raise ValueError(f"tau: need a rise at every step; tau[{t}] = {tau[t]} comes after {tau[t - 1]}")
    return Schedule(-torch.log1p(tau))


def geometric(T: int, beta_1: float = 1e-4, tau_T: float = 400.0) -> Schedule:
    """T steps spaced evenly in log tau, from tau_1 = beta_1 / (1 - beta_1) to ``tau_T``.

    ValueError, here and below, for T < 2, beta_1 outside of (0, 1), or an end below the start.
    """
    _check_steps(T, beta_1, tau_T)
    log_tau = torch.linspace(math.log(beta_1) - math.log1p(-beta_1), math.log(tau_T), T, dtype=torch.float64)
    return from_tau(torch.cat([torch.zeros(1, dtype=torch.float64), log_tau.exp()]))


def even(T: int, beta_1: float | None = None) -> Schedule:
    """alpha_bar falling by the same amount each step, to 0: from 1 - beta_1 at t = 1, in T - 1 steps.

    With beta_1 = 1/T, its default, alpha_bar_t = 1 - t/T and beta_t = 1 / (T - t + 1): the 2015 paper's for bits.
    ValueError for T < 2, or beta_1 outside of (0, 1).
    """
    beta_1 = 1 / checks.count("T", T, 2) if beta_1 is None else beta_1
    _check_steps(T, beta_1)
    t = torch.arange(1, T + 1, dtype=torch.float64)
    rest = math.log1p(-beta_1) + torch.log1p(-(t - 1) / (T - 1))
    return Schedule(torch.cat([torch.zeros(1, dtype=torch.float64), rest]))


def linear(T: int, beta_1: float = 1e-4, beta_T: float = 0.2) -> Schedule:
    """beta_t rising in a straight line from ``beta_1`` to ``beta_T`` (Ho et al. 2020, with T = 1000, beta_T = 0.02).

    ValueError for T < 2, or rates outside of (0, 1].
    """
    _check_steps(T, beta_1)
    if not 0 < beta_T <= 1:
        raise ValueError(f"beta_T: {beta_T} is outside (0, 1]")
    beta = torch.linspace(beta_1, beta_T, T, dtype=torch.float64)
    return from_beta(torch.cat([torch.zeros(1, dtype=torch.float64), beta]))


def cosine(T: int, beta_1: float = 1e-4, tau_T: float = 400.0) -> Schedule:
    """sqrt(alpha_bar) falling along a cosine (Nichol and Dhariwal 2021), cut to begin at beta_1 and end at tau_T.

    ValueError for T < 2, beta_1 outside of (0, 1), or an end below the start.
    """
    _check_steps(T, beta_1, tau_T)
    angle = torch.linspace(math.asin(math.sqrt(beta_1)), math.atan(math.sqrt(tau_T)), T, dtype=torch.float64)
    return from_tau(torch.cat([torch.zeros(1, dtype=torch.float64), torch.tan(angle).square()]))


def scaled_linear(T: int, beta_1: float = 0.00085, beta_T: float = 0.012) -> Schedule:
    """sqrt(beta_t) rising in a straight line, from ``beta_1`` to ``beta_T``: with T = 1000, Stable Diffusion's.

    ValueError for T < 2, or rates outside of (0, 1].
    """
    _check_steps(T, beta_1)
    if not 0 < beta_T <= 1:
        raise ValueError(f"beta_T: {beta_T} is outside (0, 1]")
    beta = torch.linspace(math.sqrt(beta_1), math.sqrt(beta_T), T, dtype=torch.float64).square()
    return from_beta(torch.cat([torch.zeros(1, dtype=torch.float64), beta]))


def published_cosine(T: int, offset: float = 0.008, most: float = 0.999) -> Schedule:
    """alpha_bar as cos^2, and no beta above ``most``, as Nichol and Dhariwal (2021) print it.

    ValueError for T < 2, an offset that is not positive, or ``most`` outside of (0, 1).
    """
    checks.count("T", T, 2)
    checks.positive("offset", offset)
    checks.inside("most", most, 0, 1)
    t = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    left = torch.cos((t + offset) / (1 + offset) * (math.pi / 2)).square()
    beta = (1 - left[1:] / left[:-1]).clamp(max=most)
    return from_beta(torch.cat([torch.zeros(1, dtype=torch.float64), beta]))


def karras(T: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Schedule:
    """sigma^(1/rho) rising in a straight line: the noise levels of Karras et al. (2022).

    ValueError for T < 2, a rho that is not positive, or levels that do not rise.
    """
    checks.count("T", T, 2)
    checks.positive("rho", rho)
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(f"sigma_min, sigma_max: {sigma_min}, {sigma_max}: need 0 < sigma_min < sigma_max < infinity")
    sigma = torch.linspace(sigma_min ** (1 / rho), sigma_max ** (1 / rho), T, dtype=torch.float64) ** rho
    return from_tau(torch.cat([torch.zeros(1, dtype=torch.float64), sigma.square()]))


# The two pictures of one chain. x_k of a schedule, and z(tau_k) = y + noise of variance tau_k, differ by a scale alone.


@dataclass(frozen=True)
class Scaling:
    """Points multiplied by exp(``log_scale``) (...,), and what becomes of densities and scores: eq-tw-carried.

    Points and scores are (..., d), log densities (...), nats. For whole trajectories (T+1, n, d) give the scale as
    (T+1, 1). Data, and what is guessed of them, such as E[x_0 | x_k], stay as they are.
    """

    log_scale: Tensor

    def point(self, x: Tensor) -> Tensor:
        """The same points after the change, (..., d)."""
        return x * self.log_scale.exp().unsqueeze(-1)

    def log_prob(self, log_p: Tensor, dim: int) -> Tensor:
        """The log density after the change, (...), at the points carried along."""
        return log_p - dim * self.log_scale

    def score(self, score: Tensor) -> Tensor:
        """The gradient of the log density after the change, (..., d), at the points carried along."""
        return score * (-self.log_scale).exp().unsqueeze(-1)

    @property
    def inverse(self) -> "Scaling":
        """The way back."""
        return Scaling(-self.log_scale)


def to_variance_exploding(tau: Tensor | float) -> Scaling:
    """From x_k to z(tau_k) = x_k / sqrt(alpha_bar_k) = sqrt(1 + tau_k) x_k, for tau (...,). def-tw-change.

    A schedule's own tau is ``schedule.tau``. ValueError for a tau that is negative or not finite, with its index.
    """
    tau = torch.as_tensor(tau, dtype=torch.float64)
    wrong = ~((tau >= 0) & torch.isfinite(tau))
    if wrong.any():
        where = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"tau: {tau[where].item()} at index {where}: need finite numbers, none negative")
    return Scaling(0.5 * torch.log1p(tau))


def to_variance_preserving(tau: Tensor | float) -> Scaling:
    """Back: from z(tau) to x = z / sqrt(1 + tau), for tau (...). ``from_tau(tau)`` is the schedule that visits tau."""
    return to_variance_exploding(tau).inverse


def _check_steps(T: int, beta_1: float, tau_T: float | None = None) -> None:
    checks.count("T", T, 2)
    if not 0 < beta_1 < 1:
        raise ValueError(f"beta_1: {beta_1} is outside (0, 1)")
    if tau_T is not None and not beta_1 / (1 - beta_1) < tau_T < math.inf:
        raise ValueError(f"tau_T: {tau_T} is not between tau_1 = {beta_1 / (1 - beta_1):g} and infinity")
