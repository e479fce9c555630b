"""Three hierarchical VAEs over the same data, four coupled bits: an autoregressive model, a VAE and a diffusion.

Each generator writes what a rung forgot by the exact law of every bit given the rung above, bits apart; then each bit
written is replaced by a fair throw with probability ``error``. The priors are right. So with one rung the
autoregressive model and the diffusion are the same: all four bits at once. The figure of the chapter is a twin of this
module in JavaScript.
"""

from itertools import pairwise

import numpy as np

from dpm_lib.core.types import Array
from dpm_lib.exact.enumeration import flip_kernel, ising, product_of_bits, states
from dpm_lib.vae.hierarchical import FiniteVAE, reversal

BITS = 4
KINDS = ("autoregressive", "vae", "diffusion")
CODES = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]])  # what a code of two bits stands for
SHARPNESS = 1.5  # of the VAE's encoder, nats for each bit that differs
MOST_RUNGS = 4


def four_bits(kind: str, rungs: int, error: float = 0.0, coupling: float = 0.8, field: float = 0.3) -> FiniteVAE:
    """The VAE of this ``kind`` with 1 to 4 rungs; ValueError for another kind, number, or an error outside [0, 1].

    **autoregressive**: rung l keeps the first ceil(4 (N - l) / N) bits. **vae**: rung 1 says which of four codewords y
    is near, with probability prop. to exp(-1.5 bits that differ); each later rung throws both bits of that code anew
    with probability 1/2. **diffusion**: every bit is thrown anew with probability 1 / (N - l + 1).
    """
    if kind not in KINDS or not 1 <= rungs <= MOST_RUNGS or not 0 <= error <= 1:
        raise ValueError(f"kind, rungs, error: {kind!r}, {rungs}, {error}: need one of {KINDS}, 1..4 and 0 to 1")
    data = ising(BITS, coupling, field)
    encoder = {"autoregressive": _prefixes, "vae": _codes, "diffusion": _flips}[kind](rungs)
    exact = reversal(data, encoder)
    generator = [_apart(back, kind == "autoregressive", error) for back in exact.generator]
    return FiniteVAE(data, exact.prior, encoder, generator)


def _prefixes(rungs: int) -> list[Array]:
    kept = [BITS, *(-(-BITS * (rungs - rung) // rungs) for rung in range(1, rungs + 1))]
    tables = []
    for a, b in pairwise(kept):
        tables.append(np.eye(2**b)[np.arange(2**a) >> (a - b)])
    return tables


def _codes(rungs: int) -> list[Array]:
    apart = np.abs(states(BITS)[:, None] - CODES).sum(-1)
    first = np.exp(-SHARPNESS * apart)
    return [first / first.sum(1, keepdims=True), *[flip_kernel(2, 0.5)] * (rungs - 1)]


def _flips(rungs: int) -> list[Array]:
    return [flip_kernel(BITS, 1 / (rungs - rung + 1)) for rung in range(1, rungs + 1)]


def _apart(back: Array, prefix: bool, error: float) -> Array:
    """The rows of ``back`` with the bits that they write made independent, and blurred.

    With ``prefix`` the row's own bits, the first of the string, are copied, and only the others are written.
    """
    if not prefix:
        return _blurred(product_of_bits(back), error)
    above, below = back.shape
    out = np.zeros_like(back)
    for row in range(above):
        mine = slice(row * below // above, (row + 1) * below // above)
        out[row, mine] = _blurred(product_of_bits(back[row : row + 1, mine]), error)[0]
    return out


def _blurred(laws: Array, error: float) -> Array:
    bits = int(np.log2(laws.shape[1]))
    return np.asarray(laws @ flip_kernel(bits, error)) if error > 0 else laws
