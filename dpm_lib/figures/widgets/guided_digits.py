"""Digits of a class at each strength of guidance, precomputed, beside what is gained and lost by it."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import traitlets

from dpm_lib.core import checks
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, checked, picture, png, quiet

RECORD = ("rows", "pictures", "real", "each")
CURVES = ("agreement", "spread")


class GuidedDigits(Figure):
    """Digits drawn for a class, from the same noise at each w, a classifier's agreement, and the spread that is left.

    record: guidance-digits.json: its ``pictures`` (w, class, n, side, side), 255 for white, and its ``rows`` of the way
            "whole", one for each w
    w:      the strength at first, one that the record has
    digit:  the class at first
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("guided_digits.js")
    _css = style("figure.css", "images.css", "guided_digits.css")
    pictures = traitlets.Bytes(help="uint8: w after w, class after class, digit after digit").tag(sync=True)
    shape = traitlets.List(traitlets.Int()).tag(sync=True)
    rows = traitlets.List(traitlets.Dict(), help="w, agreement, spread, by_class").tag(sync=True)
    real = traitlets.Float(help="the classifier's agreement on real digits").tag(sync=True)
    each = traitlets.Int().tag(sync=True)
    w = traitlets.Float().tag(sync=True)
    digit = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        record: Mapping[str, Any],
        w: float = 1.0,
        digit: int = 3,
        *,
        label: str = "Digits of a class, and what guidance makes of them",
        caption: str = "",
    ) -> None:
        if missing := [key for key in RECORD if key not in record]:
            raise ValueError(f"record: has no {missing[0]!r}: need one with {', '.join(RECORD)}")
        shape = [checks.count("record: shape", size) for size in record["pictures"]["shape"]]
        pictures = base64.b64decode(record["pictures"]["uint8"])
        if len(shape) != 5 or shape[3] != shape[4] or len(pictures) != np.prod(shape):
            need = f"need shape (w, class, n, side, side), {shape}"
            raise ValueError(f"record: {len(pictures)} bytes of pictures: {need}")
        rows = [row for row in record["rows"] if row["way"] == "whole"]
        scales = checked("record: w", [row["w"] for row in rows], (shape[0],)).tolist()
        for name in CURVES:
            checked(f"record: {name}", [[row[name]["mean"], row[name]["stderr"]] for row in rows], (shape[0], 2))
        checked("record: by_class", [row["by_class"] for row in rows], tuple(shape[:2]))
        checks.count("digit", digit, 0, shape[1] - 1)
        kept = [{key: row[key] for key in ("w", "by_class", *CURVES)} for row in rows]
        super().__init__(
            label=label,
            caption=caption,
            pictures=pictures,
            shape=shape,
            rows=kept,
            real=checks.between("real", record["real"]["agreement"]["mean"], 0, 1),
            each=checks.count("each", record["each"]),
            w=checks.one_of("w", float(w), scales),
            digit=digit,
        )

    def poster(self) -> bytes:
        figure = picture(6.4, 2.6)
        sheets, chart = figure.subplots(1, 2)
        scales = [row["w"] for row in self.rows]
        shown = np.frombuffer(self.pictures, "u1").reshape(self.shape)[scales.index(self.w), self.digit]
        sheets.imshow(tiled(shown), cmap="gray", vmin=0, vmax=255)
        sheets.set(title=f"a {self.digit}, w = {self.w:g}", xticks=[], yticks=[])
        for name, ink in zip(CURVES, ("data", "model"), strict=True):
            chart.plot(scales, [row[name]["mean"] for row in self.rows], color=PALETTE[ink], label=name)
        chart.axvline(self.w, color=INK, linewidth=1)
        chart.legend(frameon=False, labelcolor=INK, fontsize=8)
        chart.set(xlabel="w", ylim=(0, None))
        for axes in (sheets, chart):
            quiet(axes)
        return png(figure)


def tiled(pictures: np.ndarray, columns: int = 4) -> np.ndarray:
    """n square pictures (n, s, s) in rows of ``columns``, with one dark pixel between: as the figure lays them out."""
    n, side, _ = pictures.shape
    out = np.zeros((-(-n // columns) * (side + 1) - 1, columns * (side + 1) - 1), pictures.dtype)
    for k, one in enumerate(pictures):
        row, column = divmod(k, columns)
        out[row * (side + 1) :, column * (side + 1) :][:side, :side] = one
    return out
