"""Importance sampling: the draws of another density, kept and weighed.

A target is a function ``log_prob``: (n, d) -> (n,), in nats, up to a constant. A proposal has ``sample(n, generator)``
and ``log_prob(x)``, normalised; everything in :mod:`dpm_lib.probability.target_densities` is one.
"""

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.probability.target_densities import LogDensity, Proposal, drawn
from dpm_lib.probability.weighted_samples import WeightedSamples


def importance_sampling(
    log_prob: LogDensity, proposal: Proposal, n: int, generator: torch.Generator
) -> WeightedSamples:
    """n draws of ``proposal`` with log weights log p* - log q: x (n, d), log_weights (n,). Costs n evaluations.

    Raises ValueError for a bad log density, or a draw to which the proposal gives no density. Implements
    eq-mc-importance.
    """
    x, log_p, log_q = _weighed(log_prob, proposal, n, generator)
    return WeightedSamples(x, log_p - log_q)


def _weighed(
    log_prob: LogDensity, proposal: Proposal, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """n draws of the proposal (n, d), with log p* and log q there, checked."""
    x = drawn(proposal, n, generator)
    log_q = checks.log_density("proposal.log_prob", proposal.log_prob(x), x)
    if (log_q == -torch.inf).any():
        i = int((log_q == -torch.inf).nonzero()[0])
        raise ValueError(f"proposal: density zero at its own draw {i}, x = {checks.coordinates(x[i])}")
    return x, checks.log_density("log_prob", log_prob(x), x), log_q
