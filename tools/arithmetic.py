"""Arithmetic that plays another processor.

No machine has every processor, thread count and PyTorch. They differ in the last bit of sums, of products of
matrices and of functions such as exp; plus, times, divided by and the square root of two numbers are the same
everywhere, by IEEE 754. `start(seed)` moves each result of the first kind to a neighbour, by -2 to 1 times its last
bit, in PyTorch, NumPy, SciPy and `math`, and leaves the others alone. How far is a hash of the seed and the result:
like a real machine, this one gives the same answer to the same question. It also keeps what every machine keeps:
whole numbers (counts, and sums of them), and that a result lies between -1 and 1.

Not reached: `a @ b` and `a.sum()` of NumPy's arrays, what happens inside a library's function, and subprocesses.
A relative `amplitude` asks for more than the last bit: what a network in single precision gives is known to 1e-6.

What to start is read from the environment, in a notebook by `import arithmetic`, in tests by
`pytest -p arithmetic`: PORTABLE_JITTER="SEED" or "SEED AMPLITUDE", and PORTABLE_ONEDNN="off".
"""

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
import scipy.special
import torch
from torch.utils._python_dispatch import TorchDispatchMode

SUMS = "sum nansum mean var std var_mean std_mean prod norm logsumexp logcumsumexp cdist trace avg_pool2d"
PRODUCTS = "mm bmm mv dot vdot addmm addbmm baddbmm addmv addr convolution native_group_norm native_layer_norm"
FUSED = "addcmul addcdiv lerp"  # a + b c, rounded once or twice
FUNCTIONS = (
    "exp exp2 expm1 log log1p log2 log10 logaddexp logaddexp2 pow sin cos tan asin acos atan atan2 sinh cosh tanh "
    "sigmoid log_sigmoid_forward softplus silu gelu elu erf erfc erfinv lgamma digamma xlogy log_softmax softmax"
)
DRAWS = "normal randn randn_like log_normal exponential standard_gamma dirichlet"  # by a logarithm, a cosine, ...
TORCH = frozenset(f"{SUMS} {PRODUCTS} {FUSED} {FUNCTIONS} {DRAWS}".split())

MATH = "exp expm1 exp2 log log1p log2 log10 pow sin cos tan asin acos atan atan2 sinh cosh tanh erf erfc lgamma"
NUMPY = (
    "exp expm1 exp2 log log1p log2 log10 logaddexp power sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh "
    "sum mean var std prod dot matmul einsum inner tensordot trapezoid convolve average cov corrcoef"
)
LINEAR = "cholesky cond det eig eigh eigvals eigvalsh expm inv lstsq matrix_power norm pinv qr slogdet solve svd"

BITS = {np.dtype(np.float64): np.int64, np.dtype(np.float32): np.int32}
ODD = {np.int64: np.int64(0x1E3779B97F4A7C15), np.int32: np.int32(0x1E3779B1)}


def jitter(x: np.ndarray, seed: int, amplitude: float = 0.0, terms: float = 1) -> None:
    """Moves each entry of x by k last bits. `terms` > 1: x is a mean of so many, and stays where the sum is whole."""
    bits = x.view(BITS[x.dtype])
    size = bits.itemsize * 8
    k = np.array(bits & np.iinfo(bits.dtype).max)  # the sign away: f(-x) = -f(x) holds everywhere
    k ^= seed
    k *= ODD[bits.dtype.type]
    k >>= size - 2  # -2, -1, 0, 1
    total = x if terms == 1 else x * terms
    whole = total == np.trunc(total) if terms == 1 else np.abs(total - np.round(total)) <= np.abs(np.spacing(total))
    k *= ~whole  # so do 0 and infinity
    step = round(amplitude / float(np.finfo(x.dtype).eps))
    if step <= 1:
        bits += k
        return
    within = np.abs(x) <= 1
    bits += k * step
    np.clip(x, -1, 1, out=x, where=within)


def may_differ(name: str, args: Any = (), kwargs: Any = None) -> bool:
    """Whether another machine may give this operation of PyTorch another last bit."""
    if name.removesuffix("_") in ("add", "sub"):
        return (kwargs or {}).get("alpha", 1) != 1  # may be fused
    name = name.removeprefix("_").removesuffix("_").removesuffix("_backward")
    if name == "pow" and len(args) > 1 and not isinstance(args[1], torch.Tensor):
        return args[1] not in (-1, 0.5, 1, 2, 3)  # products, a quotient, a square root
    return name in TORCH or name.startswith(("special_", "linalg_", "scaled_dot_product_"))


class TorchJitter(TorchDispatchMode):
    """Jitters the results of PyTorch's operations while it is entered."""

    def __init__(self, seed: int, amplitude: float = 0.0) -> None:
        super().__init__()
        self.seed, self.amplitude = seed, amplitude

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if may_differ(name, args, kwargs):
            terms = args[0].numel() / max(result.numel(), 1) if name in ("sum", "mean") else math.inf
            for x in result if isinstance(result, tuple | list) else (result,):
                if terms > 2:  # a sum of two numbers is the same everywhere
                    self._jitter(x, terms if name == "mean" else 1)
        return result

    def _jitter(self, x: Any, terms: float) -> None:
        if type(x) is torch.Tensor and x.is_complex():
            x = torch.view_as_real(x.resolve_conj())
        if type(x) is not torch.Tensor or x.dtype not in (torch.float32, torch.float64):
            return
        if x.device.type == "cpu" and x.layout == torch.strided:
            jitter(x.numpy(), self.seed, self.amplitude, terms)


class Wrapped:
    """A function whose results are jittered, once; what else it has, such as a ufunc's methods, it keeps."""

    within = False

    def __init__(self, function: Callable, seed: int, amplitude: float = 0.0) -> None:
        self.__wrapped__, self.seed, self.amplitude = function, seed, amplitude
        self.__name__, self.__doc__ = getattr(function, "__name__", ""), function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if Wrapped.within:
            return self.__wrapped__(*args, **kwargs)
        Wrapped.within = True
        try:
            result = self.__wrapped__(*args, **kwargs)
            return result if kwargs.get("out") is not None else self._jitter(result)
        finally:
            Wrapped.within = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def _jitter(self, x: Any) -> Any:
        if isinstance(x, tuple):
            parts = [self._jitter(part) for part in x]
            return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
        if not (type(x) is np.ndarray and x.dtype in BITS) and not isinstance(x, float | np.float32):
            return x
        moved = np.array(x)
        jitter(moved, self.seed, self.amplitude)
        return float(moved) if type(x) is float else moved if type(x) is np.ndarray else moved[()]


def start(seed: int, amplitude: float = 0.0) -> None:
    """From here to the end of the process; call it before what is to be jittered is imported."""
    special = [name for name in dir(scipy.special) if isinstance(getattr(scipy.special, name), np.ufunc)]
    for module, names in (
        (math, MATH.split()),
        (scipy.special, [*special, "logsumexp", "softmax", "log_softmax"]),
        (scipy.sparse.linalg, ["expm_multiply", "spsolve"]),
        (scipy.linalg, LINEAR.split()),
        (np.linalg, LINEAR.split()),
        (np, NUMPY.split()),
    ):
        for name in names:
            if hasattr(module, name):
                setattr(module, name, Wrapped(getattr(module, name), seed, amplitude))
    TorchJitter(seed, amplitude).__enter__()


if os.environ.get("PORTABLE_ONEDNN") == "off":
    torch.backends.mkldnn.set_flags(False)
if "PORTABLE_JITTER" in os.environ:
    start(*(kind(word) for kind, word in zip((int, float), os.environ["PORTABLE_JITTER"].split(), strict=False)))
