"""Laws of short strings, as a table of all of them: what any set of tokens says of the others, exactly.

A string is a row of d tokens 0..S-1. In a masked string the number S stands for a token that is hidden.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from dpm_lib.core import check_laws, checks

LARGEST = 2_000_000  # masked strings


class StringLaw:
    """A law of strings, ``joint`` (S,)*d: one axis for each of the d tokens, each with S kinds.

    ValueError where the axes differ in length, there are more than 2,000,000 masked strings, or ``joint`` is no law.
    """

    def __init__(self, joint: Tensor) -> None:
        joint = torch.as_tensor(joint)
        if joint.ndim < 1 or len(set(joint.shape)) > 1 or joint.shape[0] < 2:
            raise ValueError(f"joint: shape {tuple(joint.shape)}: need d axes, each of the same S >= 2 kinds of token")
        if (joint.shape[0] + 1) ** joint.ndim > LARGEST:
            raise ValueError(f"joint: shape {tuple(joint.shape)}: need (S + 1)^d <= {LARGEST} masked strings")
        self.joint = torch.from_numpy(check_laws.laws("joint", joint.reshape(-1))).reshape(joint.shape)

    @classmethod
    def from_strings(cls, strings: Tensor, kinds: int, weights: Tensor | None = None) -> "StringLaw":
        """One of the rows of ``strings`` (n, d), integers, with ``weights`` (n,), or all alike; a repeated row adds up.

        ValueError for an entry that is no token of 0..kinds-1, and for weights that are no law.
        """
        rows = checks.rows("strings", torch.as_tensor(strings))
        bad = (rows != rows.long()) | (rows < 0) | (rows >= kinds)
        if bad.any():
            where = tuple(bad.nonzero()[0].tolist())
            raise ValueError(f"strings: {rows[where].item():g} at index {where}: need a token of 0..{kinds - 1}")
        even = torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
        weights = even if weights is None else torch.from_numpy(check_laws.law("weights", weights, len(rows)))
        joint = torch.zeros((kinds,) * rows.shape[1], dtype=torch.float64)
        return cls(joint.index_put_(tuple(rows.long().T), weights, accumulate=True))

    @classmethod
    def markov_chain(cls, start: Tensor, transition: Tensor, length: int) -> "StringLaw":
        """The first ``length`` states of a chain with the law ``start`` (S,) and the matrix ``transition`` (S, S)."""
        P = torch.from_numpy(check_laws.chain("transition", transition))
        joint = torch.from_numpy(check_laws.law("start", start, len(P)))
        for _ in range(checks.count("length", length) - 1):
            joint = joint.unsqueeze(-1) * P
        return cls(joint)

    @property
    def length(self) -> int:
        """d, tokens in a string."""
        return self.joint.ndim

    @property
    def kinds(self) -> int:
        """S, kinds of token."""
        return self.joint.shape[0]

    def marginals(self) -> Tensor:
        """The probability of what a masked string shows, (S+1,)*d: index S on an axis is a token that is hidden."""
        table = self.joint
        for axis in range(self.length):
            table = torch.cat([table, table.sum(axis, keepdim=True)], axis)
        return table

    def conditionals(self) -> Tensor:
        """P(x_i | the tokens that a masked string shows), (S+1,)*d + (d, S).

        A token that is shown has a law of one point. Where what is shown has probability 0, hidden tokens are uniform.
        """
        table, laws = self.marginals(), []
        for axis in range(self.length):
            seen = table.narrow(axis, 0, self.kinds).movedim(axis, -1).unsqueeze(axis)
            whole = seen.sum(-1, keepdim=True)
            hidden = torch.where(whole > 0, seen / whole.clamp(min=1e-300), 1 / self.kinds)
            eye = torch.eye(self.kinds, dtype=torch.float64)
            shape = [1] * self.length + [self.kinds]
            shape[axis] = self.kinds
            shown = eye.reshape(shape).expand(*hidden.shape[:axis], self.kinds, *hidden.shape[axis + 1 :])
            laws.append(torch.cat([shown, hidden], axis))
        return torch.stack(laws, -2)

    def subset_entropies(self) -> Tensor:
        """H(x_A) of every set A of tokens, (2,)*d, nats: index 1 on an axis is a token that is in A."""
        parts = -torch.xlogy(self.marginals(), self.marginals())
        for axis in range(self.length):
            shown, hidden = parts.split([self.kinds, 1], axis)
            parts = torch.cat([hidden, shown.sum(axis, keepdim=True)], axis)
        return parts.clamp(min=0)

    def mean_entropies(self) -> Tensor:
        """h_k, the mean of H(x_A) over all sets of k tokens, k = 0..d, (d+1,), nats: h_0 = 0, h_d = H(x)."""
        sizes = torch.cartesian_prod(*[torch.arange(2)] * self.length).reshape(-1, self.length).sum(-1)
        total = torch.zeros(self.length + 1, dtype=torch.float64)
        counts = torch.bincount(sizes).double()
        return total.index_add_(0, sizes, self.subset_entropies().reshape(-1)) / counts

    def total_correlation(self, block: Iterable[int], given: Iterable[int] = ()) -> float:
        """Sum_i H(x_i | x_A) - H(x_B | x_A) for the tokens B = ``block``, A = ``given``, nats: the multi-information.

        ValueError where the sets share a token, or hold one that is not in 0..d-1.
        """
        block, given = set(block), set(given)
        if block & given or not (block | given) <= set(range(self.length)):
            raise ValueError(f"block, given: {block}, {given}: need separate sets of tokens 0..{self.length - 1}")
        H = self.subset_entropies()

        def entropy(tokens: set[int]) -> float:
            return float(H[tuple(int(i in tokens) for i in range(self.length))])

        known = entropy(given)
        return sum(entropy(given | {i}) - known for i in block) - (entropy(given | block) - known)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n strings, (n, d), int64. ValueError for n < 1."""
        flat = torch.multinomial(self.joint.reshape(-1), checks.count("n", n), replacement=True, generator=generator)
        return torch.stack(torch.unravel_index(flat, self.joint.shape), -1)

    def log_prob(self, x: Tensor) -> Tensor:
        """log P(x) for strings x (..., d), (...), nats; -infinity for one that never comes."""
        x = checks.checked_width("x", torch.as_tensor(x), self.length)
        return self.joint[tuple(x.long().movedim(-1, 0))].log()


def chain_mean_entropies(start: Tensor, transition: Tensor, length: int) -> Tensor:
    """``mean_entropies`` of a Markov chain of any length, (length+1,), nats, without its table. ValueError for no law.

    By the chain rule H(x_A) is the entropy of the first token of A, and of each next one given the one before; so
    h_k = sum_i H(x_i) P(i is first) + sum_{i<j} H(x_j | x_i) P(i, j are neighbours in A), for A uniform of size k.
    """
    P = torch.from_numpy(check_laws.chain("transition", transition))
    law = torch.from_numpy(check_laws.law("start", start, len(P)))
    powers, laws = [P], [law]
    for _ in range(checks.count("length", length) - 1):
        powers.append(powers[-1] @ P)
        laws.append(laws[-1] @ P)
    rows = -torch.xlogy(torch.stack(powers), torch.stack(powers)).sum(-1)  # (gap, S)
    at = torch.stack(laws)
    after = at @ rows.T  # H(x_{i+g} | x_i), (i, g)
    alone = -torch.xlogy(at, at).sum(-1)
    gaps = torch.stack([after[: length - g, g - 1].sum() for g in range(1, length)]) if length > 1 else after[0, :0]
    k = torch.arange(1, length + 1, dtype=torch.float64).unsqueeze(-1)
    first = (_log_choose(torch.arange(length - 1, -1, -1), k - 1) - _log_choose(length, k)).exp()
    pair = (_log_choose(torch.arange(length - 2, -1, -1), k - 2) - _log_choose(length, k)).exp()
    return torch.cat([torch.zeros(1), first @ alone + pair @ gaps])


def _log_choose(n: Tensor | int, k: Tensor) -> Tensor:
    """log binom(n, k) of whole numbers, elementwise; -infinity where k is not in 0..n."""
    n = torch.as_tensor(n, dtype=torch.float64)
    inside = (k >= 0) & (k <= n)
    return torch.where(inside, torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1), -math.inf)
