"""Laws of independent tokens: what a kernel of strings answers with."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core.checks import checked_width, count

BELOW_ONE = 1 - 2.0**-52  # times a float64 near 1, it is less than that


@dataclass(frozen=True)
class Categorical:
    """Independent tokens: ``logits`` (..., d, S), log P(token = k) up to a constant, minus infinity where it is 0.

    A state holds the names 0..S-1 as float64 whole numbers, (..., d). With S = 2 it is a ``Bernoulli``, whose draws it
    makes of the same noise. ValueError for NaN or +infinity, a token that can be nothing at all, and a point or another
    law of another width.
    """

    logits: Tensor

    def __post_init__(self) -> None:
        if self.logits.ndim < 2 or not self.logits.shape[-1]:
            raise ValueError(f"logits: need shape (..., d, S), got {tuple(self.logits.shape)}")
        if _looked_at(self.logits):
            largest = self.logits.detach().amax(-1)
            bad = ~torch.isfinite(largest)
            if bad.any():
                where = tuple(bad.nonzero()[0].tolist())
                found = "no token is possible" if torch.isneginf(largest[where]) else f"{largest[where].item()}"
                raise ValueError(f"logits: {found} at index {where}: need a finite logarithm for one token at least")

    @cached_property
    def log_p(self) -> Tensor:
        """log P(token = k), (..., d, S), nats."""
        return self.logits.log_softmax(-1)

    @property
    def mean(self) -> Tensor:
        """TypeError, not a state (..., d): tokens are names, of which there is no mean; ``log_p`` has their law."""
        raise TypeError("mean: tokens are names, and have no mean: their probabilities are log_p.exp()")

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw per law, (..., d), of whole numbers."""
        like = self.logits
        return self.from_noise(torch.randn(like.shape[:-1], generator=generator, dtype=like.dtype, device=like.device))

    def from_noise(self, noise: Tensor) -> Tensor:
        """The draw made of standard normal ``noise`` (..., d): k or more where Phi(noise) < P(token >= k).

        A step function of the logits: its derivative is zero wherever it exists. ``ratio`` makes up for it.
        """
        above = self.log_p.detach().exp().flip(-1).cumsum(-1).flip(-1)  # P(token >= k), exactly equal where p_k is 0
        place = torch.special.ndtr(noise).clamp(max=BELOW_ONE).unsqueeze(-1)
        return (place * above[..., :1] < above[..., 1:]).sum(-1).to(self.logits.dtype)

    def ratio(self, x: Tensor) -> Tensor:
        """p(x) / p(x) with the denominator held fixed, (...): 1, and its gradient is that of log p(x).

        For x ~ p, E[f ratio(x)] has the gradient of E[f], also where it comes from the law of x (the score function).
        """
        log_p = self.log_prob(x)
        return (log_p - log_p.detach()).exp()

    def log_prob(self, x: Tensor) -> Tensor:
        """log P(x) for tokens x (..., d), (...), nats. ValueError for what is no token."""
        d, tokens = self.logits.shape[-2:]
        index = token_index("x", checked_width("x", x, d), tokens).unsqueeze(-1)
        shape = torch.broadcast_shapes(index.shape[:-1], self.logits.shape[:-1])
        return self.log_p.expand(*shape, tokens).gather(-1, index.expand(*shape, 1)).squeeze(-1).sum(-1)

    @property
    def entropy(self) -> Tensor:
        """Entropy, (...), nats."""
        return self.cross_entropy(self)

    def cross_entropy(self, other: "Categorical") -> Tensor:
        """-E log other(x) for x of this law, (...), nats."""
        return -self._expected(self._like(other).log_p).sum((-2, -1))

    def kl(self, other: "Categorical") -> Tensor:
        """D_KL(self || other), (...), nats: infinite where ``other`` rules out what this law does not."""
        return (self._expected(self.log_p) - self._expected(self._like(other).log_p)).sum((-2, -1))

    def times(self, tilt: Any) -> tuple["Categorical", Tensor]:
        """The law proportional to p(x) r(x), and log E[r(x)], (...), nats, for a ``TokenTilt`` of d places.

        Of tokens beyond those of its table, as a mask, r says nothing: there its factor is 1. ValueError for a tilt of
        another kind or width.
        """
        table = getattr(tilt, "table", None)
        if table is None or table.shape[-2] != self.logits.shape[-2]:
            raise ValueError(f"tilt: need a TokenTilt of {self.logits.shape[-2]} places, got {type(tilt).__name__}")
        raised = self.log_p + torch.nn.functional.pad(table, (0, self.logits.shape[-1] - table.shape[-1]))
        return Categorical(raised), tilt.c.squeeze(-1) + raised.logsumexp(-1).sum(-1)

    def expand(self, n: int) -> "Categorical":
        """n copies, (n, ..., d)."""
        return Categorical(self.logits.expand(count("n", n, 0), *self.logits.shape))

    def _expected(self, values: Tensor) -> Tensor:
        """P(token = k) times ``values``, where 0 times infinity is 0, and so is its gradient."""
        p = self.log_p.exp()
        return p * values.masked_fill(p == 0, 0.0)

    def _like(self, other: "Categorical") -> "Categorical":
        if other.logits.shape[-2:] != self.logits.shape[-2:]:
            shapes = f"{tuple(self.logits.shape[-2:])}, got {tuple(other.logits.shape[-2:])}"
            raise ValueError(f"other: need as many places and tokens, (d, S) = {shapes}")
        return other


def token_index(name: str, x: Tensor, tokens: int) -> Tensor:
    """Tokens 0..tokens - 1 (...), of any type, as an integer tensor. ValueError, naming the place, for anything else.

    What lies on a GPU, or is being compiled, is taken as it is: to look at it would be to wait for it.
    """
    if _looked_at(x):
        bad = ~((x >= 0) & (x < tokens) & (x == x.round()))
        if bad.any():
            where = tuple(bad.nonzero()[0].tolist())
            raise ValueError(f"{name}: {x[where].item():g} at index {where}: need a token, one of 0..{tokens - 1}")
    return x.long()


def _looked_at(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()
