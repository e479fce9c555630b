"""Every order of unmasking at once: the bound of a masked model, enumerated.

A model is its table ``conditionals`` (S+1,)*d + (d, S), as ``StringLaw.conditionals`` makes it: the law of each hidden
token for each masked string, where S is the mask. What a model says of tokens that are shown is not asked for.
"""

import math
from itertools import combinations, permutations

import torch
from torch import Tensor

from dpm_lib.core import check_laws
from dpm_lib.probability.strings import StringLaw

LARGEST = 7  # tokens: 5040 orders


def bound(conditionals: Tensor) -> Tensor:
    """The bound on log p(x) of each string, (S,)*d, nats: minus the integral of masked cross-entropies (eq-mk-bound).

    A set A that is shown at the rate u, and a token i outside, have the weight u^|A| (1-u)^(d-1-|A|), whose integral
    is |A|! (d-1-|A|)! / d!. ValueError for a table of another shape, or of no laws.
    """
    terms, d = _terms(conditionals)
    weight = [math.factorial(k) * math.factorial(d - 1 - k) / math.factorial(d) for k in range(d)]
    parts = [weight[len(shown)] * term for (shown, _), term in terms.items()]
    return torch.stack(torch.broadcast_tensors(*parts)).sum(0)


def by_orders(conditionals: Tensor) -> Tensor:
    """log p of each string when its tokens come in each of the d! orders, (d!,) + (S,)*d, nats.

    ValueError for a table of another shape, of no laws, or of more than 7 tokens.
    """
    terms, d = _terms(conditionals)
    if d > LARGEST:
        raise ValueError(f"conditionals: {d} tokens: need at most {LARGEST}, {math.factorial(LARGEST)} orders")
    whole = [
        torch.broadcast_tensors(*(terms[frozenset(order[:k]), order[k]] for k in range(d)))
        for order in permutations(range(d))
    ]
    return torch.stack([torch.stack(parts).sum(0) for parts in whole])


def one_at_a_time(conditionals: Tensor) -> Tensor:
    """The law of what is drawn token by token, in an order drawn at random, (S,)*d (eq-mk-mixture).

    ValueError as for ``by_orders``.
    """
    return by_orders(conditionals).exp().mean(0)


def cross_entropies(law: StringLaw, conditionals: Tensor) -> Tensor:
    """The mean of E[-log p(x_i | x_A)] over sets A of k tokens and i outside, k = 0..d-1, (d,), nats.

    For the law's own conditionals these are the increments of its mean entropies. ValueError as for ``bound``.
    """
    terms, d = _terms(conditionals)
    total = torch.zeros(d, dtype=torch.float64)
    for (shown, _), term in terms.items():
        cost = torch.where(law.joint > 0, -law.joint * term, 0.0)
        total[len(shown)] += cost.sum() / (math.comb(d - 1, len(shown)) * d)
    return total


def _terms(conditionals: Tensor) -> tuple[dict[tuple[frozenset[int], int], Tensor], int]:
    """log p(x_i | x_A) for each (A, i), over axes that broadcast to (S,)*d; and d."""
    d = conditionals.ndim - 2
    S = conditionals.shape[-1]
    if d < 1 or tuple(conditionals.shape) != (S + 1,) * d + (d, S):
        raise ValueError(f"conditionals: shape {tuple(conditionals.shape)}: need (S+1,)*d + (d, S)")
    log_p = torch.from_numpy(check_laws.laws("conditionals", conditionals)).log()
    terms = {}
    for size in range(d):
        for shown in combinations(range(d), size):
            at = log_p[tuple(slice(0, S) if i in shown else slice(S, S + 1) for i in range(d))]
            for i in set(range(d)) - set(shown):
                terms[frozenset(shown), i] = at[..., i, :].transpose(i, -1).squeeze(-1)
    return terms, d
