"""Training objectives as weights of one squared error.

For a Gaussian chain with a fixed schedule, whatever the network is said to predict, it makes a guess of x_0, and every
objective is the mean over times t of a weight times |x_0 - x0_hat(x_t, t)|^2:

    L = sum_t p_t w_t E|x_0 - x0_hat(x_t, t)|^2,      t = 2..T,  sum_t p_t = 1.

    name     weight w_t                                    times p_t
    bound    (T - 1) (SNR_{t-1} - SNR_t) / 2               even in t
    simple   SNR_t                                         even in t
    score    1 / tau_t = SNR_t                             even in log tau
    v        1 + SNR_t                                     even in t
    edm      1 + SNR_t                                     normal in log tau: mean -2.4, standard deviation 2.4
    flow     (1 + sqrt(SNR_t))^2                           even in s = sqrt(tau) / (1 + sqrt(tau))

"bound" is the part of -K that the network enters, where its kernel has the variance of q(x_{t-1} | x_t, x_0). "simple"
is |eps - eps_hat|^2 (Ho et al. 2020), "score" is sigma^2 |s - s_hat|^2 in the variance-exploding picture (Song and
Ermon 2019), "v" is |v - v_hat|^2 (Salimans and Ho 2022), "edm" that of Karras et al. 2022 for data of unit variance,
where ln sigma ~ N(-1.2, 1.2^2), "flow" is flow matching, |u - u_hat|^2 with u = eps - x_0 on the straight path
(1 - s) x_0 + s eps (Lipman et al. 2023). A step t stands for the times between tau_{t-1} and tau_t: p_t is their mass.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.diffusion.schedules import Schedule

OBJECTIVES = ("bound", "simple", "score", "v", "edm", "flow")
EVEN = ("bound", "simple", "v")  # those that draw each time as often
EDM_MEAN, EDM_STD = -2.4, 2.4  # of log tau = 2 ln sigma


@dataclass(frozen=True)
class StepWeights:
    """An objective on a schedule: ``weight`` w_t and ``probability`` p_t, (T+1,), both 0 at t = 0 and 1."""

    weight: Tensor
    probability: Tensor

    @property
    def share(self) -> Tensor:
        """p_t w_t, (T+1,): what a step counts, times drawn by p_t or not."""
        return self.weight * self.probability


def on_schedule(objective: str, schedule: Schedule) -> StepWeights:
    """The objective called ``objective`` on the steps 2..T of a schedule: w_t and p_t of def-sm-objective.

    ValueError for another name, and for "score" where tau_T is infinite.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective: {objective!r} is not one of {', '.join(OBJECTIVES)}")
    with torch.no_grad():
        snr, log_tau = schedule.snr[1:], schedule.log_tau[1:]
    weight, mass = snr[1:], _masses(objective, log_tau)
    if objective == "bound":
        weight = (schedule.T - 1) * (snr[:-1] - snr[1:]) / 2
    if objective in ("v", "edm"):
        weight = 1 + weight
    if objective == "flow":
        weight = (1 + weight.sqrt()).square()
    if not torch.isfinite(mass).all():
        raise ValueError(f"objective: {objective!r}: need a schedule whose tau_T is finite, to be even in log tau")
    nothing = torch.zeros_like(snr[:1]).expand(2)
    return StepWeights(torch.cat([nothing, weight]), torch.cat([nothing, mass / mass.sum()]))


def _masses(objective: str, log_tau: Tensor) -> Tensor:
    """How often the steps between levels (m,) are drawn, (m - 1,), up to a factor."""
    if objective == "score":
        return log_tau.diff()
    if objective == "edm":
        return torch.special.ndtr((log_tau - EDM_MEAN) / EDM_STD).diff()
    if objective == "flow":
        return torch.sigmoid(0.5 * log_tau).diff()
    return torch.ones_like(log_tau[1:])


# As functions of log tau


@dataclass(frozen=True)
class Objective:
    """A row of the table: ``weight`` of |x_0 - x0_hat|^2, and ``density`` of times per unit of log tau.

    Both are functions of log tau (...). ``name``, ``paper`` (a key of references.bib), and in words what is predicted,
    the weight, and how times are drawn. Factors that do not depend on the level are left out of ``weight``.
    """

    name: str
    paper: str
    predicts: str
    weight_words: str
    times: str
    weight: Callable[[Tensor], Tensor]
    density: Callable[[Tensor], Tensor]

    def share(self, log_tau: Tensor) -> Tensor:
        """Weight times density, (...): what a unit of log tau counts."""
        return self.weight(log_tau) * self.density(log_tau)

    def over_bound(self, log_tau: Tensor) -> Tensor:
        """``share`` over that of the bound, SNR / 2, (...): constant for a bound, rising for a mixture of bounds."""
        return 2 * self.share(log_tau) * log_tau.exp()


def cosine_density(log_tau: Tensor) -> Tensor:
    """Per unit of log tau, (...), for times even in arctan sqrt(tau): 1 / (2 pi cosh(log tau / 2))."""
    return 1 / (2 * math.pi * torch.cosh(0.5 * log_tau))


def linear_density(log_tau: Tensor, start: float = 0.1, end: float = 20.0) -> Tensor:
    """Per unit of log tau, (...), for times s even in [0, 1] and -log alpha_bar = start s + (end - start) s^2 / 2.

    DDPM's beta, 1e-4 to 0.02 in 1000 steps, as they become many (Song et al. 2021). 0 beyond s = 1.
    """
    total = torch.logaddexp(log_tau, torch.zeros_like(log_tau))  # -log alpha_bar
    rate = (start**2 + 2 * (end - start) * total).sqrt()  # beta at the time where it is reached
    return torch.where(total <= 0.5 * (start + end), torch.sigmoid(log_tau) / rate, torch.zeros_like(rate))


def normal_density(log_tau: Tensor) -> Tensor:
    """Per unit of log tau, (...): EDM's, N(-2.4, 2.4^2)."""
    return torch.exp(-0.5 * ((log_tau - EDM_MEAN) / EDM_STD).square()) / (EDM_STD * math.sqrt(2 * math.pi))


def straight_density(log_tau: Tensor) -> Tensor:
    """Per unit of log tau, (...), for times s even in [0, 1] on the straight path (1 - s) x_0 + s eps."""
    s = torch.sigmoid(0.5 * log_tau)
    return 0.5 * s * (1 - s)


def even_density(log_tau: Tensor) -> Tensor:
    """1 per unit of log tau, (...), between any two ends: no density on the whole line, but a share all the same."""
    return torch.ones_like(log_tau)


def _snr(log_tau: Tensor) -> Tensor:
    return (-log_tau).exp()


MIN_SNR = 5.0  # Hang et al. 2023
TABLE = {
    row.name: row
    for row in (
        Objective("bound", "sohl2015", "anything", "SNR / 2", "summed: every unit of log tau counts once",
                  lambda x: _snr(x) / 2, even_density),
        Objective("VDM", "kingma2021", "epsilon", "d SNR / dt, by the schedule", "even in t, on a learned schedule",
                  lambda x: _snr(x) / 2, even_density),
        Objective("simple", "ho2020", "epsilon", "SNR", "even in t, beta linear in t",
                  _snr, linear_density),
        Objective("hybrid", "nichol2021", "epsilon", "SNR (the part with K is for the variances alone)",
                  "even in t, cosine schedule", _snr, cosine_density),
        Objective("NCSN", "song2019", "score", "SNR: sigma^2 |s - s_hat|^2", "even in log tau",
                  _snr, even_density),
        Objective("v", "salimans2022", "v", "1 + SNR", "even in t, cosine schedule",
                  lambda x: 1 + _snr(x), cosine_density),
        Objective("EDM", "karras2022", "F = -v", "1 + SNR", "log tau normal: -2.4, deviation 2.4",
                  lambda x: 1 + _snr(x), normal_density),
        Objective("min-SNR", "hang2023", "x_0", "min(SNR, 5)", "even in t, cosine schedule",
                  lambda x: _snr(x).clamp(max=MIN_SNR), cosine_density),
        Objective("flow matching", "lipman2023", "eps - x_0", "(1 + sqrt(SNR))^2", "even in t, straight path",
                  lambda x: (1 + _snr(0.5 * x)).square(), straight_density),
    )
}  # fmt: skip


def loss_density(objective: Objective, log_tau: Tensor, error: Tensor) -> Tensor:
    """Where an objective's loss stands: share times ``error``, the mean of |x_0 - x0_hat|^2, (m,), scaled to area 1.

    Over the levels ``log_tau`` (m,), by trapezoids. ValueError unless they rise, and for an error that is negative.
    """
    log_tau, error = checks.checked_times(log_tau), checks.tensor("error", error)
    if error.shape != log_tau.shape or not bool((error >= 0).all()) or log_tau[0] > log_tau[1]:
        raise ValueError(f"error: need one number, not negative, for each of {len(log_tau)} levels that rise")
    density = objective.share(log_tau) * error
    return density / torch.trapezoid(density, log_tau)


# Monotone weights: mixtures of bounds


def over_bound(share: Tensor, schedule: Schedule) -> Tensor:
    """r_t = share_t / ((SNR_{t-1} - SNR_t) / 2), (T+1,), 0 at t = 0 and 1. eq-sm-simple-ratio."""
    own = on_schedule("bound", schedule).share[2:]
    return torch.cat([torch.zeros_like(share[:2]), share[2:] / own])


def mixture(share: Tensor, schedule: Schedule) -> Tensor:
    """An objective as a mixture of bounds on noisy data: m (T+1,), with (eq-sm-mixture)

        sum_t share_t e_t = sum_{s=2}^T m_s sum_{t=s}^T e_t (SNR_{t-1} - SNR_t) / 2.

    The inner sum is what a network's errors e_t cost the bound on log p(x_{s-1}), of data that have the noise of level
    s - 1 (eq-sm-noisy-bound). m_s = r_s - r_{s-1} by ``over_bound``. If r never falls (Kingma and Gao 2023), no m is
    negative; else some is, and the objective rewards a worse bound somewhere. Shares are (T+1,).
    """
    ratio = over_bound(share, schedule)
    return torch.cat([torch.zeros_like(ratio[:1]), ratio.diff()])
