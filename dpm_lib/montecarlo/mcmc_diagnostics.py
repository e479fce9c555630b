"""What a Markov chain's draws are worth: autocorrelation time, and R-hat over several chains."""

import warnings

import torch
from torch import Tensor

from dpm_lib.core import checks

LONG_ENOUGH = 50  # autocorrelation times that a chain must last to tell its own


def autocorrelation_time(values: Tensor) -> Tensor:
    """tau = 1 + 2 sum of the autocorrelations of values (steps, ...), per chain, in steps; at least 4 steps.

    The sum stops at the first pair of neighbouring lags whose sum is not positive (Geyer 1992, who shows that it is
    for reversible chains). A chain that never moves gets tau = steps. From 50 tau steps on, this leans to the high side
    by a few percent. From fewer it leans low, and so promises too many draws (three times too many from 2 tau steps):
    the chain has not yet seen what it takes long to see. So it warns (UserWarning) where steps < 50 tau, tau being the
    mean over what is given. No warning is no proof: a chain may not have met its slow parts at all. Raises ValueError
    for NaN or infinity. Estimates def-mc-tau.
    """
    values = checks.tensor("values", values).to(torch.float64)
    n = len(values) if values.ndim else 0
    if n < 4:
        raise ValueError(f"values: {n} steps: need at least 4")
    if not torch.isfinite(values).all():
        where = tuple((~torch.isfinite(values)).nonzero()[0].tolist())
        raise ValueError(f"values: {values[where].item()} at index {where}")
    centred = values - values.mean(0)
    centred = centred / centred.abs().amax(0).clamp(min=torch.finfo(torch.float64).tiny)  # in units of its own
    power = torch.fft.rfft(centred, 2 * n, 0).abs().square()
    covariance = torch.fft.irfft(power, 2 * n, 0)[:n]
    moved = (values != values[0]).any(0)
    rho = covariance / torch.where(moved, covariance[0], 1.0)
    pairs = rho[: n - n % 2].unflatten(0, (n // 2, 2)).sum(1)
    tau = 2 * (pairs * (pairs > 0).cumprod(0)).sum(0) - 1
    tau = torch.where(moved, tau.clamp(min=1 / n), torch.full_like(tau, float(n)))
    if n < LONG_ENOUGH * tau.mean():
        seen = f"{n} steps are only {n / float(tau.mean()):.0f} autocorrelation times by this estimate"
        warnings.warn(f"values: {seen}; below {LONG_ENOUGH} it is too low, and promises too many draws", stacklevel=2)
    return tau


def potential_scale_reduction(values: Tensor) -> Tensor:
    """R-hat of values (steps, chains, ...): how far chains are from agreeing, (...); near 1 if they do.

    Each chain is cut into halves. R-hat^2 is the variance of all draws, estimated from within and between the halves,
    over the mean variance within one. Chains that never moved give infinity. ValueError for fewer than 4 steps, and for
    NaN or infinity. Gelman and Rubin 1992; def-mc-rhat.
    """
    values = checks.tensor("values", values).to(torch.float64)
    if values.ndim < 2 or len(values) < 4 or not torch.isfinite(values).all():
        raise ValueError(
            f"values: need finite numbers (steps, chains, ...), at least 4 steps, got {tuple(values.shape)}"
        )
    half = len(values) // 2
    halves = torch.cat([values[:half], values[-half:]], 1)
    within, between = halves.var(0).mean(0), halves.mean(0).var(0)
    return ((half - 1) / half + between / within).sqrt()
