"""The best bound K that any network can reach on a codebook of bit strings, exactly.

A string x_t of d bits has 2^d values, but far fewer kinds. Columns of the codebook that agree in every row are alike:
neither the law of x_t nor anything inferred from it changes when they are permuted, so that all that matters is how
many ones x_t has in each group of like columns. Over those counts every expectation in K is a short sum.
"""

import math
from itertools import combinations_with_replacement, product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dpm_lib.diffusion.categorical_kernel import CategoricalKernel
from dpm_lib.diffusion.exact_tokens import ExactTokens
from dpm_lib.diffusion.forward_kernels import BinomialKernel, mixed
from dpm_lib.diffusion.reverse_kernels import BernoulliReverse
from dpm_lib.diffusion.schedules import LearnedSchedule, Schedule, cosine
from dpm_lib.probability.codebooks import Codebook, _check_evidence
from dpm_lib.probability.distributions import Bernoulli

MAX_CLASSES = 100_000
CHUNK = 2_000_000  # numbers held at once


class BitBound:
    """The best bound for a codebook, by kinds of string: how many ones there are in each group of like columns.

    ``ones`` (n, g) for n kinds and g groups, ``size`` (g,) columns a group, ``pattern`` (g, k) what each row has there,
    ``log_count`` (n,) the logarithm of how many strings are of the kind, ``agree`` (n, k) bits in agreement with a row.
    Where every permutation of the rows merely permutes groups of one size, kinds are merged further: they are sorted.
    ValueError where there are more than 100,000 kinds.
    """

    def __init__(self, book: Codebook) -> None:
        self.book = book
        self.pattern, size = torch.unique(book.rows.T, dim=0, return_counts=True)
        self.size = size.double()
        sizes, g = size.tolist(), len(size)
        total = math.comb(sizes[0] + g, g) if self.symmetric else math.prod(m + 1 for m in sizes)
        if total > MAX_CLASSES:
            raise ValueError(
                f"rows: {total} kinds of string are more than {MAX_CLASSES}: the columns are too different"
            )
        counts = range(sizes[0] + 1)
        kinds = combinations_with_replacement(counts, g) if self.symmetric else product(*(range(m + 1) for m in sizes))
        self.ones = torch.tensor(list(kinds), dtype=torch.float64)
        self.log_count = self._choose(self.ones)
        if self.symmetric:  # sorted counts stand for all their orders: g! / (how often each count occurs)!
            often = (self.ones.unsqueeze(-1) == torch.tensor(counts)).sum(1)
            self.log_count = self.log_count + math.lgamma(g + 1) - (often + 1).double().lgamma().sum(-1)
        self.agree = self.ones @ self.pattern + (self.size - self.ones) @ (1 - self.pattern)

    @staticmethod
    def fits(kernel: Any) -> bool:
        """Whether these are limits of this kernel."""
        return isinstance(kernel, BinomialKernel)

    @staticmethod
    def reverse(book: Codebook, kernel: BinomialKernel) -> "ExactReverse":
        """The kernel that reaches them."""
        return ExactReverse(book, kernel)

    @staticmethod
    def countable(book: Codebook) -> bool:
        """Whether the codebook has few enough kinds of string for exact limits."""
        try:
            return bool(len(BitBound(book).ones))
        except ValueError:
            return False

    @property
    def symmetric(self) -> bool:
        """Whether each row has a group of its own, all of one size, and all rows are as likely as each other."""
        k = len(self.book.weights)
        own = len(self.size) == k and bool((self.pattern.sum(0) == 1).all()) and bool((self.pattern.sum(1) == 1).all())
        return own and bool((self.size == self.size[0]).all()) and bool((self.book.weights - 1 / k).abs().max() < 1e-12)

    def _choose(self, ones: Tensor) -> Tensor:
        """The sum over groups of log binomial(size, ones)."""
        rest = self.size - ones
        return ((self.size + 1).lgamma() - (ones + 1).lgamma() - (rest + 1).lgamma()).sum(-1)

    def log_joint(self, evidence: Tensor) -> Tensor:
        """log P(row j, x_t of kind n), (..., n, k), nats, where a bit is kept with log-odds ``evidence`` (...).

        Raises ValueError where the evidence is infinite, as at t = 0.
        """
        _check_evidence(evidence)
        kept, flipped = (logsigmoid(sign * evidence)[..., None, None] for sign in (1, -1))
        bits = self.agree * kept + (self.book.dim - self.agree) * flipped
        return bits + self.book.weights.log() + self.log_count.unsqueeze(-1)

    def entropy(self, evidence: Tensor) -> Tensor:
        """H(X_t), (...), nats."""
        log_p = self.log_joint(evidence).logsumexp(-1)
        return -(log_p.exp() * (log_p - self.log_count)).sum(-1)

    def step_costs(self, schedule: Schedule) -> Tensor:
        """The least E KL of each step over all reverse kernels of independent bits, (T+1,), nats; row 0 is zero.

        Row 1 is the cost -E log p(x_0 | x_1) of a learned edge step, which the model's fixed one replaces.
        """
        T, width = schedule.T, 2 * self.ones.numel()
        parts = torch.arange(1, T + 1).split(max(1, CHUNK // width))
        return torch.cat([torch.zeros(1, dtype=torch.float64), *(self._costs(schedule, t) for t in parts)])

    def _costs(self, schedule: Schedule, t: Tensor) -> Tensor:
        """``step_costs`` at the times t (m,): (m,). Axes: times, kinds, groups, value of the bit."""
        kernel = BinomialKernel(2, schedule)  # the two values of a bit, side by side
        joint = self.log_joint(kernel.evidence[t])
        # the log-odds of a bit of x_0 given x_t: the rows with a 1 there against those with a 0
        ones, zeros = (pattern.clamp(min=1e-300).log() for pattern in (self.pattern, 1 - self.pattern))
        on, off = ((joint.unsqueeze(-2) + log).logsumexp(-1) for log in (ones, zeros))
        start = (on - off).unsqueeze(-1).expand(*on.shape, 2)
        # eq-bits-posterior for either bit of x_0 and of x_t; then eq-bits-mixture, the best law of a bit of x_{t-1}
        xt, at = torch.tensor([0.0, 1.0], dtype=torch.float64), t.reshape(-1, 1, 1)
        one, zero = (kernel.posterior(torch.full_like(xt, b), xt, at).logits for b in (1.0, 0.0))
        best = mixed(start, one, zero)
        # eq-bits-best as a mean of KL over x_0, which is I(X_{t-1,i}; X_{0,i} | X_t)
        cost = torch.sigmoid(start) * _kl(one, best) + torch.sigmoid(-start) * _kl(zero, best)
        bits = torch.stack([self.size - self.ones, self.ones], -1)  # how many bits of x_t are 0, and 1, in a group
        return (joint.logsumexp(-1).exp() * (bits * cost).sum((-2, -1))).sum(-1)

    def best_bound(self, schedule: Schedule, learned_edge: bool = False) -> Tensor:
        """The largest K over all reverse kernels of independent bits, a scalar, nats; differentiable in the schedule.

        -d log 2 + H(X_T | X_0) - H(X_1 | X_0) - sum of the costs from t = 2; or, with ``learned_edge``, the cost at
        t = 1 in place of H(X_1 | X_0).
        """
        kernel, costs = BinomialKernel(self.book.dim, schedule), self.step_costs(schedule)
        start = torch.zeros(self.book.dim, dtype=torch.float64)
        entropy_T, entropy_1 = (kernel.marginal(start, t).entropy for t in (schedule.T, 1))
        edge = costs[1] if learned_edge else entropy_1
        return -self.book.dim * math.log(2) + entropy_T - edge - costs[2:].sum()

    def losses(self, schedule: Schedule) -> dict[str, Tensor]:
        """What the best reverse kernel of independent bits loses, and where, nats: K = -H(X_0) - all of these.

        ``edge``: H(X_1) - H(X_0), by the fixed edge step.  ``end``: D_KL(q(x_T) || pi).  ``steps`` (T+1,): by drawing
        the bits of x_{t-1} apart, E D_KL(q(x_{t-1} | x_t) || p(x_{t-1} | x_t)); rows 0 and 1 are zero.
        """
        kernel = BinomialKernel(self.book.dim, schedule)
        start = torch.zeros(schedule.T, self.book.dim, dtype=torch.float64)
        t = torch.arange(1, schedule.T + 1)
        entropy = self.entropy(kernel.evidence[t])
        information = entropy - kernel.marginal(start, t).entropy  # I(X_t; X_0)
        steps = self.step_costs(schedule)[2:] - (information[:-1] - information[1:])
        return {
            "edge": entropy[0] - self.book.entropy(),
            "end": self.book.dim * math.log(2) - entropy[-1],
            "steps": torch.cat([torch.zeros(2, dtype=torch.float64), steps]),
        }

    def ceiling(self, schedule: Schedule) -> float:
        """-H(X_1), nats: what the fixed edge step leaves to any reverse kernel whatever."""
        with torch.no_grad():
            return -float(self.entropy(BinomialKernel(1, schedule).evidence[1]))


def best_schedule(book: Codebook, T: int, beta_1: float = 1e-6, start: Schedule | None = None) -> Schedule:
    """The schedule of T steps with the largest ``best_bound``: exact gradients and L-BFGS, from the cosine schedule."""
    schedule = LearnedSchedule(cosine(T, beta_1, 1e3) if start is None else start)
    bound = BitBound(book)
    optimizer = torch.optim.LBFGS(schedule.parameters(), max_iter=400, history_size=30, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -bound.best_bound(schedule)
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    return schedule.requires_grad_(False)


class ForgottenBits(BitBound):
    """The same limits for bits as two tokens that are forgotten, ``categorical_kernel.uniform(2)``: it flips them."""

    @staticmethod
    def fits(kernel: Any) -> bool:
        """Whether these are limits of this kernel: two tokens, at rest each with probability 1/2."""
        return (
            isinstance(kernel, CategoricalKernel)
            and kernel.vocabulary == 2 == kernel.tokens
            and bool((kernel.jumps.rest == 0.5).all())
        )

    @staticmethod
    def reverse(book: Codebook, kernel: Any) -> Any:
        """The kernel that reaches them."""
        return ExactTokens(book, kernel)


class ExactReverse(BernoulliReverse):
    """The best reverse kernel of independent bits for a codebook: no network, and nothing to learn."""

    def __init__(self, book: Codebook, kernel: BinomialKernel) -> None:
        super().__init__(torch.nn.Identity(), kernel)
        self.book = book

    def start(self, xt: Tensor, t: int | Tensor, kernel: BinomialKernel) -> Bernoulli:
        """The exact law of each bit of x_0 given x_t, (..., d)."""
        return self.book.start(xt, kernel.evidence[t])


def _kl(logits: Tensor, other: Tensor) -> Tensor:
    """D_KL of single bits, elementwise."""
    return Bernoulli(logits.unsqueeze(-1)).kl(Bernoulli(other.unsqueeze(-1)))
