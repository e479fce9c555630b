"""Forward kernels: one step, many steps at once, and one step back when the start is known.

A kernel T_pi(x | x'; beta) leaves a simple distribution pi unchanged and forgets x' at rate beta. A kernel with its
schedule is a forward process q. It answers the questions that ``Kernel`` lists, each with a law (see
``probability.distributions``); neither model nor bound nor training knows which kernel it has.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from dpm_lib.core.checks import checked_step, checked_width, count
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.probability.distributions import Bernoulli, Gaussian, Law
from dpm_lib.probability.products_of_laws import Tilt, bit_tilt, gaussian_tilt


class Kernel(Protocol):
    """The interface. Times ``t`` are an int or an integer tensor of shape (...) for states (..., d).

    ValueError for a time outside 1..T (0..T for ``marginal``), and for states of another width.
    """

    dim: int
    schedule: Schedule
    continuous: bool  # whether states have neighbours at any distance, and functions of them a gradient

    @property
    def reversible(self) -> bool:
        """Whether T_pi(x_0 | x_1; beta_1) is a step back: the model's last, if so, and else it has to learn one."""
        ...

    def state(self, x0: Tensor) -> Tensor:
        """x0 (..., d) as float64 chain state; ValueError, naming the entry, where it is none."""
        ...

    @property
    def prior(self) -> Law:
        """pi, of one state."""
        ...

    def step(self, x_prev: Tensor, t: int | Tensor) -> Law:
        """q(x_t | x_{t-1}), for states (..., d) and t in 1..T, one or one for each."""
        ...

    def marginal(self, x0: Tensor, t: int | Tensor) -> Law:
        """q(x_t | x_0), for states (..., d) and t in 0..T."""
        ...

    def posterior(self, x0: Tensor, xt: Tensor, t: int | Tensor) -> Law:
        """q(x_{t-1} | x_t, x_0), for states (..., d)."""
        ...

    def through(self, start: Any, xt: Tensor, t: int | Tensor) -> Law:
        """The law of x_{t-1} given x_t (..., d), where x_0 given x_t has the law ``start``, coordinates apart."""
        ...

    def seen(self, y: Tensor, noise: float, mask: Tensor) -> Any:
        """r(x_0), a ``Tilt``: the likelihood of having seen ``y`` (d,) where ``mask`` (d,) is true, with ``noise``."""
        ...


def mixed(start: Tensor, one: Tensor, zero: Tensor) -> Tensor:
    """Log-odds (...) of a bit whose log-odds are ``one`` where x_0 = 1, else ``zero``; of x_0 they are ``start``."""
    # eq-bits-mixture: q(1) = P(x_0 = 1) sigma(one) + P(x_0 = 0) sigma(zero), in logs; and so for q(0)
    on = torch.logaddexp(logsigmoid(start) + logsigmoid(one), logsigmoid(-start) + logsigmoid(zero))
    off = torch.logaddexp(logsigmoid(start) + logsigmoid(-one), logsigmoid(-start) + logsigmoid(-zero))
    return on - off


def pick(values: Tensor, t: int | Tensor) -> Tensor:
    """values[t] with a last axis added, so that it multiplies data (..., d): shape (1,) or (..., 1)."""
    return values[t].unsqueeze(-1)


class GaussianKernel(nn.Module):
    """T_pi(x_t | x_{t-1}; beta_t) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I), with pi = N(0, I) in ``dim`` dimensions.

    ValueError for dim < 1, for states of another width, and for times outside of 1..T.
    """

    reversible = True
    continuous = True

    def __init__(self, dim: int, schedule: Schedule) -> None:
        super().__init__()
        self.dim = count("dim", dim)
        self.schedule = schedule

    def state(self, x0: Tensor) -> Tensor:
        """x0 as float64 chain state; ValueError where it is not (..., d) or holds NaN or infinity."""
        x0 = torch.as_tensor(x0, dtype=torch.float64)
        return _checked(x0, self.dim, torch.isfinite(x0), "")

    @property
    def prior(self) -> Gaussian:
        """pi = N(0, I)."""
        zero = torch.zeros(self.dim, dtype=torch.float64, device=self.schedule.log_alpha_bar.device)
        return Gaussian(zero, torch.ones_like(zero[:1]))

    def step(self, x_prev: Tensor, t: int | Tensor) -> Gaussian:
        """q(x_t | x_{t-1}), (..., d). The kernel is reversible in pi: this is also T_pi(x_{t-1} | x_t; beta_t)."""
        beta = pick(self.schedule.beta, checked_step(t, self.schedule.T))
        return Gaussian((1 - beta).sqrt() * checked_width("x_prev", x_prev, self.dim), beta.sqrt())

    def marginal(self, x0: Tensor, t: int | Tensor) -> Gaussian:
        """q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I), (..., d)."""
        signal, noise = self.signal_and_noise(checked_step(t, self.schedule.T, first=0))
        return Gaussian(signal * checked_width("x0", x0, self.dim), noise)

    def posterior(self, x0: Tensor, xt: Tensor, t: int | Tensor) -> Gaussian:
        """q(x_{t-1} | x_t, x_0), (..., d), for t >= 2 (at t = 1 it is a point mass at x_0)."""
        from_xt, from_x0, variance = self.bridge(t)
        x0, xt = checked_width("x0", x0, self.dim), checked_width("xt", xt, self.dim)
        return Gaussian(from_xt * xt + from_x0 * x0, variance.sqrt())

    def signal_and_noise(self, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), (..., 1), for t in 0..T."""
        signal, noise = self.schedule.once(_signal_and_noise)[:, t].unsqueeze(-1)
        return signal, noise

    def bridge(self, t: int | Tensor, s: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients of q(x_s | x_t, x_0): its mean is a x_t + b x_0, its variance v. Returns (a, b, v), (..., 1).

        For a level ``s`` in 0..t-1, by default t - 1. With r = tau_s / tau_t:
        a = sqrt(alpha_bar_t / alpha_bar_s) (1 - alpha_bar_s) / (1 - alpha_bar_t), b = sqrt(alpha_bar_s) (1 - r),
        v = (1 - alpha_bar_s) (1 - r). Written with log tau, so that nothing cancels where alpha_bar is close to 1.
        """
        t = checked_step(t, self.schedule.T)
        if s is None:
            a, b, v = self.schedule.once(_bridges)[:, t].unsqueeze(-1)
            return a, b, v
        low = checked_step(s, int(t) - 1, first=0)
        log, log_tau = self.schedule.log_alpha_bar, self.schedule.log_tau
        return _bridge(pick(log, t), pick(log, low), pick(log_tau, low) - pick(log_tau, t))

    def through(self, start: Gaussian, xt: Tensor, t: int | Tensor) -> Gaussian:
        """The law of x_{t-1} given x_t (..., d), where x_0 given x_t is ``start``, whose scale is not full."""
        from_xt, from_x0, variance = self.bridge(t)
        scale = (variance + (from_x0 * start.scale).square()).sqrt()
        return Gaussian(from_xt * xt + from_x0 * start.mean, scale)

    def look(self, xt: Tensor, t: int) -> Tilt:
        """q(x_t | x_0) of x_t (..., d) as a function of x_0, up to a constant: Bayes' rule is a tilt."""
        log = pick(self.schedule.log_alpha_bar, t)
        noise = -torch.expm1(log)
        b, a = (0.5 * log).exp() * xt / noise, (log.exp() / noise).expand_as(xt)
        return Tilt(torch.zeros_like(b[..., :1]), b.unsqueeze(-2), a.unsqueeze(-2))

    def seen(self, y: Tensor, noise: float, mask: Tensor) -> Tilt:
        """r(x_0): ``y`` (d,) was seen where ``mask`` (d,) is true, with the standard deviation ``noise``."""
        return gaussian_tilt(y, noise, mask)


def _signal_and_noise(schedule: Schedule) -> Tensor:
    """sqrt(alpha_bar) and sqrt(1 - alpha_bar) of each t, (2, T+1)."""
    log = schedule.log_alpha_bar
    noise = (-torch.expm1(log[1:])).sqrt()  # without that of t = 0, where a square root has no derivative
    return torch.stack([(0.5 * log).exp(), torch.cat([torch.zeros_like(log[:1]), noise])])


def _bridges(schedule: Schedule) -> Tensor:
    """a, b and v of ``GaussianKernel.bridge`` from each t to the time before, (3, T+1); column 0 is NaN."""
    log, log_tau = schedule.log_alpha_bar, schedule.log_tau
    columns = torch.stack(_bridge(log[1:], log[:-1], log_tau[:-1] - log_tau[1:]))
    return torch.cat([torch.full_like(columns[:, :1], torch.nan), columns], 1)


def _bridge(now: Tensor, before: Tensor, log_r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """a, b and v of ``GaussianKernel.bridge`` from log alpha_bar at t and at s, and the log of r, each (...)."""
    gap = -torch.expm1(log_r)
    a = (0.5 * (now - before)).exp() * torch.expm1(before) / torch.expm1(now)
    return a, (0.5 * before).exp() * gap, -torch.expm1(before) * gap


class BinomialKernel(nn.Module):
    """T_pi(x_t | x_{t-1}; beta_t) = B(x_t; (1 - beta_t) x_{t-1} + beta_t / 2), pi = B(1/2): ``dim`` separate bits.

    A state is a float64 tensor of zeros and ones. With signs s = 2x - 1, E[s_t | s_0] = alpha_bar_t s_0: for bits
    alpha_bar is the fraction of the signal's amplitude that is left. (Sohl-Dickstein et al. 2015, table App.1)
    ValueError for dim < 1, for states of another width, and for times outside of 1..T.
    """

    reversible = True
    continuous = False

    def __init__(self, dim: int, schedule: Schedule) -> None:
        super().__init__()
        self.dim = count("dim", dim)
        self.schedule = schedule

    def state(self, x0: Tensor) -> Tensor:
        """x0 as float64 chain state; ValueError where it is not (..., d) or an entry is neither 0 nor 1."""
        x0 = torch.as_tensor(x0, dtype=torch.float64)
        return _checked(x0, self.dim, (x0 == 0) | (x0 == 1), ": neither 0 nor 1")

    @property
    def prior(self) -> Bernoulli:
        """pi = B(1/2): fair coins."""
        return Bernoulli(torch.zeros(self.dim, dtype=torch.float64, device=self.schedule.log_alpha_bar.device))

    def step(self, x_prev: Tensor, t: int | Tensor) -> Bernoulli:
        """q(x_t | x_{t-1}), (..., d): a bit stays with probability 1 - beta_t / 2. Reversible in pi as well."""
        t = checked_step(t, self.schedule.T)
        return Bernoulli(self._sign("x_prev", x_prev) * pick(self.evidence_of_step, t))

    def marginal(self, x0: Tensor, t: int | Tensor) -> Bernoulli:
        """q(x_t | x_0) = B(alpha_bar_t x_0 + (1 - alpha_bar_t) / 2), (..., d)."""
        t = checked_step(t, self.schedule.T, first=0)
        return Bernoulli(self._sign("x0", x0) * pick(self.evidence, t))

    def posterior(self, x0: Tensor, xt: Tensor, t: int | Tensor) -> Bernoulli:
        """q(x_{t-1} | x_t, x_0), (..., d): log-odds add up. A point at x_0 for t = 1."""
        t = checked_step(t, self.schedule.T)
        from_xt = self._sign("xt", xt) * pick(self.evidence_of_step, t)
        return Bernoulli(from_xt + self._sign("x0", x0) * pick(self.evidence, t - 1))

    def through(self, start: Bernoulli, xt: Tensor, t: int | Tensor) -> Bernoulli:
        """The law of x_{t-1} given x_t (..., d), where the bits of x_0 given x_t have the law ``start``."""
        one, zero = (self.posterior(torch.full_like(xt, b), xt, t).logits for b in (1.0, 0.0))
        return Bernoulli(mixed(start.logits, one, zero))

    def look(self, xt: Tensor, t: int) -> Tilt:
        """q(x_t | x_0) of x_t (..., d) as a function of x_0, up to a constant: Bayes' rule is a tilt."""
        b = (2 * xt - 1) * pick(self.evidence, t)
        return Tilt(torch.zeros_like(b[..., :1]), b.unsqueeze(-2), torch.zeros_like(b).unsqueeze(-2))

    def seen(self, y: Tensor, noise: float, mask: Tensor) -> Tilt:
        """r(x_0): ``y`` (d,) was read where ``mask`` (d,) is true, each bit wrong with the chance ``noise``."""
        return bit_tilt(y, noise, mask)

    def _sign(self, name: str, x: Tensor) -> Tensor:
        """Bits 0, 1 as signs -1, 1."""
        return 2 * checked_width(name, x, self.dim) - 1

    @property
    def evidence(self) -> Tensor:
        """log P(x_t = x_0) / P(x_t != x_0) = 2 artanh(alpha_bar_t), (T+1,), with infinity first."""
        return _log_odds(self.schedule.log_alpha_bar)

    @property
    def evidence_of_step(self) -> Tensor:
        """log P(x_t = x_{t-1}) / P(x_t != x_{t-1}) = 2 artanh(1 - beta_t), (T+1,), with infinity first."""
        log = self.schedule.log_alpha_bar
        return _log_odds(torch.cat([torch.zeros_like(log[:1]), log[1:] - log[:-1]]))


def _log_odds(log_kept: Tensor) -> Tensor:
    """2 artanh(exp(log_kept)) = log (1 + a) / (1 - a), without cancellation where a is close to 1."""
    return torch.log1p(log_kept.exp()) - torch.log(-torch.expm1(log_kept))


def _checked(x0: Tensor, dim: int, fits: Tensor, why: str) -> Tensor:
    """x0 as float64; ValueError where its last axis is not ``dim``, or ``fits``, of its shape, is somewhere false."""
    checked_width("x0", x0, dim)
    if not fits.all():
        where = tuple((~fits).nonzero()[0].tolist())
        raise ValueError(f"x0: {x0[where].item():g} at index {where}{why}")
    return x0
