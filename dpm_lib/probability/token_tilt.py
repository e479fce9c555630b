"""Functions r by which a law of independent tokens is multiplied exactly: a factor for each token at each place."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.probability.categorical import token_index
from dpm_lib.probability.products_of_laws import Tilt


@dataclass(frozen=True)
class TokenTilt(Tilt):
    """log r(x) = c + sum_i table_i(x_i): ``table`` (..., d, S) for tokens 0..S-1, beside c (..., 1) of a ``Tilt``.

    b and a of the ``Tilt`` are zeros, (..., 1, d). Made by ``of_table``. ValueError for NaN and infinity in the table.
    """

    table: Tensor

    @classmethod
    def of_table(cls, table: Tensor, c: Tensor | None = None) -> "TokenTilt":
        """The tilt of a table (..., d, S), and a constant c (..., 1), 0 by default."""
        checks.finite("table", table)
        zero = torch.zeros_like(table[..., 0]).unsqueeze(-2)
        return cls(torch.zeros_like(zero[..., 0]) if c is None else c, zero, zero, table)

    def __call__(self, x: Tensor) -> Tensor:
        """log r(x) for tokens x (..., d): (...), nats. ValueError for what is no token."""
        index = token_index("x", checks.checked_width("x", x, self.table.shape[-2]), self.table.shape[-1]).unsqueeze(-1)
        shape = torch.broadcast_shapes(index.shape[:-1], self.table.shape[:-1])
        found = self.table.expand(*shape, -1).gather(-1, index.expand(*shape, 1))
        return self.c.squeeze(-1) + found.squeeze(-1).sum(-1)

    def power(self, exponent: float) -> "TokenTilt":
        """r^exponent."""
        return TokenTilt.of_table(exponent * self.table, exponent * self.c)

    def plus(self, floor: float) -> Tilt:
        """ValueError: r + ``floor`` is no product over places, (d,)."""
        raise ValueError(f"floor: {floor}: a table of factors plus a number is no such table; give a function of x")


def read(tokens: Tensor, error: float, mask: Tensor, kinds: int) -> TokenTilt:
    """r(x) = the probability of reading ``tokens`` (d,) where ``mask`` (d,) is true, for x of tokens 0..kinds-1.

    Each is wrong with probability ``error``, and then any of the others. 0 is taken as exp(-50). ValueError for an
    error outside of [0, 1), for what is no token, and for shapes that differ.
    """
    checks.between("error", error, 0, 1)
    if tokens.ndim != 1 or mask.shape != tokens.shape:
        raise ValueError(f"tokens, mask: need one shape (d,), got {tuple(tokens.shape)}, {tuple(mask.shape)}")
    hit = torch.nn.functional.one_hot(token_index("tokens", tokens, kinds), kinds).bool()
    wrong = math.log(max(error, math.exp(-50.0)) / max(1, kinds - 1))
    right = math.log(max(1 - error, math.exp(-50.0)))
    table = torch.where(hit, right, torch.full(hit.shape, wrong, dtype=torch.float64, device=tokens.device))
    return TokenTilt.of_table(torch.where(mask.unsqueeze(-1), table, 0.0))
