"""Checks at the boundary: numbers, shapes, states and times, log densities. Those of laws are in ``check_laws``.

Each returns what it checked, or raises ValueError: ``name: value: need ...``, or ``name: need ..., got ...`` where the
value is long. What comes as a list or a NumPy array is taken, and becomes a float64 tensor or array.
"""

import math
import operator
from collections.abc import Sequence, Sized
from numbers import Integral
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

LARGEST_DENSE = 4000  # rows of a sparse matrix that is made a full one: 128 MB at this size
Choice = TypeVar("Choice")
Held = TypeVar("Held", bound=Sized)
ROUNDINGS = 16  # in single precision, a row of a softmax is off by a few


def float64(name: str, value: Any) -> tuple[NDArray[np.float64], float]:
    """``value``, of any shape, as a new float64 array, and by how much a sum of its numbers may be off.

    That is 1e-10, or 16 roundings of the precision it came in if that is more: 2e-6 for float32. Takes lists, arrays,
    tensors, and sparse matrices of up to 4000 rows. ValueError for what holds no real numbers, and for half precision,
    in which no sum says whether the numbers are probabilities.
    """
    if sparse.issparse(value):
        if max(value.shape) > LARGEST_DENSE:
            raise ValueError(f"{name}: a sparse matrix of shape {value.shape}: need at most {LARGEST_DENSE} rows here")
        value = value.toarray()
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.float() if (half := value.dtype in (torch.float16, torch.bfloat16)) else value
    else:
        half = getattr(value, "dtype", None) == np.float16
    try:
        given = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: need numbers in rows of one length: {error}") from None
    if half or np.iscomplexobj(given):
        raise ValueError(f"{name}: {'half precision' if half else 'complex numbers'}: need float32 or float64")
    try:
        numbers = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: need real numbers: {error}") from None
    return numbers, ROUNDINGS * float(np.finfo(np.float32).eps) if given.dtype == np.float32 else 1e-10


def tensor(name: str, value: Any, device: Any = None) -> Tensor:
    """A tensor of any shape as it is, if it holds real floats; whole numbers, lists and arrays as a float64 tensor.

    ValueError for what ``float64`` refuses.
    """
    if isinstance(value, Tensor) and value.is_floating_point():
        return value
    device = value.device if isinstance(value, Tensor) else device
    return torch.as_tensor(float64(name, value)[0], device=device)


def points(x: Any, dim: int, name: str = "x") -> Tensor:
    """Points (..., dim) as a tensor. ValueError for another width."""
    return checked_width(name, tensor(name, x), dim)


def count(name: str, value: Any, least: int = 1, most: float = math.inf) -> int:
    """A whole number, of whatever type, as an int. ValueError below ``least``, above ``most``, and for 2.5 or "3"."""
    try:
        whole = operator.index(value)
    except TypeError:
        raise ValueError(f"{name}: {value!r}: need a whole number") from None
    if whole < least:
        raise ValueError(f"{name}: {whole}: need at least {least}")
    if whole > most:
        raise ValueError(f"{name}: {whole}: need at most {most}")
    return whole


def one_of(name: str, value: Any, choices: Sequence[Choice]) -> Choice:
    """The choice that ``value`` is. ValueError for what is none of them."""
    if value not in choices:
        raise ValueError(f"{name}: {value!r}: need one of {', '.join(map(repr, choices))}")
    return choices[choices.index(value)]


def some(name: str, value: Held) -> Held:
    """What holds something, itself. ValueError for what is empty."""
    if not len(value):
        raise ValueError(f"{name}: need at least one, got none")
    return value


def positive(name: str, value: float) -> float:
    """The number. ValueError unless it is positive and finite."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name}: {value}: need a positive, finite number")
    return float(value)


def between(name: str, value: float, low: float, high: float = math.inf) -> float:
    """The number. ValueError unless it is finite, and from ``low`` to ``high``, ends included."""
    if not (low <= value <= high and math.isfinite(value)):
        least = "" if math.isinf(low) else f", at least {low:g}"
        most = "" if math.isinf(high) else f", at most {high:g}"
        raise ValueError(f"{name}: {value}: need a finite number{least}{most}")
    return float(value)


def inside(name: str, value: float, low: float, high: float) -> float:
    """The number. ValueError unless it lies between ``low`` and ``high``, and is neither."""
    if not low < value < high:
        raise ValueError(f"{name}: {value}: need a number in ({low:g}, {high:g}), without its ends")
    return float(value)


def walk_step(name: str, step: Any) -> None:
    """ValueError unless a random walk can step so: positive numbers, or Cholesky factors (..., d, d), all finite.

    A factor may have a 0 on its diagonal: that of a cloud has, where the cloud is of no width.
    """
    sizes = torch.as_tensor(step)
    factor = sizes.ndim > 1
    widths = sizes.diagonal(dim1=-2, dim2=-1) if factor else sizes
    if not (torch.isfinite(sizes).all() and (widths >= 0).all() and (factor or (widths > 0).all())):
        shown = f"a factor with the diagonal {widths.tolist()}" if factor else sizes.tolist()
        raise ValueError(f"{name}: {shown}: need positive, finite numbers")


def finite(name: str, value: Tensor, t: Tensor | float | None = None) -> Tensor:
    """``value``, of any shape, itself. ValueError for NaN or infinity, with its index and the time ``t``, if any."""
    good = torch.isfinite(value)
    if not good.all():
        where = tuple((~good).nonzero()[0].tolist())
        when = "" if t is None else f", time {float(t):g}"
        raise ValueError(f"{name}: {value[where].item()} at index {where}{when}: need finite numbers")
    return value


def shaped(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """What a function answered, of any shape, itself. ValueError for another one: it would broadcast without a word."""
    if tuple(value.shape) != tuple(shape):
        raise ValueError(f"{name}: answers with shape {tuple(value.shape)}: need {tuple(shape)}")
    return value


def rows(name: str, value: Any, device: Any = None) -> Tensor:
    """A table (n, d) as a tensor, in its own precision. ValueError for another shape, and for no rows or columns."""
    value = tensor(name, value, device)
    if value.ndim != 2 or 0 in value.shape:
        raise ValueError(f"{name}: need shape (n, d), at least one row and column, got {tuple(value.shape)}")
    return value


def checked_states(x0: Any, name: str = "x0") -> Tensor:
    """States (n, d), a tensor or nested lists, as float64. ValueError for another shape, no states, or not finite."""
    return finite(name, rows(name, x0).to(torch.float64))


def log_density(name: str, value: Any, x: Tensor, where: str = "") -> Tensor:
    """What a log density answered at x (n, d), as a tensor (n,). ValueError for another shape, NaN or +infinity.

    The message has the point, and ``where`` in a run it was met. Minus infinity, a density of 0, is fine.
    """
    value = tensor(name, value, x.device)
    if value.shape != x.shape[:-1]:
        raise ValueError(f"{name}: answers with shape {tuple(value.shape)}: need {tuple(x.shape[:-1])}, one per point")
    bad = ~(value < torch.inf)  # NaN is not < infinity
    if bad.any():
        i = int(bad.nonzero()[0])
        raise ValueError(f"{name}: {value[i].item()} at point {i}{where and ', '}{where}, x = {coordinates(x[i])}")
    return value


def coordinates(x: Tensor) -> list[float]:
    """A point (d,) for a message: at most five coordinates, six digits each."""
    return [float(f"{v:.6g}") for v in x[:5].tolist()]


def checked_times(times: Tensor, like: Tensor | None = None) -> Tensor:
    """Times (m,) as float64, where ``like`` is. ValueError unless there are two or more that all rise, or all fall."""
    checked = torch.as_tensor(times, dtype=torch.float64, device=None if like is None else like.device)
    if checked.ndim != 1 or len(checked) < 2:
        raise ValueError(f"times: need at least two, in one row, got shape {tuple(checked.shape)}")
    steps = checked.diff()
    wrong = ~((steps * steps[0] > 0) & torch.isfinite(steps))
    if wrong.any():
        k = int(wrong.nonzero()[0])
        raise ValueError(f"times: need all to rise or all to fall, got {checked[k]:g}, {checked[k + 1]:g} at {k}")
    return checked


def checked_step(t: int | Tensor, T: int, first: int = 1) -> int | Tensor:
    """``t`` itself: an int, or an integer tensor of any shape. ValueError unless all of it is in ``first``..``T``.

    What lies on a GPU, or is being compiled, is taken as it is: to look at it would be to wait for it.
    """
    if isinstance(t, Tensor):
        if t.dtype.is_floating_point or t.dtype.is_complex or t.dtype == torch.bool:
            raise ValueError(f"t: steps are counted in integers, got {t.dtype}")
        if t.device.type != "cpu" or torch.compiler.is_compiling():
            return t
        if not t.numel():
            return t
        low, high = t.aminmax()
        if first <= int(low) and int(high) <= T:
            return t
        shown = int(t[(t < first) | (t > T)].reshape(-1)[0])
    elif isinstance(t, Integral):
        if first <= t <= T:
            return t
        shown = int(t)
    else:
        raise ValueError(f"t: {t!r}: steps are counted in integers")
    raise ValueError(f"t: {shown}: need {first} <= t <= T = {T}; steps back run from t = T down to 1")


def checked_width(name: str, x: Tensor, dim: int) -> Tensor:
    """``x`` (..., dim) itself. ValueError for another width: broadcasting would make other numbers of it, silently."""
    if x.ndim < 1 or x.shape[-1] != dim:
        raise ValueError(f"{name}: need shape (..., {dim}), one number per dimension, got {tuple(x.shape)}")
    return x
