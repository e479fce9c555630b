"""Codebooks: data that are one of a few strings, of bits as the 2015 paper's heartbeat, or of other tokens."""

import math

import torch
from torch import Tensor

from dpm_lib.core import check_laws, checks
from dpm_lib.probability.distributions import Bernoulli


class Codebook:
    """One of k strings of d bits: ``rows`` (k, d), all different, with probabilities ``weights`` (k,).

    With ``tokens`` S the strings are of the tokens 0..S-1 instead. ValueError where rows hold other numbers or are
    repeated, or weights are not positive and of sum 1.
    """

    def __init__(self, rows: Tensor, weights: Tensor | None = None, tokens: int = 2) -> None:
        rows = checks.rows("rows", rows).to(torch.float64)
        self.tokens = checks.count("tokens", tokens, 2)
        bad = ~((rows >= 0) & (rows < tokens) & (rows == rows.round()))
        if bad.any():
            where = tuple(bad.nonzero()[0].tolist())
            need = "neither 0 nor 1" if tokens == 2 else f"need a token, one of 0..{tokens - 1}"
            raise ValueError(f"rows: {rows[where].item()} at index {where}: {need}")
        if len(torch.unique(rows, dim=0)) < len(rows):
            raise ValueError("rows: two of them are the same; give one row the weight of both")
        even = torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
        weights = even if weights is None else torch.as_tensor(check_laws.laws("weights", weights))
        if weights.shape != even.shape or not bool((weights > 0).all()):
            raise ValueError(f"weights: need {len(rows)} positive numbers that sum to 1, got {weights.tolist()}")
        self.rows, self.weights = rows, weights / weights.sum()

    @property
    def dim(self) -> int:
        """Bits in a string."""
        return self.rows.shape[1]

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n strings, (n, d). ValueError for n < 1."""
        return self.rows[torch.multinomial(self.weights, checks.count("n", n), replacement=True, generator=generator)]

    def log_prob(self, x: Tensor) -> Tensor:
        """log q(x) for x (..., d), (...), nats; -infinity for a string that is not in the book."""
        same = (x.unsqueeze(-2) == self.rows).all(-1)
        return torch.where(same, self.weights.log(), -math.inf).logsumexp(-1)

    def entropy(self) -> float:
        """H(X_0), nats."""
        return -float((self.weights * self.weights.log()).sum())

    def start(self, xt: Tensor, evidence: Tensor) -> Bernoulli:
        """The law of each bit of x_0 given x_t (..., d), whose bits were kept with log-odds ``evidence`` (...).

        Raises ValueError where the evidence is infinite, as at t = 0: x_t is x_0 then.
        """
        xt = xt.to(torch.float64)
        _check_evidence(evidence)
        rows, weights = self.rows.to(xt), self.weights.to(xt)
        agree = xt @ rows.T + (1 - xt) @ (1 - rows).T
        log_w = (weights.log() + agree * evidence.unsqueeze(-1)).unsqueeze(-1)
        return Bernoulli((log_w + rows.log()).logsumexp(-2) - (log_w + (1 - rows).log()).logsumexp(-2))


def _check_evidence(evidence: Tensor) -> None:
    if not torch.isfinite(evidence).all():
        raise ValueError(f"evidence: {evidence[~torch.isfinite(evidence)][0].item()}: at t = 0 nothing is hidden")


def heartbeat(length: int = 20, period: int = 5) -> Codebook:
    """The 2015 paper's heartbeat: a 1 in every ``period``-th bin, the first of them in any of the first ``period``.

    All are equally likely, so its entropy is log ``period``: log2 5 = 2.322 bits for the paper's. ValueError
    where the period does not divide the length.
    """
    if not 1 <= period <= length or length % period:
        raise ValueError(f"period: {period} does not divide the length {length}")
    return Codebook(torch.eye(period, dtype=torch.float64).repeat(1, length // period))
