"""K from few network calls: an unbiased estimate of the sum over t, with times by importance and a control variate.

The full sum takes T - 1 calls for each x_0, and spends most of them where nothing is to be learned: at small noise the
error of any good denoiser is the noise itself, and at large noise that of a linear one. A linear denoiser, Wiener's,
has an error that is known in closed form: so it is taken off from each term, and put back as its expectation. For data
with covariance U diag(lambda) U^T around mu, in the picture z = x_0 + sqrt(tau_t) n, with y = U^T (x_0 - mu),
m = U^T n, c_i = lambda_i / (lambda_i + tau_t), and d_t = (SNR_{t-1} - SNR_t) / 2,

    C_t = d_t sum_i [ (1 - c_i) y_i - c_i sqrt(tau_t) m_i ]^2 ,
    E[C_t | x_0] = d_t sum_i [ (1 - c_i)^2 y_i^2 + c_i^2 tau_t ]

are its term of the bound and what that is on average. With numbers g_t and h_t and a law pi of times, all from a pilot,

    sum_t KL_t  is estimated by  sum_t (g_t E[C_t | x_0] + h_t) + (1/m) sum_j (KL - g C - h)_{t_j} / pi(t_j) ,

for m times with t_j ~ pi. Its mean is the sum's whatever the pilot said, and each picture's: what the pilot gets wrong
costs variance alone. The m times of a picture are a comb, a m-th of pi apart, and the combs of all pictures are shifted
against each other by the golden section, so that together they visit all times evenly.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.random import normal, uniform
from dpm_lib.diffusion import bound
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import Schedule

MOST_STATES = 2000  # of which a covariance is made
LARGEST_BASIS = 4096  # dimensions; beyond, the covariance is taken to be diagonal
SHRINK = 0.05  # towards a multiple of the identity, where states are few for their dimension
EVEN = 0.1  # the share of pi that is spread evenly: no time is left out
ROWS = 1024  # states that a network sees at once
GOLDEN = (math.sqrt(5) - 1) / 2


class LinearDenoiser:
    """Wiener's denoiser for data with the mean and covariance of states ``x0`` (n, d): its terms C_t, and their means.

    Without a ``schedule`` of a Gaussian chain, or from one state, it is none: its terms are zero.
    """

    def __init__(self, x0: Tensor, schedule: Schedule | None) -> None:
        self.schedule = schedule if len(x0) > 1 else None
        some = x0[:MOST_STATES]
        self.mean = some.mean(0)
        n, d = some.shape
        apart = some - self.mean
        self.basis: Tensor | None = None
        if d <= LARGEST_BASIS:
            covariance = apart.T @ apart / n
            if n < 2 * d:
                covariance = (1 - SHRINK) * covariance + SHRINK * covariance.trace() / d * torch.eye(d).to(covariance)
            variance, self.basis = torch.linalg.eigh(covariance)
        else:
            variance = apart.square().mean(0)
        self.variance = variance.clamp(min=1e-12)

    def along(self, x: Tensor) -> Tensor:
        """Coordinates in the basis, (..., d), of differences (..., d)."""
        return x if self.basis is None else x @ self.basis

    def factors(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(SNR_{t-1} - SNR_t) / 2 (k, 1), c (k, d) and sqrt(tau) (k, 1), for times t (k,) in 2..T."""
        assert self.schedule is not None
        log_tau = self.schedule.log_tau[t].unsqueeze(-1)
        tau = log_tau.exp()
        drop = 0.5 * ((-self.schedule.log_tau[t - 1]).exp() - (-self.schedule.log_tau[t]).exp()).unsqueeze(-1)
        share = torch.where(torch.isinf(tau), 0.0, self.variance / (self.variance + tau))
        return drop, share, torch.where(torch.isinf(tau), 0.0, tau.sqrt())

    def term(self, y: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """C_t (k,), nats, for coordinates y (k, d) of states, their standard normal noise (k, d), and times (k,)."""
        if self.schedule is None:
            return torch.zeros_like(y[:, 0])
        drop, share, spread = self.factors(t)
        return drop.squeeze(-1) * ((1 - share) * y - share * spread * self.along(noise)).square().sum(-1)

    def expected(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """a (k, d) and b (k,) of E[C_t | x_0] = sum_i a_i y_i^2 + b, at times t (k,)."""
        if self.schedule is None:
            return torch.zeros(len(t), len(self.mean)).to(self.mean), torch.zeros(len(t)).to(self.mean)
        drop, share, spread = self.factors(t)
        return drop * (1 - share).square(), (drop * (share * spread).square()).sum(-1)


@dataclass(frozen=True)
class Plan:
    """What a pilot found, for times 0..T: the law ``pi``, the ``slope`` g and the ``level`` h, each (T+1,), nats.

    ``calls`` is what it cost. ``edges`` (B+1,) divide 2..T into bins: bin b has the times from edges[b] to below
    edges[b+1], and ``squares`` (B, d), ``constants`` (B,) are the sums over it that put the control variate back.
    """

    linear: LinearDenoiser
    pi: Tensor
    slope: Tensor
    level: Tensor
    calls: int
    edges: Tensor
    squares: Tensor
    constants: Tensor


@dataclass(frozen=True)
class SampledBound:
    """K of n states from ``calls`` network calls in all: ``prior`` (n,) is E[log pi(x_T)] + H_q(X_T | x_0), never above
    0; ``steps`` (n, B) minus the KL terms of each bin of times, and ``last`` (n,) is E log p(x_0 | x_1). In nats."""

    prior: Tensor
    steps: Tensor
    last: Tensor
    calls: int

    @property
    def K(self) -> Tensor:
        """The bound for each state, (n,), nats."""
        return self.prior + self.steps.sum(1) + self.last


def bins(T: int, most: int = 20) -> Tensor:
    """Edges of at most so many bins of the times 2..T, (B+1,), evenly in log t; ValueError for T < 2, or no bins."""
    ends = torch.logspace(math.log10(2), math.log10(checks.count("T", T, 2) + 1), checks.count("most", most) + 1)
    return torch.unique(ends.round().long())


def all_times(T: int) -> Tensor:
    """The law, (T+1,), of an estimate that takes each of the times 2..T once: the full sum, with T - 1 calls."""
    pi = torch.full((T + 1,), 1 / (T - 1), dtype=torch.float64)
    pi[:2] = 0
    return pi


@torch.no_grad()
def pilot(
    model: DiffusionModel, x0: Tensor, generator: torch.Generator, states: int = 16, times: int = 24,
    edges: Tensor | None = None,
) -> Plan:  # fmt: skip
    """Look at some ``times`` of the first ``states`` of x0 (n, d), a call for each, and plan from it.

    All of x0 gives the linear denoiser its covariance. g_t and h_t are the line that fits KL_t to C_t best over the
    states; pi is proportional to the root mean square of what is left. Between the times, all three are interpolated
    in proportion to E[C_t]. ValueError for other shapes, or fewer than two states.
    """
    x0 = model.kernel.state(x0)
    x0 = checks.rows("x0", x0)
    gaussian = isinstance(model.kernel, GaussianKernel)
    linear = LinearDenoiser(x0, model.schedule if gaussian else None)
    few = x0[: checks.count("states", states, 2)]
    if len(few) < 2:
        raise ValueError(f"x0: {len(few)} rows: need at least 2, to see how they differ")
    at = _places(model.T, checks.count("times", times, 2)).to(x0.device)
    y = linear.along(few - linear.mean)
    found = []
    for t in at:
        noise, when = normal(few.shape, generator), t.expand(len(few))
        kl = bound.step_kl(model, few, when, noise)
        found.append(_line(kl, linear.term(y, noise, when)))
    slope, level, left = torch.tensor(found, dtype=torch.float64, device=x0.device).unbind(1)

    every = torch.arange(2, model.T + 1, device=x0.device)
    size = torch.ones(len(every), dtype=torch.float64, device=x0.device)
    if linear.schedule is not None:
        square = y.square().mean(0)
        for part in every.split(ROWS):
            a, b = linear.expected(part)
            size[part - 2] = (a @ square + b).clamp(min=1e-300)
    unit = size[at - 2]
    g, h, q = (_between(at, value, every) for value in (slope, level / unit, left / unit))
    h, q = h * size, q * size
    pi = torch.zeros(model.T + 1, dtype=torch.float64, device=x0.device)
    pi[2:] = (1 - EVEN) * q / q.sum() + EVEN / len(every) if q.sum() > 0 else 1 / len(every)
    empty = torch.zeros(2, dtype=torch.float64, device=x0.device)
    return plan(linear, pi, torch.cat([empty, g]), torch.cat([empty, h]), len(at) * len(few), edges)


def plan(
    linear: LinearDenoiser, pi: Tensor, slope: Tensor, level: Tensor, calls: int = 0, edges: Tensor | None = None
) -> Plan:
    """A ``Plan`` of any law ``pi`` of times, slopes and levels, each (T+1,): with any of them the estimate is unbiased.

    ValueError unless pi is positive for all of 2..T, and sums to 1.
    """
    T = len(pi) - 1
    if not ((pi[2:] > 0).all() and abs(float(pi.sum()) - 1) < 1e-9 and not pi[:2].any()):
        raise ValueError(f"pi: need a law of the times 2..T, positive for all, got a sum of {float(pi.sum()):g}")
    edges = bins(T).to(pi.device) if edges is None else edges
    squares, constants = [], []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        square, constant = torch.zeros_like(linear.mean), torch.zeros_like(linear.mean[0])
        for part in torch.arange(low, high, device=pi.device).split(ROWS):
            a, b = linear.expected(part)
            square, constant = square + slope[part] @ a, constant + (slope[part] * b + level[part]).sum()
        squares.append(square)
        constants.append(constant)
    return Plan(linear, pi, slope, level, calls, edges, torch.stack(squares), torch.stack(constants))


@torch.no_grad()
def estimate(
    model: DiffusionModel, x0: Tensor, plan: Plan, calls: int, generator: torch.Generator, first: int = 0,
    start: float | None = None,
) -> SampledBound:  # fmt: skip
    """K of states x0 (n, d) from ``calls`` calls for each, and one more where the model's last step needs it.

    ``first`` is the number of the first row among all that are estimated so, and ``start`` in [0, 1) what the shifts
    of all their combs begin with, so that parts make one estimate; by default it is drawn. Rows go through the network
    ROWS at a time, whatever T is. ValueError for bad input.
    """
    x0 = checks.rows("x0", model.kernel.state(x0))
    calls, n = checks.count("calls", calls), len(x0)
    start = float(uniform((), generator)) if start is None else checks.between("start", start, 0, 1)
    prior, edge, entropy_T, entropy_1 = bound.ends_of(model, x0, generator)
    y = plan.linear.along(x0 - plan.linear.mean)
    steps = y.square() @ plan.squares.T + plan.constants
    shift = (start + GOLDEN * (first + torch.arange(n, device=x0.device, dtype=torch.float64))).remainder(1)
    comb = (torch.arange(calls, device=x0.device) + shift.unsqueeze(1)) / calls
    t = _drawn(plan.pi, comb.flatten())
    row = torch.arange(n, device=x0.device).repeat_interleave(calls)
    for i, when in zip(row.split(ROWS), t.split(ROWS), strict=True):
        noise = normal((len(i), x0.shape[1]), generator)
        left = bound.step_kl(model, x0[i], when, noise) - plan.slope[when] * plan.linear.term(y[i], noise, when)
        share = (left - plan.level[when]) / (calls * plan.pi[when])
        steps.index_put_((i, torch.searchsorted(plan.edges, when, right=True) - 1), share, accumulate=True)
    used = n * (calls + (model.last is not None))
    return SampledBound(prior + entropy_T, -steps, edge - entropy_1, used)


def _drawn(pi: Tensor, u: Tensor) -> Tensor:
    """Times (k,) at the places u (k,) in [0, 1) of the distribution function of ``pi``."""
    below = pi.cumsum(0)
    return torch.searchsorted(below / below[-1], u, right=True).clamp(2, len(pi) - 1)


def _places(T: int, times: int) -> Tensor:
    """Where a pilot looks: half evenly in log t, half evenly in t, both ends included, each time once."""
    half = max(2, times // 2)
    log = torch.logspace(math.log10(2), math.log10(T), half, dtype=torch.float64)
    return torch.unique(torch.cat([log, torch.linspace(2, T, half, dtype=torch.float64)]).round().long())


def _line(kl: Tensor, control: Tensor) -> tuple[float, float, float]:
    """Slope and level of the line that fits ``kl`` (n,) best, and the root mean square of what is left."""
    apart = control - control.mean()
    spread = apart.square().sum()
    slope = float((apart * kl).sum() / spread) if float(spread) > 1e-12 * float(control.square().sum()) else 0.0
    level = float((kl - slope * control).mean())
    left = kl - slope * control - level
    return slope, level, math.sqrt(float(left.square().sum()) / max(1, len(kl) - 2))


def _between(at: Tensor, value: Tensor, every: Tensor) -> Tensor:
    """``value`` (k,) at places (k,), linearly between them, at all places (m,)."""
    right = torch.searchsorted(at, every).clamp(1, len(at) - 1)
    share = (every - at[right - 1]).double() / (at[right] - at[right - 1])
    return torch.lerp(value[right - 1], value[right], share)
