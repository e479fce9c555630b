"""What training takes: time, price and memory of each recipe, for GPUs of the reader's choice."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from dpm_lib.core import checks
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, picture, png, quiet
from dpm_lib.training.costs import BACKWARD

COUNTED = ("flop_per_row", "state_bytes", "bytes_per_row", "batch", "steps")


class TrainingCost(Figure):
    """A row for each recipe: hours at least, price, and bytes on each GPU, as the reader sets speed, number and price.

    recipes: {name: {"flop_per_row", "state_bytes", "bytes_per_row", "batch", "steps"}}, as ``costs.count`` finds them
    groups:  {words: names of recipes} to choose from, the first at the start; all recipes by default
    Raises ``ValueError`` that names the recipe and what is missing or not positive.
    """

    _esm = script("trainingcost.js")
    _css = style("figure.css", "images.css")
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    groups = traitlets.List(traitlets.Tuple(), help="[words, names] in their order").tag(sync=True)
    start = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        recipes: Mapping[str, Mapping[str, Any]],
        groups: Mapping[str, Sequence[str]] | None = None,
        *,
        tflops: float = 50.0,
        gpus: int = 1,
        rate: float = 2.0,
        label: str = "What training takes",
        caption: str = "",
    ) -> None:
        for name, cost in recipes.items():
            for key in COUNTED:
                checks.positive(f"recipes[{name!r}]['{key}']", cost.get(key, math.nan))
        groups = {"all": list(recipes)} if groups is None else groups
        for words, names in checks.some("groups", groups).items():
            for name in checks.some(f"groups[{words!r}]", names):
                checks.one_of(f"groups[{words!r}]", name, list(recipes))
        tflops, rate = checks.between("tflops", tflops, 0.01, 1000), checks.between("rate", rate, 0, 10)
        rows = [
            {
                "name": name, "flop": (1 + BACKWARD) * cost["flop_per_row"], "state": cost["state_bytes"],
                "kept": cost["bytes_per_row"], "batch": cost["batch"], "steps": cost["steps"],
            }
            for name, cost in recipes.items()
        ]  # fmt: skip
        start = {"tflops": tflops, "gpus": checks.one_of("gpus", gpus, (1, 2, 4, 8)), "rate": rate}
        groups_list = [(words, list(names)) for words, names in groups.items()]
        super().__init__(label=label, caption=caption, rows=rows, groups=groups_list, start=start)

    def poster(self) -> bytes:
        rows = [row for row in self.rows if row["name"] in self.groups[0][1]][::-1]
        speed = self.start["tflops"] * self.start["gpus"] * 1e12
        hours = np.array([row["flop"] * row["batch"] * row["steps"] / speed / 3600 for row in rows])
        figure = picture(6.4, 0.8 + 0.26 * len(rows))
        axes = figure.subplots()
        axes.barh([row["name"] for row in rows], hours, color=PALETTE["model"], log=True)
        for at, value in enumerate(hours):
            axes.text(value, at, f" {value:.2g}", va="center", color=INK, size=8)
        axes.set(xlabel=f"hours, at least, at {self.start['tflops']:g} TFLOP/s")
        quiet(axes)
        return png(figure)
