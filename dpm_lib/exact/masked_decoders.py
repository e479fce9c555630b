"""The exact law of what a decoder of masked strings draws: its steps as matrices on all masked strings.

A decoder goes from the string of masks to one of tokens. ``conditionals`` (S+1,)*d + (d, S) is what its network says,
as in ``any_order``. The masked strings, with S for a mask, stand in counting order, the first token the slowest.
"""

from collections.abc import Iterable
from itertools import combinations, product

import torch
from torch import Tensor

from dpm_lib.core import check_laws, checks

LARGEST = 4096  # masked strings: matrices of 134 MB


class MaskedDecoder:
    """Steps of a decoder as matrices (n, n) on the n = (S+1)^d masked strings, ``strings`` (n, d); rows sum to 1.

    ValueError for a table of another shape or of no laws, and for more than 4096 masked strings.
    """

    def __init__(self, conditionals: Tensor) -> None:
        d, S = conditionals.ndim - 2, conditionals.shape[-1]
        if d < 1 or tuple(conditionals.shape) != (S + 1,) * d + (d, S) or (S + 1) ** d > LARGEST:
            shape = tuple(conditionals.shape)
            raise ValueError(f"conditionals: shape {shape}: need (S+1,)*d + (d, S), and (S+1)^d <= {LARGEST}")
        self.length, self.kinds = d, S
        self.laws = torch.from_numpy(check_laws.laws("conditionals", conditionals)).reshape(-1, d, S)
        self.strings = torch.cartesian_prod(*[torch.arange(S + 1)] * d).reshape(-1, d)
        self.masked = self.strings == S
        self.still = torch.nn.functional.one_hot(self.strings, S + 1).to(torch.float64)

    def independently(self, chance: Tensor | float) -> Tensor:
        """Unmask each masked token with probability ``chance``, a number or (n, d), by its own law, (n, n).

        ValueError for a chance that is no probability.
        """
        chance = torch.as_tensor(chance, dtype=torch.float64).expand(self.masked.shape)
        if not bool(((chance >= 0) & (chance <= 1)).all()):
            raise ValueError(f"chance: need probabilities, got {float(chance.min()):g} to {float(chance.max()):g}")
        new = torch.cat([chance.unsqueeze(-1) * self.laws, 1 - chance.unsqueeze(-1)], -1)
        return _product(torch.where(self.masked.unsqueeze(-1), new, self.still))

    def at_random(self, size: int) -> Tensor:
        """Unmask ``size`` of the masked tokens, or all if there are no more, drawn at random, (n, n)."""
        left = self.masked.sum(-1).clamp(max=checks.count("size", size))
        total = torch.zeros(len(left), len(left), dtype=torch.float64)
        ways = torch.zeros(len(left), dtype=torch.float64)
        for chosen in _subsets(self.length, size):
            fits = (left == chosen.sum()) & (chosen <= self.masked).all(-1)
            if fits.any():
                total[fits] += self.independently(chosen.double())[fits]
                ways[fits] += 1
        return total / ways.unsqueeze(-1)

    def by_confidence(self, size: int) -> Tensor:
        """Unmask the ``size`` masked tokens whose laws have the largest modes (ties: the first), (n, n)."""
        return self.independently(self._first(self.laws.amax(-1), size).double())

    def by_least_confidence(self, size: int) -> Tensor:
        """Unmask the ``size`` masked tokens whose laws have the smallest modes (ties: the first), (n, n)."""
        return self.independently(self._first(-self.laws.amax(-1), size).double())

    def by_drawn_confidence(self, size: int) -> Tensor:
        """Draw *all* masked tokens, and keep the ``size`` whose drawn values were most probable (MaskGIT), (n, n)."""
        checks.count("size", size)
        total = torch.zeros(len(self.strings), len(self.strings), dtype=torch.float64)
        place = (self.kinds + 1) ** torch.arange(self.length - 1, -1, -1)
        rows = torch.arange(len(self.strings))
        for draw in product(range(self.kinds), repeat=self.length):
            y = torch.tensor(draw)
            p = self.laws[:, torch.arange(self.length), y]
            alike = self.kinds ** (~self.masked).sum(-1)  # draws that differ where tokens stand are one draw
            weight = torch.where(self.masked, p, 1.0).prod(-1) / alike
            kept = torch.where(self._first(p, size), y, self.strings)
            total.index_put_((rows, (kept * place).sum(-1)), weight, accumulate=True)
        return total

    def remask(self, chance: float) -> Tensor:
        """Mask each token that is shown with probability ``chance``, (n, n). ValueError unless it is in [0, 1]."""
        chance = checks.between("chance", chance, 0, 1)
        hidden = torch.zeros_like(self.still)
        hidden[..., -1] = 1
        return _product(chance * hidden + (1 - chance) * self.still)

    def redraw(self, size: int = 1) -> Tensor:
        """Mask ``size`` tokens that are shown, drawn at random, and draw these again, (n, n): Gibbs for size 1."""
        shown = (~self.masked).sum(-1).clamp(max=checks.count("size", size))
        total = torch.zeros(len(shown), len(shown), dtype=torch.float64)
        ways = torch.zeros(len(shown), dtype=torch.float64)
        place = (self.kinds + 1) ** torch.arange(self.length - 1, -1, -1)
        for chosen in _subsets(self.length, size):
            fits = (shown == chosen.sum()) & (chosen <= ~self.masked).all(-1)
            if fits.any():
                hidden = (self.strings.masked_fill(chosen, self.kinds) * place).sum(-1)
                total[fits] += self.independently(chosen.double())[hidden[fits]]
                ways[fits] += 1
        return total / ways.clamp(min=1).unsqueeze(-1)

    def draws(self, steps: Iterable[Tensor]) -> Tensor:
        """The law of masked strings after these steps from all masks, (S+1,)*d: index S on an axis is a mask left."""
        law = torch.zeros(len(self.strings), dtype=torch.float64)
        law[-1] = 1.0
        for step in steps:
            law = law @ step
        return law.reshape((self.kinds + 1,) * self.length)

    def law(self, steps: Iterable[Tensor]) -> Tensor:
        """The law of strings after these steps, (S,)*d. ValueError where masks are left."""
        found = self.draws(steps)
        whole = found[(slice(0, self.kinds),) * self.length]
        if abs(float(whole.sum()) - 1) > 1e-9:
            raise ValueError(f"steps: {1 - float(whole.sum()):.3g}: need no chance that a mask is left")
        return whole

    def _first(self, worth: Tensor, size: int) -> Tensor:
        """The ``size`` masked tokens of largest ``worth`` (n, d), (n, d), bool; ties within rounding: the first."""
        worth = torch.where(self.masked, (worth * 1e12).round(), -torch.inf)
        order = worth.sort(dim=-1, descending=True, stable=True).indices
        best = torch.zeros_like(self.masked).scatter_(-1, order[:, : checks.count("size", size)], True)
        return best & self.masked


def total_variation(p: Tensor, q: Tensor) -> float:
    """Half the sum of |p - q|, for laws of one shape (...)."""
    return float((p - q).abs().sum()) / 2


def divergence(p: Tensor, q: Tensor) -> float:
    """D_KL(p || q), nats, for laws of one shape (...): infinite where q rules out what p does not."""
    return float((torch.xlogy(p, p) - torch.where(p > 0, p * q.log(), 0.0)).sum())


def _product(laws: Tensor) -> Tensor:
    """Tokens that move apart, each by its row of ``laws`` (n, d, S+1), as a matrix (n, n)."""
    whole = laws[:, 0]
    for i in range(1, laws.shape[1]):
        whole = (whole.unsqueeze(-1) * laws[:, i].unsqueeze(1)).reshape(len(laws), -1)
    return whole


def _subsets(length: int, size: int) -> list[Tensor]:
    """All sets of at most ``size`` tokens, as masks (length,)."""
    sets = [c for k in range(min(size, length) + 1) for c in combinations(range(length), k)]
    return [torch.tensor([i in c for i in range(length)]) for c in sets]
