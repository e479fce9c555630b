"""Importance sampling: the draws of another density, kept and weighed.

A target is a function ``log_prob``: (n, d) -> (n,), in nats, up to a constant. A proposal has ``sample(n, generator)``
and ``log_prob(x)``, normalised; everything in :mod:`dpm_lib.probability.target_densities` is one.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.probability.weighted_samples import WeightedSamples

LogProb = Callable[[Tensor], Tensor]


class Proposal(Protocol):
    """What one can sample from and evaluate, normalised."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, d), independent draws."""

    def log_prob(self, x: Tensor) -> Tensor:
        """(n, d) -> (n,), nats."""


def importance_sampling(log_prob: LogProb, proposal: Proposal, n: int, generator: torch.Generator) -> WeightedSamples:
    """n draws of ``proposal`` with log weights log p* - log q: x (n, d), log_weights (n,). Costs n evaluations.

    Raises ValueError for a bad log density, or a draw to which the proposal gives no density. Implements
    eq-mc-importance.
    """
    x, log_p, log_q = _weighed(log_prob, proposal, checks.count("n", n), generator)
    return WeightedSamples(x, log_p - log_q)


def _evaluated(log_prob: LogProb, x: Tensor, name: str = "log_prob", where: str = "") -> Tensor:
    """log_prob(x), checked: shape (n,), neither NaN nor plus infinity."""
    value = checks.tensor(name, log_prob(x), x.device)
    if value.shape != x.shape[:-1]:
        raise ValueError(f"{name}: returned shape {tuple(value.shape)} for {tuple(x.shape)}")
    bad = torch.isnan(value) | (value == torch.inf)
    if bad.any():
        i = int(bad.nonzero()[0])
        place = f" {where}" if where else ""
        raise ValueError(f"{name}: {value[i].item()}{place}, point {i}, x = {_point(x[i])}")
    return value


def _weighed(
    log_prob: LogProb, proposal: Proposal, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """n draws of the proposal (n, d), with log p* and log q there, checked."""
    x = checks.tensor("proposal.sample", proposal.sample(n, generator), generator.device)
    if x.ndim != 2 or len(x) != n:
        raise ValueError(f"proposal.sample: returned shape {tuple(x.shape)}, not ({n}, d)")
    log_q = _evaluated(proposal.log_prob, x, "proposal.log_prob")
    if (log_q == -torch.inf).any():
        i = int((log_q == -torch.inf).nonzero()[0])
        raise ValueError(f"proposal: density zero at its own draw {i}, x = {_point(x[i])}")
    return x, _evaluated(log_prob, x), log_q


def _checked_proposal(proposed: tuple[Tensor, Tensor], x: Tensor, t: int) -> tuple[Tensor, Tensor]:
    y, log_ratio = (checks.tensor("proposal", part, x.device) for part in proposed)
    if y.shape != x.shape or log_ratio.shape != x.shape[:1]:
        found = f"{tuple(y.shape)} and {tuple(log_ratio.shape)}"
        raise ValueError(f"proposal: y and log ratio of shapes {found} at step {t}, for x of shape {tuple(x.shape)}")
    bad = torch.isnan(log_ratio) | (log_ratio == torch.inf)
    if bad.any():  # plus infinity: a density of zero for the step that was just made
        i = int(bad.nonzero()[0])
        raise ValueError(f"proposal: log ratio {log_ratio[i].item()} at step {t}, point {i}, x = {_point(x[i])}")
    return y, log_ratio


def _point(x: Tensor) -> list[float]:
    """A point for a message: at most five coordinates."""
    return [float(f"{v:.6g}") for v in x[:5].tolist()]
