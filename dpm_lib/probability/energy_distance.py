"""The energy distance between two laws, estimated from samples without bias.

    D(p, q) = 2 E|X - Y| - E|X - X'| - E|Y - Y'|,    X, X' ~ p and Y, Y' ~ q, all independent.

It is not negative, and zero only for p = q (Szekely and Rizzo 2013); it has the unit of |x|. It asks for no likelihood,
so it can judge a sampler that has none.
"""

import torch
from torch import Tensor

from dpm_lib.core.checks import checked_states
from dpm_lib.core.standard_error import stderr


def estimate(x: Tensor, y: Tensor, blocks: int = 10) -> tuple[float, float]:
    """An unbiased estimate of D from x (n, d) and y (n, d), and its standard error.

    The rows are cut into ``blocks``, each estimates D by its own pairs (a U-statistic), and they are independent. So
    for p = q the estimate is often negative. ValueError where the shapes differ, a value is not finite,
    or the blocks would hold fewer than two rows.
    """
    x, y = (torch.as_tensor(values, dtype=torch.float64) for values in (x, y))
    if x.ndim != 2 or x.shape != y.shape:
        raise ValueError(f"x, y: need the same shape (n, d), got {tuple(x.shape)} and {tuple(y.shape)}")
    if blocks < 2 or len(x) < 2 * blocks:
        raise ValueError(f"blocks: {blocks} for {len(x)} rows: need at least 2 blocks of at least 2 rows")
    for name, values in (("x", x), ("y", y)):
        if not torch.isfinite(values).all():
            raise ValueError(f"{name}: not finite at row {int((~torch.isfinite(values)).any(1).nonzero()[0])}")
    size = len(x) // blocks
    parts = zip(x.split(size)[:blocks], y.split(size)[:blocks], strict=True)
    found = torch.stack([2 * torch.cdist(a, b).mean() - _apart(a) - _apart(b) for a, b in parts])
    return float(found.mean()), stderr(found)


def _apart(x: Tensor) -> Tensor:
    """The mean distance of two different rows."""
    return torch.pdist(x).mean()


def of_all_pairs(x: Tensor, y: Tensor) -> tuple[float, float]:
    """The unbiased estimate of D from all pairs of x (n, d) and y (m, d), and its standard error, by the jackknife.

    For few rows: where p is near q its noise falls as 1 / n, and that of ``estimate`` as one over a block's size. Takes
    memory for all distances. ValueError where the widths differ, a value is not finite, or there are fewer than 3 rows.
    """
    x, y = checked_states(x, "x"), checked_states(y, "y")
    if x.shape[1] != y.shape[1] or min(len(x), len(y)) < 3:
        raise ValueError(f"x, y: need rows of one width, 3 at least, got {tuple(x.shape)} and {tuple(y.shape)}")
    between, n, m = torch.cdist(x, y), len(x), len(y)
    whole = 2 * between.mean() - _apart(x) - _apart(y)
    variance = torch.zeros(())
    for own, other, rows, size, others in ((x, y, between.sum(1), n, m), (y, x, between.sum(0), m, n)):
        within = torch.cdist(own, own).sum(1)  # without one row: the sums without what it is part of
        left_out = 2 * (between.sum() - rows) / ((size - 1) * others) - _apart(other)
        left_out = left_out - (within.sum() - 2 * within) / ((size - 1) * (size - 2))
        variance = variance + (size - 1) * left_out.var(correction=0)
    return float(whole), float(variance.sqrt())
