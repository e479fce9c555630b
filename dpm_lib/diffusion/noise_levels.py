"""Noise levels under all their names: beta, alpha_bar, tau, SNR, sigma, the times of flows, each from each other.

Every name is read into log tau = -log SNR, which no end of the scale rounds away, and written from it:

    beta        1 - alpha_bar_t / alpha_bar_{t-1}: what a step takes of the signal's variance; the first from 1
    alpha_bar   the share of the signal's variance that is left
    signal      sqrt(alpha_bar), what the data are multiplied by
    noise       sqrt(1 - alpha_bar), what the noise is multiplied by
    tau         1 / alpha_bar - 1 = 1 / SNR; the time t of the lectures, a variance
    snr         alpha_bar / (1 - alpha_bar)
    log_snr     its logarithm
    gamma       -log SNR = log tau (VDM)
    lambda      log(signal / noise) = half of log SNR (DPM-Solver)
    sigma       noise / signal = sqrt(tau): EDM's, and that of variance-exploding processes
    flow        sigma / (1 + sigma): the time of the straight path with data at 0
    flow_back   1 / (1 + sigma): the same with data at 1

Levels are (m,) float64.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.diffusion.schedules import Schedule

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Name:
    """A name of a level: where its numbers lie, the log tau of one, and the one of a log tau."""

    low: float
    high: float
    read: Map
    write: Map


def _both(v: Tensor) -> Tensor:
    """log(1 - v^2)."""
    return torch.log1p(-v) + torch.log1p(v)


def _log_signal(log_tau: Tensor) -> Tensor:
    """Half of log alpha_bar."""
    return -0.5 * torch.logaddexp(log_tau, torch.zeros_like(log_tau))


LEVELS = {
    "alpha_bar": Name(0, 1, lambda v: torch.log1p(-v) - v.log(), lambda u: (2 * _log_signal(u)).exp()),
    "signal": Name(0, 1, lambda v: _both(v) - 2 * v.log(), lambda u: _log_signal(u).exp()),
    "noise": Name(0, 1, lambda v: 2 * v.log() - _both(v), lambda u: _log_signal(-u).exp()),
    "tau": Name(0, math.inf, torch.log, torch.exp),
    "snr": Name(0, math.inf, lambda v: -v.log(), lambda u: (-u).exp()),
    "log_snr": Name(-math.inf, math.inf, lambda v: -v, lambda u: -u),
    "gamma": Name(-math.inf, math.inf, lambda v: v, lambda u: u),
    "lambda": Name(-math.inf, math.inf, lambda v: -2 * v, lambda u: -0.5 * u),
    "sigma": Name(0, math.inf, lambda v: 2 * v.log(), lambda u: (0.5 * u).exp()),
    "flow": Name(0, 1, lambda v: 2 * (v.log() - torch.log1p(-v)), lambda u: torch.sigmoid(0.5 * u)),
    "flow_back": Name(0, 1, lambda v: 2 * (torch.log1p(-v) - v.log()), lambda u: torch.sigmoid(-0.5 * u)),
}
NAMES = ("beta", *LEVELS)


def read(name: str, values: Tensor | Sequence[float]) -> Tensor:
    """log tau (m,), rising, of levels ``values`` (m,) in either order; of betas, in the order of their steps.

    The first may be without noise (log tau is -inf), the last without signal (+inf). ValueError for another name, and
    for numbers that are none, out of range, or out of order, with the index.
    """
    checks.one_of("name", name, NAMES)
    given = torch.as_tensor(values, dtype=torch.float64)
    if given.ndim != 1 or not len(given):
        raise ValueError(f"values: need shape (m,) with m at least 1, got {tuple(given.shape)}")
    low, high = (0.0, 1.0) if name == "beta" else (LEVELS[name].low, LEVELS[name].high)
    _refuse(given, ~((given >= low) & (given <= high)), f"need numbers from {low:g} to {high:g}")
    log_tau = _of_rates(given) if name == "beta" else LEVELS[name].read(given)
    turned = name != "beta" and len(given) > 1 and bool(log_tau[-1] < log_tau[0])
    steps = log_tau.diff() * (-1 if turned else 1)
    stuck = torch.cat([torch.zeros(1, dtype=torch.bool), ~(steps > 0)])
    _refuse(given, stuck, "need numbers that all rise or all fall")
    return log_tau.flip(0) if turned else log_tau


def write(name: str, log_tau: Tensor) -> Tensor:
    """The numbers (m,) that levels ``log_tau`` (m,), rising, have under a name. ValueError for another name."""
    if checks.one_of("name", name, NAMES) != "beta":
        return LEVELS[name].write(log_tau)
    log_alpha_bar = 2 * _log_signal(log_tau)
    before = torch.cat([torch.zeros(1, dtype=torch.float64), log_alpha_bar[:-1]])
    return -torch.expm1(log_alpha_bar - before)


def schedule(log_tau: Tensor) -> Schedule:
    """The schedule that visits these levels, (m,) and rising, after one without noise. ValueError for others."""
    log_alpha_bar = 2 * _log_signal(log_tau[log_tau > -math.inf])
    return Schedule(torch.cat([torch.zeros(1, dtype=torch.float64), log_alpha_bar]))


def _of_rates(beta: Tensor) -> Tensor:
    none, all_of_it = beta == 0, beta == 1
    none[0], all_of_it[-1] = False, False
    _refuse(beta, none, "only the first may be 0, a level without noise")
    _refuse(beta, all_of_it, "only the last may be 1: it leaves nothing for later steps to take")
    log_alpha_bar = torch.cumsum(torch.log1p(-beta), 0)
    return torch.log(-torch.expm1(log_alpha_bar)) - log_alpha_bar


def _refuse(values: Tensor, wrong: Tensor, need: str) -> None:
    if wrong.any():
        k = int(wrong.nonzero()[0])
        raise ValueError(f"values: {values[k].item():g} at index {k}: {need}")
