"""Short strings of symbols, and autoregressive models of them as Markovian VAEs.

A string is a row of ``length`` symbols 0..kinds-1, int64. The encoder forgets its last symbol: it puts the blank, the
symbol ``kinds``, in its place. N = length rungs later nothing but blanks is left. The generator writes the symbols back
from the left. The encoder is deterministic, so that the ELBO is the exact log likelihood (eq-vae-autoregressive).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_lib.core.check_laws import laws


@dataclass(frozen=True)
class Symbols:
    """Independent symbols over the last axis: ``log_p`` (..., d, k), log probabilities, may be minus infinity."""

    log_p: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw per law, (..., d), int64."""
        p = self.log_p.exp()
        flat = torch.multinomial(p.reshape(-1, p.shape[-1]), 1, generator=generator)
        return flat.reshape(p.shape[:-1])

    def log_prob(self, x: Tensor) -> Tensor:
        """log P(x) for symbols x (..., d), (...), nats."""
        log_p = self.log_p.expand(*x.shape, self.log_p.shape[-1])
        return log_p.gather(-1, x.unsqueeze(-1)).squeeze(-1).sum(-1)

    def kl(self, other: "Symbols") -> Tensor:
        """D_KL(self || other), (...), nats: infinite where ``other`` rules out what this law does not."""
        p = self.log_p.exp()
        gap = (self.log_p - other.log_p).masked_fill(p == 0, 0.0)
        return (p * gap).sum((-2, -1))

    def expand(self, n: int) -> "Symbols":
        """n copies, (n, ..., d, k)."""
        return Symbols(self.log_p.expand(n, *self.log_p.shape))

    @classmethod
    def point(cls, x: Tensor, kinds: int) -> "Symbols":
        """The law of a string that is known, x (..., d) of symbols 0..kinds-1."""
        sure = torch.nn.functional.one_hot(x, kinds)
        return cls(torch.where(sure == 1, 0.0, -math.inf).to(torch.float64))


class Autoregressive:
    """P(y) = prod_i P(y_i | y_1..y_{i-1}), from ``tables``: the i-th (kinds^i, kinds) holds P(y_{i+1} | prefix).

    The prefixes stand in counting order, the first symbol the slowest. Raises ValueError naming the table and the row
    where a shape is wrong or a row is not a law.
    """

    def __init__(self, tables: Sequence[Tensor]) -> None:
        if not tables:
            raise ValueError("tables: need at least one")
        self.tables = [torch.from_numpy(laws(f"tables[{i}]", table)) for i, table in enumerate(tables)]
        self.length, self.kinds = len(tables), self.tables[0].shape[-1]
        for i, table in enumerate(self.tables):
            if table.shape != (self.kinds**i, self.kinds):
                raise ValueError(f"tables[{i}]: shape {tuple(table.shape)}, not {(self.kinds**i, self.kinds)}")

    @classmethod
    def fit(cls, strings: Tensor, kinds: int, memory: int, pseudo: float = 1.0) -> "Autoregressive":
        """Counts of the next symbol after each prefix, plus ``pseudo``; it remembers the last ``memory`` symbols only.

        Raises ValueError where ``strings`` (n, length) holds no symbol of 0..kinds-1, memory < 0 or pseudo <= 0.
        """
        if memory < 0 or not pseudo > 0:
            raise ValueError(f"memory, pseudo: need memory >= 0 and pseudo > 0, got {memory}, {pseudo}")
        strings = torch.as_tensor(strings)
        if strings.ndim != 2 or 0 in strings.shape:
            raise ValueError(f"strings: need rows (n, length), got shape {tuple(strings.shape)}")
        strings, tables = _checked(strings, strings.shape[1], kinds), []
        for i in range(strings.shape[1]):
            seen = kinds ** min(i, memory)  # prefixes that can be told apart
            counts = torch.full((seen, kinds), pseudo, dtype=torch.float64)
            before = _code(strings[:, :i], kinds) % seen
            counts.index_put_((before, strings[:, i]), torch.ones(len(strings)).double(), accumulate=True)
            tables.append((counts / counts.sum(-1, keepdim=True)).repeat(kinds**i // seen, 1))
        return cls(tables)

    def log_prob(self, y: Tensor) -> Tensor:
        """log P(y), (...), nats, by the chain rule; no latent variable in sight."""
        y = self.state(y)
        steps = (self.tables[i][_code(y[..., :i], self.kinds), y[..., i]] for i in range(self.length))
        return torch.stack([step.log() for step in steps]).sum(0)

    # As a Markovian VAE

    @property
    def N(self) -> int:
        return self.length

    @property
    def prior(self) -> Symbols:
        """All blanks, surely."""
        return Symbols.point(torch.full((self.length,), self.kinds), self.kinds + 1)

    def state(self, y: Tensor) -> Tensor:
        """y as int64; ValueError where it is not (..., length) or an entry is no symbol of 0..kinds-1."""
        return _checked(y, self.length, self.kinds)

    def encode(self, z: Tensor, rung: int) -> Symbols:
        """Forget the last symbol that is left of z (..., d): the one at place N + 1 - l."""
        return self.marginal(z, rung)

    def generate(self, z: Tensor, rung: int) -> Symbols:
        """Write that symbol, given those before it, z (..., N - l)."""
        place = self.length - rung
        law = Symbols.point(z, self.kinds + 1).log_p
        law[..., place, : self.kinds] = self.tables[place][_code(z[..., :place], self.kinds)].log()
        law[..., place, self.kinds] = -math.inf
        return Symbols(law)

    def read(self, y: Tensor) -> Tensor:
        return y

    def marginal(self, y: Tensor, rung: int) -> Symbols:
        """The prefix of y (..., N) of length N - l, surely."""
        return Symbols.point(self.prefix(y, self.length - rung), self.kinds + 1)

    def posterior(self, y: Tensor, z: Tensor, rung: int) -> Symbols:
        """Who knows y (..., N) knows every prefix of it."""
        return self.marginal(y, rung - 1)

    def prefix(self, y: Tensor, kept: int) -> Tensor:
        """y (..., length) with blanks after the first ``kept`` symbols."""
        return y.masked_fill(torch.arange(self.length) >= kept, self.kinds)


def _code(prefix: Tensor, kinds: int) -> Tensor:
    """The number of each prefix (..., i) in counting order, (...)."""
    powers = kinds ** torch.arange(prefix.shape[-1] - 1, -1, -1)
    return (prefix * powers).sum(-1).long()


def _checked(strings: Tensor, length: int, kinds: int) -> Tensor:
    strings = torch.as_tensor(strings)
    if strings.ndim < 1 or strings.shape[-1] != length or strings.is_floating_point():
        raise ValueError(f"y: need integers (..., {length}), got {strings.dtype} {tuple(strings.shape)}")
    bad = (strings < 0) | (strings >= kinds)
    if bad.any():
        where = tuple(bad.nonzero()[0].tolist())
        raise ValueError(f"y: {strings[where].item()} at index {where} is no symbol of 0..{kinds - 1}")
    return strings.long()
