"""Entropy from erased strings: the area under the curve of what masked tokens still hide.

Show each of d tokens with probability u, independently, and let A be the set that is shown. All here follows from the
mean entropies ``h`` (d+1,) of the sets of k tokens, h_0 = 0, in nats, as ``StringLaw.mean_entropies`` gives them.
"""

import math

import torch
from torch import Tensor

from dpm_lib.core import checks


def increments(h: Tensor) -> Tensor:
    """h_{k+1} - h_k, the mean of H(x_i | x_A) over sets A of k tokens and i outside, (d,), nats. They never rise (Han).

    ValueError unless ``h`` is (d+1,) with h_0 = 0.
    """
    h = checks.finite("h", torch.as_tensor(h, dtype=torch.float64))
    if h.ndim != 1 or len(h) < 2 or abs(float(h[0])) > 1e-9:
        raise ValueError(f"h: need mean entropies of 0, 1, ..., d tokens, the first of them 0, got {h.tolist()}")
    return h.diff()


def revealed(h: Tensor, u: Tensor | float) -> Tensor:
    """H(x_A | A), the mean entropy of what is shown at the rate u (...), nats: a polynomial in u, from 0 to H(x)."""
    increments(h)
    return _bernstein(torch.as_tensor(h, dtype=torch.float64), u)


def masked_cross_entropy(h: Tensor, u: Tensor | float) -> Tensor:
    """E(u) = sum_i E[-log P(x_i | what is shown of the others at the rate u)], (...), nats: the slope of ``revealed``.

    Its area from 0 to 1 is H(x), by eq-mk-area.
    """
    steps = increments(h)
    return len(steps) * _bernstein(steps, u)


def pair_information(h: Tensor, u: Tensor | float) -> Tensor:
    """-E'(u), the sum over i != j of E I(x_i; x_j | what is shown of the others), (...), nats. 0 for one token."""
    drops = -increments(h).diff()
    d = len(drops) + 1
    return d * (d - 1) * _bernstein(drops, u) if d > 1 else torch.zeros_like(torch.as_tensor(u, dtype=torch.float64))


def coefficients(h: Tensor) -> Tensor:
    """E(u) = sum_n c_n u^n: the c_n (d,), nats. For short strings: with d > 30 their sum loses its digits."""
    steps = increments(h)
    d, c = len(steps), torch.zeros(len(steps), dtype=torch.float64)
    for k in range(d):  # u^k (1-u)^(d-1-k)
        for n in range(d - k):
            c[k + n] += d * steps[k] * math.comb(d - 1, k) * math.comb(d - 1 - k, n) * (-1) ** n
    return c


def _bernstein(values: Tensor, u: Tensor | float) -> Tensor:
    """sum_k values_k binom(n, k) u^k (1-u)^(n-k), n = len(values) - 1, (...). ValueError unless 0 <= u <= 1."""
    u = torch.as_tensor(u, dtype=torch.float64)
    if not bool(((u >= 0) & (u <= 1)).all()):
        raise ValueError(f"u: {u.reshape(-1)[:5].tolist()}: need shares from 0 to 1")
    n = len(values) - 1
    k = torch.arange(n + 1, dtype=torch.float64)
    choose = math.lgamma(n + 1) - (k + 1).lgamma() - (n - k + 1).lgamma()
    log_weight = choose + torch.xlogy(k, u.unsqueeze(-1)) + torch.xlogy(n - k, 1 - u.unsqueeze(-1))
    return log_weight.exp() @ values
