"""A text with gaps, and a small network that fills them in the page, several characters at each call."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import traitlets

from dpm_lib.core import checks
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, checked, picture, png, quiet

GAP = "_"
LONGEST = 160
TAPS = 5
ORDERS = ("random", "confidence", "left")
TEXT = (
    "the ent_opy of the n__se is the s_me at ev__y step, and the reverse ______ has to learn what is ____ of the data."
)


class TextUnmasking(Figure):
    """A text with gaps that the network fills while one looks, and what may stand in its surest gap.

    tensors:  of a ``networks.text_network.TextNetwork``, by name (its ``state_dict()``); they travel in half precision
    alphabet: the S characters, in the network's order
    text:     what stands there at first, "_" for each gap; at most 160 characters
    k:        characters drawn at each call at first, 1 to 16
    order:    "random", "confidence" or "left", at first
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("textunmasking.js")
    _css = style("figure.css", "chains.css", "masks.css")
    weights = traitlets.Bytes(help="float16: tensor after tensor").tag(sync=True)
    shapes = traitlets.List(traitlets.List(), help="name and shape of each tensor, in that order").tag(sync=True)
    alphabet = traitlets.Unicode().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    k = traitlets.Int().tag(sync=True)
    order = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        tensors: Mapping[str, Any],
        alphabet: str,
        text: str = TEXT,
        k: int = 1,
        order: str = "random",
        *,
        label: str = "A text with gaps, and a network that fills them",
        caption: str = "",
    ) -> None:
        S = len(alphabet)
        if S < 2 or len(set(alphabet)) != S or GAP in alphabet:
            raise ValueError(f"alphabet: {alphabet!r}: need two characters or more, all different, without {GAP!r}")
        if strange := sorted(set(text) - {*alphabet, GAP}):
            raise ValueError(f"text: {', '.join(map(repr, strange))}: need characters of the alphabet, or {GAP!r}")
        if not 0 < len(text) <= LONGEST:
            raise ValueError(f"text: {len(text)} characters: need 1 to {LONGEST}")
        kept = _checked_tensors(tensors, S)
        super().__init__(
            label=label,
            caption=caption,
            weights=b"".join(value.astype("<f2").tobytes() for value in kept.values()),
            shapes=[[name, list(value.shape)] for name, value in kept.items()],
            alphabet=alphabet,
            text=text,
            k=checks.count("k", k, 1, 16),
            order=checks.one_of("order", order, ORDERS),
        )

    def poster(self) -> bytes:
        figure = picture(6.4, 1.5)
        axes = figure.subplots()
        for row, words in enumerate(textwrap.wrap(self.text.replace("\n", " "), 56)):
            shown = "".join("\N{WHITE SQUARE}" if letter == GAP else letter for letter in words)
            axes.text(0, -row, shown, color=INK, family="monospace", fontsize=12, va="top")
            gaps = "".join("\N{BLACK SQUARE}" if letter == GAP else " " for letter in words)
            axes.text(0, -row, gaps, color=PALETTE["model"], family="monospace", fontsize=12, va="top", alpha=0.6)
        axes.set(xlim=(-0.02, 1), ylim=(-3.2, 0.4), xticks=[], yticks=[], frame_on=False)
        axes.set_xlabel("gaps in a text, for a small network to fill")
        quiet(axes)
        return png(figure)


def _checked_tensors(tensors: Mapping[str, Any], S: int) -> dict[str, np.ndarray]:
    """The tensors in the order in which they travel, with shapes that fit each other."""

    def one(name: str, *shape: int | str) -> np.ndarray:
        if name not in tensors:
            raise ValueError(f"tensors: no {name!r}: need those of a TextNetwork")
        return checked(f"tensors, {name}", tensors[name], shape)

    kept = {"letters": one("letters", S + 1, "width")}
    width = kept["letters"].shape[1]
    depth = sum(name.endswith(".look.weight") for name in tensors)
    checks.count("tensors: layers", depth)
    for i in range(depth):
        sizes: dict[str, tuple[int, ...]] = {
            "norm.weight": (width,),
            "norm.bias": (width,),
            "look.weight": (2 * width, TAPS * width),
            "look.bias": (2 * width,),
            "say.weight": (width, 2 * width),
            "say.bias": (width,),
        }
        kept |= {f"layers.{i}.{name}": one(f"layers.{i}.{name}", *shape) for name, shape in sizes.items()}
    last: dict[str, tuple[int, ...]] = {
        "norm.weight": (width,),
        "norm.bias": (width,),
        "out.weight": (S, width),
        "out.bias": (S,),
    }
    return kept | {name: one(name, *shape) for name, shape in last.items()}
