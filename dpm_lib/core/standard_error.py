"""The standard error of a mean, which goes beside every estimate in the book."""

import math

from torch import Tensor


def stderr(values: Tensor) -> float:
    """Standard error of the mean of independent values (n,)."""
    return float(values.std()) / math.sqrt(len(values))
