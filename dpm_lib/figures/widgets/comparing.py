"""Figures on measuring: the order in which two things are timed, and this library beside others."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from dpm_lib.core import checks
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, picture, png, quiet
from dpm_lib.probability import comparisons

SHEET = style("figure.css", "comparing.css")
MACHINES = ("slowing", "wandering", "interrupted", "calm")


class TakingTurns(Figure):
    """Two things timed on a machine that drifts, in three orders: what a thousand experiments make of their ratio.

    machine: "slowing", "wandering", "interrupted" or "calm", at first
    runs:    of each of the two, a power of 2 up to 32
    ratio:   the true one, .7 to 1.4
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("turns.js")
    _css = SHEET
    machine = traitlets.Unicode().tag(sync=True)
    runs = traitlets.Int().tag(sync=True)
    ratio = traitlets.Float().tag(sync=True)

    def __init__(
        self,
        machine: str = "wandering",
        runs: int = 8,
        ratio: float = 0.9,
        *,
        label: str = "Two things timed in three orders",
        caption: str = "",
    ) -> None:
        super().__init__(
            label=label,
            caption=caption,
            machine=checks.one_of("machine", machine, MACHINES),
            runs=checks.one_of("runs", runs, (1, 2, 4, 8, 16, 32)),
            ratio=checks.between("ratio", ratio, 0.7, 1.4),
        )

    def poster(self) -> bytes:
        """A still picture, PNG: the error of each order over the number of runs, on a machine that wanders."""
        figure = picture(6.4, 2.4)
        axes = figure.subplots()
        levels = np.arange(1, 7)
        orders = {
            "in blocks": (lambda level: comparisons.blocks(2 ** (level - 1)), "model"),
            "in turns": (lambda level: comparisons.turns(2 ** (level - 1)), "data"),
            "in mirrored turns": (comparisons.thue_morse, "limit"),
        }
        for name, (order, ink) in orders.items():
            deviations = [math.sqrt(comparisons.walk_variance(order(int(level)))) for level in levels]
            axes.plot(2.0 ** (levels - 1), deviations, color=PALETTE[ink], label=name)
        axes.set(xscale="log", xlabel="runs of each", ylabel="error, in steps of the walk")
        axes.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"], minor=False)
        axes.legend(frameon=False, labelcolor=INK, fontsize=8)
        quiet(axes)
        return png(figure)


class BesideOthers(Figure):
    """Ratios of our cost or error to another library's, with intervals, on one logarithmic axis.

    rows: one mapping each, {"topic", "name", "what", "ratio", "low", "high", "words"}: what was compared with whom, of
          what the ratio is ("error", "time"), its interval, and a sentence on how
    Raises ``ValueError`` that names the row and what is missing, not positive or out of order.
    """

    _esm = script("beside.js")
    _css = SHEET
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        label: str = "This library beside others",
        caption: str = "",
    ) -> None:
        kept = []
        for k, row in enumerate(checks.some("rows", rows)):
            words = {key: str(row[key]) if key in row else "" for key in ("topic", "name", "what", "words")}
            for key, text in words.items():
                if not text:
                    raise ValueError(f"rows[{k}]['{key}']: missing: need words")
            numbers = {
                key: checks.positive(f"rows[{k}]['{key}']", row.get(key, math.nan)) for key in ("ratio", "low", "high")
            }
            if not numbers["low"] <= numbers["ratio"] <= numbers["high"]:
                raise ValueError(f"rows[{k}]: {numbers}: need low <= ratio <= high")
            kept.append(words | numbers)
        super().__init__(label=label, caption=caption, rows=kept)

    def poster(self) -> bytes:
        """A still picture, PNG."""
        rows = self.rows[::-1]
        figure = picture(6.4, 0.7 + 0.26 * len(rows))
        axes = figure.subplots()
        for at, row in enumerate(rows):
            ink = PALETTE["data"] if row["high"] < 1 else PALETTE["model"] if row["low"] > 1 else INK
            axes.plot([row["low"], row["high"]], [at, at], color=ink, linewidth=2)
            axes.plot(row["ratio"], at, "o", color=ink, markersize=5)
        axes.axvline(1.0, color=INK, linewidth=0.8)
        axes.set(xscale="log", xlabel="ours / theirs")
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
        quiet(axes)
        return png(figure)
