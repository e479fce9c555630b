"""The best bound K that any network can reach on a codebook under a mask, exactly.

A step from t to t-1 unmasks each masked token with the same probability, and the best law of independent tokens has
H(x_i | what is seen) for the cost of each. A token is unmasked in that step with probability alpha_bar_{t-1} -
alpha_bar_t, while of the others the share alpha_bar_t is seen. So with the masked cross-entropy E(u) of ``information.
erasure``, whose area from 0 to 1 is H(x_0),

    best K = -sum_{t=1}^T (alpha_bar_{t-1} - alpha_bar_t) E(alpha_bar_t) ,

a sum of rectangles that all stand above the curve. What it lacks of -H(x_0) is what the tokens unmasked in one step
tell of each other: ``parallel_decoding.loss_of_levels``.
"""

import math
from itertools import product
from typing import Any

import torch
from torch import Tensor

from dpm_lib.diffusion import parallel_decoding
from dpm_lib.diffusion.categorical_kernel import CategoricalKernel
from dpm_lib.diffusion.exact_tokens import ExactTokens
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.probability.codebooks import Codebook

MOST_GROUPS = 14  # of like columns: 2^14 sets of them


class MaskBound:
    """The best bound for a codebook under a mask: ``h`` (d+1,), the mean entropies of its sets of k tokens, nats.

    Columns that agree in every row tell the same: what a set of tokens says depends on which groups of like columns it
    touches. ValueError for more than 14 groups.
    """

    def __init__(self, book: Codebook) -> None:
        pattern, size = torch.unique(book.rows.T, dim=0, return_counts=True)
        if len(size) > MOST_GROUPS:
            raise ValueError(f"rows: {len(size)} groups of like columns: need {MOST_GROUPS} at most, for exact limits")
        d = book.dim
        total = torch.zeros(d + 1, dtype=torch.float64)
        for touched in product((False, True), repeat=len(size)):
            chosen = torch.tensor(touched)
            ways = torch.ones(1, dtype=torch.float64)  # coefficient k: sets of k tokens that touch just these groups
            for m in size[chosen].tolist():
                some = torch.tensor([0.0] + [math.comb(m, k) for k in range(1, m + 1)], dtype=torch.float64)
                ways = _times(ways, some)
            total[: len(ways)] += ways * _entropy(pattern[chosen].T, book.weights)
        self.h = total / torch.tensor([math.comb(d, k) for k in range(d + 1)], dtype=torch.float64)

    @staticmethod
    def fits(kernel: Any) -> bool:
        """Whether these are limits of this kernel: one that masks."""
        return isinstance(kernel, CategoricalKernel) and kernel.timeless

    @staticmethod
    def reverse(book: Codebook, kernel: CategoricalKernel) -> ExactTokens:
        """The kernel that reaches them."""
        return ExactTokens(book, kernel)

    @staticmethod
    def countable(book: Codebook) -> bool:
        """Whether the codebook has few enough groups of like columns for exact limits."""
        return len(torch.unique(book.rows.T, dim=0)) <= MOST_GROUPS

    def best_bound(self, schedule: Schedule) -> Tensor:
        """The largest K over all reverse kernels of independent tokens, a scalar, nats.

        ValueError for a schedule that does not end at 0.
        """
        loss = parallel_decoding.loss_of_levels(self.h, schedule.alpha_bar.detach().flip(0))
        return -self.h[-1] - loss

    def ceiling(self, schedule: Schedule) -> float:
        """-H(x_0), nats: the last step is learned, and takes nothing away, whatever the schedule."""
        return -float(self.h[-1])


def _times(a: Tensor, b: Tensor) -> Tensor:
    """The product of two polynomials, coefficients (n,) and (m,): (n+m-1,)."""
    found = torch.zeros(len(a) + len(b) - 1, dtype=torch.float64)
    for k, value in enumerate(b.tolist()):
        found[k : k + len(a)] += value * a
    return found


def _entropy(seen: Tensor, weights: Tensor) -> float:
    """H of rows ``seen`` (k, groups), nats, with ``weights`` (k,)."""
    _, which = (
        torch.unique(seen, dim=0, return_inverse=True) if seen.shape[1] else (None, torch.zeros(len(seen)).long())
    )
    p = torch.zeros(len(seen), dtype=torch.float64).index_add_(0, which, weights)
    return -float(torch.xlogy(p, p).sum())
