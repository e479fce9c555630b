"""The figures of the chapter on Markovian VAEs: the ladder over four bits, and four models in training."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from dpm_lib.core import checks
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import (
    Figure,
    as_array,
    checked,
    fixed_point,
    fixed_point_scale,
    picture,
    png,
    quiet,
)
from dpm_lib.vae import four_bits

SHEET = style("figure.css", "bound.css", "vae.css")


class Rungs(Figure):
    """A string on its way from data to noise, and what each rung costs: computed in the page, on four bits.

    ``kind``, ``rungs``, ``error`` and ``coupling`` are those of ``four_bits.four_bits``, which raises ValueError
    for bad ones.
    """

    _esm = script("rungs.js")
    _css = SHEET
    settings = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        kind: str = "autoregressive",
        rungs: int = 2,
        error: float = 0.0,
        coupling: float = 0.8,
        *,
        label: str = "A ladder over four bits",
        caption: str = "",
    ) -> None:
        four_bits.four_bits(kind, rungs, error, coupling)
        settings = {"kind": kind, "rungs": rungs, "error": error, "coupling": coupling, "field": 0.3}
        super().__init__(label=label, caption=caption, settings=settings)

    def poster(self) -> bytes:
        ladder = four_bits.four_bits(**self.settings)
        losses = np.array(list(ladder.losses().values())) / math.log(2)
        costs = -np.array(list(ladder.terms().values())) / math.log(2)
        names = [*(f"rung {rung}" for rung in range(1, ladder.N + 1)), "prior"]
        figure = picture(6.4, 2.8)
        axes = figure.subplots()
        axes.bar(names, costs - losses, color=PALETTE["data"], width=0.5)
        axes.bar(names, losses, bottom=costs - losses, color=PALETTE["model"], width=0.5)
        axes.set(ylabel="bits", title="blue: forgotten by the rung; orange: lost on the way back")
        quiet(axes)
        return png(figure)


class Contest(Figure):
    """Samples of several models while they are trained, for several seeds, with one number that judges them.

    ``frames`` {model: (seeds, F, n, 2)}; ``scores`` {model: (seeds, F)}; ``shares`` (F,) of the budget; ``floor`` is
    the standard error of the score of fresh data; ``target`` (m, 2) is fresh data. Raises ValueError for other shapes.
    """

    _esm = script("contest.js")
    _css = SHEET
    points = traitlets.Bytes().tag(sync=True)
    about = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        frames: Mapping[str, object],
        scores: Mapping[str, object],
        shares: Sequence[float],
        floor: float,
        target: object,
        *,
        label: str = "Models in training",
        caption: str = "",
    ) -> None:
        if not frames or set(frames) != set(scores):
            raise ValueError(f"frames, scores: need the same models, got {list(frames)} and {list(scores)}")
        first = as_array(next(iter(frames.values()))).shape
        shape = (*first[:1], len(shares), *first[2:3], 2)
        clouds = np.stack([checked(f"frames[{name!r}]", values, shape) for name, values in frames.items()])
        marks = [checked(f"scores[{name!r}]", scores[name], shape[:2]).tolist() for name in frames]
        data = checked("target", target, ("m", 2))
        clouds = np.clip(clouds, -4, 4)
        scale = fixed_point_scale(clouds, data)
        about = {
            "names": list(frames), "seeds": shape[0], "n": shape[2], "shares": [float(s) for s in shares],
            "scores": marks, "floor": checks.positive("floor", floor), "scale": scale, "target": len(data),
        }  # fmt: skip
        points = fixed_point(data, scale) + fixed_point(clouds, scale)
        super().__init__(label=label, caption=caption, points=points, about=about)
        self._last = clouds[:, 0, -1]

    def poster(self) -> bytes:
        figure = picture(6.4, 1.9)
        for axes, name, cloud in zip(figure.subplots(1, len(self._last)), self.about["names"], self._last, strict=True):
            axes.scatter(*cloud.T, s=1.5, color=PALETTE["model"])
            axes.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), xticks=[], yticks=[], aspect="equal")
            axes.set_title(name, color=INK, size=9)
            axes.patch.set_alpha(0.0)
        return png(figure)
