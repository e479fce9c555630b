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

"bound" is the part of -K that the network enters, where its kernel has the variance of q(x_{t-1} | x_t, x_0). "simple"
is |eps - eps_hat|^2 (Ho et al. 2020), "score" is sigma^2 |s - s_hat|^2 in the variance-exploding picture (Song and
Ermon 2019), "v" is |v - v_hat|^2 (Salimans and Ho 2022), "edm" that of Karras et al. 2022 for data of unit variance,
where ln sigma ~ N(-1.2, 1.2^2). A step t stands for the times between tau_{t-1} and tau_t: p_t is their mass.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_lib.diffusion.schedules import Schedule

OBJECTIVES = ("bound", "simple", "score", "v", "edm")
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
    """The objective called ``objective`` on the steps 2..T of a schedule.

    ValueError for another name, and for "score" where tau_T is infinite.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective: {objective!r} is not one of {', '.join(OBJECTIVES)}")
    with torch.no_grad():
        snr, log_tau = schedule.snr[1:], schedule.log_tau[1:]
    weight, mass = snr[1:], torch.ones_like(snr[1:])
    if objective == "bound":
        weight = (schedule.T - 1) * (snr[:-1] - snr[1:]) / 2
    if objective in ("v", "edm"):
        weight = 1 + weight
    if objective == "score":
        mass = log_tau.diff()
    if objective == "edm":
        mass = torch.special.ndtr((log_tau - EDM_MEAN) / EDM_STD).diff()
    if not torch.isfinite(mass).all():
        raise ValueError(f"objective: {objective!r}: need a schedule whose tau_T is finite, to be even in log tau")
    nothing = torch.zeros_like(snr[:1]).expand(2)
    return StepWeights(torch.cat([nothing, weight]), torch.cat([nothing, mass / mass.sum()]))
