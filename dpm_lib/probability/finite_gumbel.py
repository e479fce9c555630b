"""Categorical draws by Gumbel noise whose uniforms have few bits: the exact law of the argmax.

argmax_i (log p_i - log E_i), E_i = -log U_i, is a draw from p if U is uniform. Uniforms of b bits, 24 in float32, lie
on a grid: U = 1 - j 2^-b, j = 1..2^b. So E is never below 2^-b, and a token with p_i < 2^-b hardly ever wins.
"""

import numpy as np

from dpm_lib.core import check_laws, checks
from dpm_lib.core.types import Array

FAR = 42.0  # races last as long as exp(-42) of them do
CHUNK = 1 << 16


def kept(p: Array, bits: int = 24) -> Array:
    """The share x / (e^x - 1), x = 2^-bits / p, of a small chance p (...) that is left, elementwise (eq-mk-planck).

    For a race against one outcome whose chance is nearly 1, as that to stay masked. Raises ValueError for p <= 0.
    """
    p = np.asarray(p, dtype=np.float64)
    if not (p > 0).all():
        raise ValueError(f"p: {p.min():g}: need positive chances")
    x = 2.0 ** -checks.count("bits", bits) / p
    return x * np.exp(-x) / -np.expm1(-x)


def argmax_law(p: Array, counts: Array | None = None, bits: int = 24) -> Array:
    """The law of the argmax over groups of outcomes that are alike, (g,): a group of ``counts`` (g,), each with p (g,).

    The most probable group gets what the others leave, and ties between groups go to the first. Exact up to 16 bits;
    from there on a race is cut where all but 2^-bits of them are over, and costs about 42 p 2^bits sums for each group
    but the largest. ValueError unless counts times p is a law.
    """
    p = np.asarray(p, dtype=np.float64)
    m = np.ones(len(p)) if counts is None else np.asarray(counts, dtype=np.float64)
    shares = check_laws.laws("p", m * p)
    cell = 2.0 ** -checks.count("bits", bits)
    rest, law = int(shares.argmax()), np.zeros(len(p))
    for g in set(np.flatnonzero(shares > 0)) - {rest}:
        last = int(min(1 / cell, max(CHUNK, -np.expm1(-FAR * p[g]) / cell)))
        for start in range(0, last, CHUNK):
            j = np.arange(start, min(start + CHUNK, last)) + 1
            with np.errstate(divide="ignore"):
                race = -np.log1p(-np.minimum(j * cell, 1)) / p[g]  # when this group's first would arrive
                won = (1 - (j - 1) * cell) ** m[g] - (1 - np.minimum(j * cell, 1)) ** m[g]
                for k in range(len(p)):
                    if k != g and p[k] > 0:
                        passed = -np.expm1(-race * p[k]) / cell
                        near = 1e-13 / cell  # rounding must not decide a tie
                        whole = np.where(abs(passed - passed.round()) < near, passed.round(), np.floor(passed))
                        whole = np.where(np.isfinite(race), np.minimum(whole, 1 / cell - 1), whole)
                        tie = (abs(passed - whole) < near) & (k > g)
                        won = won * np.maximum(1 - (whole - tie) * cell, 0) ** m[k]
            law[g] += won.sum()
    law[rest] = 1 - law.sum()
    return law
