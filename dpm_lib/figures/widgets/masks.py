"""Figures of the chapter on masks and jumps: a string there and back, tokens at once, entropy as an area."""

import math
from collections.abc import Mapping
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import traitlets
from matplotlib.patches import Circle

from dpm_lib.core import checks
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, checked, picture, png, quiet

SHEET = style("figure.css", "chains.css", "masks.css")
KERNELS = ("mask", "uniform")
ORDERS = ("random", "confidence")
LAWS = ("sixteen words", "a heartbeat", "even parity", "sticky bits")
WORDS = "CALM CARD CLAM COAL COLD CORD DOOR DRAW LOAD ROAD ROOM WARD WARM WOOD WORD WORM".split()
MOST = 256  # strings in a law


@cache
def small_laws() -> dict[str, tuple[np.ndarray, str]]:
    """Laws of short strings: for each name a joint table (S,)*d and its S letters.

    Sixteen words of eight letters, equally likely; a heartbeat of period 4 in 8 bits; 6 bits whose sum is even; 6 bits
    of a chain that stays with probability 0.9.
    """
    letters = "".join(sorted(set("".join(WORDS))))
    words = np.zeros((len(letters),) * 4)
    for word in WORDS:
        words[tuple(letters.index(letter) for letter in word)] = 1 / len(WORDS)
    beats = np.zeros((2,) * 8)
    for phase in range(4):
        beats[tuple(int(i % 4 == phase) for i in range(8))] = 1 / 4
    bits = np.indices((2,) * 6)
    parity = (1 - bits.sum(0) % 2) / 2**5
    stays = (bits[1:] == bits[:-1]).sum(0)
    sticky = 0.5 * 0.9**stays * 0.1 ** (5 - stays)
    return dict(zip(LAWS, ((words, letters), (beats, "01"), (parity, "01"), (sticky, "01")), strict=True))


def checked_law(name: str, joint: Any, letters: str) -> np.ndarray:
    """``joint`` as a table (S,)*d of chances of strings over S ``letters``; ValueError that names what is wrong."""
    S = len(letters)
    if S < 2 or len(set(letters)) != S:
        raise ValueError(f"{name}: letters {letters!r}: need two or more, all different")
    table, off = checks.float64(name, joint)
    if not 2 <= table.ndim <= 8:
        raise ValueError(f"{name}: {table.ndim} tokens: need 2 to 8")
    table = checked(name, table, (S,) * table.ndim)
    if (table < 0).any() or abs(table.sum() - 1) > off:
        raise ValueError(f"{name}: sum {table.sum():g}: need probabilities, none below 0, with sum 1")
    if (count := np.count_nonzero(table)) > MOST:
        raise ValueError(f"{name}: {count} strings: need at most {MOST} that have a probability")
    return table


def packed(name: str, joint: Any, letters: str) -> dict[str, Any]:
    """A law (S,)*d as a figure takes it: strings that have a probability, and their chances. ValueError as above."""
    table = checked_law(name, joint, letters)
    at = np.argwhere(table > 0)
    strings = ["".join(letters[i] for i in row) for row in at]
    return {"letters": letters, "strings": strings, "chances": table[table > 0].tolist()}


class LawFigure(Figure):
    """What the figures of laws of strings share.

    laws: {name: (joint table (S,)*d, its S letters)}; ``small_laws()`` by default
    law:  the name of the one shown at first; the first by default
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _css = SHEET
    laws = traitlets.Dict(help="letters, strings and chances by name").tag(sync=True)
    law = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        laws: Mapping[str, tuple[Any, str]] | None = None,
        law: str | None = None,
        *,
        label: str,
        caption: str = "",
        **more: Any,
    ) -> None:
        given = small_laws() if laws is None else laws
        if not given:
            raise ValueError("laws: need at least one, got none")
        kept = {name: packed(f"laws, {name}", joint, letters) for name, (joint, letters) in given.items()}
        law = checks.one_of("law", law if law is not None else next(iter(kept)), tuple(kept))
        super().__init__(label=label, caption=caption, laws=kept, law=law, **more)

    def table(self) -> np.ndarray:
        """The law shown at first, as a joint table (S,)*d."""
        shown = self.laws[self.law]
        table = np.zeros((len(shown["letters"]),) * len(shown["strings"][0]))
        for string, chance in zip(shown["strings"], shown["chances"], strict=True):
            table[tuple(shown["letters"].index(letter) for letter in string)] = chance
        return table


class MaskedString(LawFigure):
    """A string that jumps to noise and back: a clock for each token, and exact reversed rates.

    kernel: "mask" (a token becomes [MASK]) or "uniform" (it is drawn anew), at first
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("maskedstring.js")
    kernel = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        laws: Mapping[str, tuple[Any, str]] | None = None,
        law: str | None = None,
        kernel: str = "mask",
        *,
        label: str = "A string that masks and unmasks, with a clock for each token",
        caption: str = "",
    ) -> None:
        super().__init__(laws, law, label=label, caption=caption, kernel=checks.one_of("kernel", kernel, KERNELS))

    def poster(self) -> bytes:
        """A still picture, PNG."""
        figure = picture(6.4, 1.3)
        axes = figure.subplots()
        first, last = self.laws[self.law]["strings"][0], self.laws[self.law]["strings"][-1]
        d = len(first)
        for step, seen in enumerate((d, d // 2, 0, d // 2, d)):
            ink, string = (PALETTE["model"], last) if step > 2 else (PALETTE["data"], first)
            for i, letter in enumerate(string):
                is_seen = (3 * i + 1) % d < seen  # in an order that jumps about
                at = (step * (d + 1) + i, 0)
                axes.add_patch(Circle(at, 0.42, fill=False, edgecolor=ink if is_seen else INK, linewidth=2))
                axes.text(*at, letter if is_seen else "", color=ink, ha="center", va="center", fontsize=48 / d)
        axes.set(xlim=(-0.8, 5 * d + 3.8), ylim=(-1, 1), aspect="equal", frame_on=False, xticks=[], yticks=[])
        axes.set_xlabel("each token is masked when its clock rings, and unmasked by the reversed rates")
        quiet(axes)
        return png(figure)


class ParallelDecoding(LawFigure):
    """Tokens drawn k at once: the law of strings beside the one that comes out, and the bits lost.

    k:     tokens at once at first, 1 to 8; all of them where a law has fewer
    order: "random" or "confidence", at first
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("paralleldecoding.js")
    k = traitlets.Int().tag(sync=True)
    order = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        laws: Mapping[str, tuple[Any, str]] | None = None,
        law: str | None = None,
        k: int = 2,
        order: str = "random",
        *,
        label: str = "Tokens drawn several at once, and what it costs",
        caption: str = "",
    ) -> None:
        k, order = checks.count("k", k, 1, 8), checks.one_of("order", order, ORDERS)
        super().__init__(laws, law, label=label, caption=caption, k=k, order=order)

    def poster(self) -> bytes:
        """A still picture, PNG."""
        table = self.table()
        stairs = staircase(table)
        d = len(stairs)
        figure = picture(6.4, 2.4)
        axes = figure.subplots()
        for start in range(0, d, self.k):
            here = stairs[start : start + self.k]
            axes.bar(start, here.mean(), len(here), align="edge", color=PALETTE["data"], alpha=0.5, edgecolor=INK)
            lost = here[0] - here.mean()
            axes.bar(start, lost, len(here), here.mean(), align="edge", color=PALETTE["model"], edgecolor=INK)
        axes.stairs(stairs, np.arange(d + 1), color=INK, linestyle="--")
        axes.set(
            xlabel=f"tokens drawn before; {self.k} at once", ylabel="bits a token: needed, lost", xticks=range(d + 1)
        )
        quiet(axes)
        return png(figure)


class MaskedEntropy(LawFigure):
    """The masked cross-entropy against the share of tokens that is seen: the area below is the entropy.

    u: the share seen at first, 0 to 1
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("maskedentropy.js")
    u = traitlets.Float().tag(sync=True)

    def __init__(
        self,
        laws: Mapping[str, tuple[Any, str]] | None = None,
        law: str | None = None,
        u: float = 0.5,
        *,
        label: str = "The area under the masked cross-entropy is the entropy",
        caption: str = "",
    ) -> None:
        super().__init__(laws, law, label=label, caption=caption, u=checks.between("u", u, 0, 1))

    def poster(self) -> bytes:
        """A still picture, PNG."""
        stairs = staircase(self.table())
        d, u = len(stairs), np.linspace(0, 1, 61)
        curve = d * sum(height * math.comb(d - 1, m) * u**m * (1 - u) ** (d - 1 - m) for m, height in enumerate(stairs))
        figure = picture(6.4, 2.4)
        left, right = figure.subplots(1, 2)
        left.plot(u, curve, color=PALETTE["data"])
        left.fill_between(u[u <= self.u], curve[u <= self.u], color=PALETTE["data"], alpha=0.4)
        left.set(xlabel="share seen u", ylabel="masked cross-entropy, bits", ylim=(0, None))
        right.stairs(stairs, np.arange(d + 1), color=PALETTE["data"], fill=True, alpha=0.4)
        right.stairs(stairs, np.arange(d + 1), color=PALETTE["data"])
        right.set(xlabel="tokens seen", ylabel="bits of one more token", xticks=range(d + 1))
        for axes in (left, right):
            quiet(axes)
        return png(figure)


def staircase(table: np.ndarray) -> np.ndarray:
    """The mean entropy (d,), in bits, of one more token of a law (S,)*d when m others are seen, m = 0..d-1."""
    d = table.ndim
    sums = np.zeros(d + 1)
    for size in range(d + 1):
        sets = list(combinations(range(d), size))
        for seen in sets:
            p = table.sum(tuple(i for i in range(d) if i not in seen))
            sums[size] -= (p[p > 0] * np.log2(p[p > 0])).sum() / len(sets)
    return np.diff(sums)
