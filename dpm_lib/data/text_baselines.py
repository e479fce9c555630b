"""What simpler models make of the same text: counted on the training part, chosen on validation, measured held out.

An n-gram model of characters with modified Kneser-Ney smoothing (Chen and Goodman 1999), and lossless coders.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpm_lib.core.checks import count
from dpm_lib.data.text import Text

ORDERS = range(2, 10)
MOST_STATES = 2**62  # codes of strings are int64


@dataclass(frozen=True)
class _Order:
    """Strings of one length with their counts, by code, and for each beginning (all but the last) what it has."""

    codes: NDArray[np.int64]
    counts: NDArray[np.int64]
    contexts: NDArray[np.int64]
    totals: NDArray[np.float64]
    kept_back: NDArray[np.float64]  # the share of each context that its discounts take, for the shorter context
    discounts: NDArray[np.float64]  # by count, 0 to 3 and more


class KneserNey:
    """An n-gram model of characters: interpolated Kneser-Ney with three discounts for each order, from its counts.

    The longest order counts strings, the shorter ones count in how many ways a string is continued to the left; the
    shortest falls back on all characters alike. ``order`` is n, so that n - 1 characters are seen. Before the
    beginning of a text stand line ends, which are the first of the alphabet. ValueError for an order whose strings
    have too many codes, and for an empty text.
    """

    def __init__(self, parts: Sequence[Tensor], characters: int, order: int) -> None:
        self.characters, self.order = count("characters", characters, 2), count("order", order)
        if self.characters**self.order > MOST_STATES:
            raise ValueError(f"order: {order}: {characters}^{order} strings: need at most 2^62")
        if not sum(len(part) for part in parts):
            raise ValueError("parts: need a text, got none")
        codes = np.concatenate([self._codes(part, self.order) for part in parts])
        found, counts = np.unique(codes, return_counts=True)
        self.orders = [self._one(found, counts)]
        for length in range(self.order - 1, 0, -1):
            found, counts = np.unique(found % self.characters**length, return_counts=True)
            self.orders.append(self._one(found, counts))
        self.orders.reverse()

    def log2_prob(self, part: Tensor) -> Tensor:
        """log2 p of each character given those before it, (characters,) for a text (characters,), float64, bits."""
        return torch.from_numpy(np.log2(self.prob(self._codes(part, self.order), self.order)))

    def prob(self, codes: NDArray[np.int64], length: int) -> NDArray[np.float64]:
        """p of the last of ``length`` characters given those before it; strings by their codes (m,), float64 (m,)."""
        p = np.full(len(codes), 1 / self.characters)
        for n, order in enumerate(self.orders[:length], 1):
            ends = codes % self.characters**n
            context, known = places(order.contexts, ends // self.characters)
            at, seen = places(order.codes, ends)
            counts = np.where(seen, order.counts[at], 0)
            own = (counts - order.discounts[np.minimum(counts, 3)]) / order.totals[context]
            p = np.where(known, own + order.kept_back[context] * p, p)
        return p

    def _codes(self, part: Tensor, length: int) -> NDArray[np.int64]:
        """The string that ends at each place, as one number, (characters,)."""
        padded = np.concatenate([np.zeros(length - 1, dtype=np.int64), part.numpy().astype(np.int64)])
        codes = np.zeros(len(part), dtype=np.int64)
        for back in range(length):
            codes = codes * self.characters + padded[back : back + len(part)]
        return codes

    def _one(self, codes: NDArray[np.int64], counts: NDArray[np.int64]) -> _Order:
        contexts, which = np.unique(codes // self.characters, return_inverse=True)
        totals = np.bincount(which, weights=counts).astype(np.float64)
        discounts = _discounts(counts)
        taken = np.bincount(which, weights=discounts[np.minimum(counts, 3)])
        return _Order(codes, counts, contexts, totals, taken / totals, discounts)


def _discounts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Chen and Goodman's D_0 = 0, D_1, D_2 and D_3+, from how many strings occur once, twice, three and four times."""
    n = np.maximum(np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(float), 1.0)
    y = n[0] / (n[0] + 2 * n[1])
    d = np.array([0.0, *(k - (k + 1) * y * n[k] / n[k - 1] for k in (1, 2, 3))])
    return np.clip(d, 0.05 * np.arange(4) / 3, [0.0, 0.95, 1.95, 2.95])


def places(known: NDArray[np.int64], codes: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each code (m,) stands among the ``known`` (k,), which are sorted, and whether it does, (m,) each."""
    at = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return at, known[at] == codes


def n_gram(data: Text) -> tuple[KneserNey, int]:
    """The Kneser-Ney model of the training text whose order is the best of ORDERS on validation, and the order."""
    orders = [n for n in ORDERS if data.characters**n <= MOST_STATES]
    models = [KneserNey(data.train, data.characters, n) for n in orders]
    costs = [float(torch.cat([model.log2_prob(part) for part in data.validation]).mean()) for model in models]
    best = int(np.argmax(costs))
    return models[best], orders[best]


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": lambda content: zlib.compress(content, 9),
    "bz2": lambda content: bz2.compress(content, 9),
    "xz": lambda content: lzma.compress(content, preset=6 | lzma.PRESET_EXTREME),  # it looks back 8 MiB
}


def coded(data: Text, coder: Callable[[bytes], bytes], after_training: bool = True) -> float:
    """Bits per character that a lossless ``coder`` spends on the held-out text, in one file with the training text.

    That is the length of both less that of the training text alone; without ``after_training``, of the held-out text
    by itself. A coder goes on learning while it reads, as a fixed model does not.
    """
    held_out = "".join(data.decode(part) for part in data.test).encode()
    before = "".join(data.decode(part) for part in data.train).encode() if after_training else b""
    spent = len(coder(before + held_out)) - (len(coder(before)) if before else 0)
    return 8 * spent / sum(len(part) for part in data.test)
