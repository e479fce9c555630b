"""Rejection sampling: the draws of another density, some of them thrown away, so that the rest are exact."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.random import uniform
from dpm_lib.montecarlo.importance import _weighed
from dpm_lib.probability.target_densities import LogDensity, Proposal


@dataclass(frozen=True)
class Accepted:
    """What rejection sampling returns: exact draws ``x`` (n, d), and what they cost."""

    x: Tensor
    evaluations: int
    accepted: int  # of all evaluations; at least n, since the last batch may give too many

    @property
    def acceptance(self) -> float:
        """Share of the proposals that were accepted: an estimate of Z / M."""
        return self.accepted / self.evaluations


def rejection_sampling(
    log_prob: LogDensity,
    proposal: Proposal,
    log_bound: float,
    n: int,
    generator: torch.Generator,
    max_evaluations: int = 10_000_000,
) -> Accepted:
    """n exact draws of the density proportional to p*, given log M such that p*(x) <= M q(x) everywhere.

    Raises ValueError, naming the point, if a draw has p* > M q by more than rounding: then the draws would be wrong.
    (A bound that fails only where nothing was drawn goes unnoticed.) RuntimeError when ``max_evaluations`` are spent.
    Implements eq-mc-rejection.
    """
    checks.count("n", n)
    checks.count("max_evaluations", max_evaluations)
    checks.between("log_bound", log_bound, -math.inf)
    kept: list[Tensor] = []
    evaluations = accepted = 0
    while accepted < n:
        batch = min(max(n, 1000), max_evaluations - evaluations)
        if batch <= 0:
            raise RuntimeError(f"rejection_sampling: {accepted} of {n} draws after {evaluations} evaluations")
        x, log_p, log_q = _weighed(log_prob, proposal, batch, generator)
        log_accept = log_p - log_q - log_bound
        _check_bound(log_accept - _rounding(log_p, log_q), log_accept, x, log_bound)
        chosen = x[uniform((batch,), generator).log() < log_accept]
        kept.append(chosen)
        evaluations, accepted = evaluations + batch, accepted + len(chosen)
    return Accepted(torch.cat(kept)[:n], evaluations, accepted)


def _rounding(log_p: Tensor, log_q: Tensor) -> Tensor:
    """What log p* - log q may be off by, (n,), in the coarser precision of the two."""
    eps = max(torch.finfo(log_p.dtype).eps, torch.finfo(log_q.dtype).eps)
    return (16 * eps * (1 + log_p.abs().nan_to_num(posinf=0.0) + log_q.abs())).clamp(min=1e-12)


def _check_bound(excess: Tensor, log_accept: Tensor, x: Tensor, log_bound: float) -> None:
    i = int(excess.argmax())
    if excess[i] > 0:
        found = log_bound + float(log_accept[i])
        raise ValueError(
            f"log_bound: {log_bound} is exceeded at x = {checks.coordinates(x[i])}, where log p*/q = {found}"
        )
