"""Figures of posteriors: a likelihood painted on the roll, a multiplied chain on a line, digits with a strip gone."""

import base64
import math
from typing import Any

import numpy as np
import torch
import traitlets

from dpm_lib.core import checks
from dpm_lib.diffusion import schedules
from dpm_lib.diffusion.twists import ExactModel
from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, checked, picture, png, quiet
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.products_of_laws import Tilt, blend_of, gaussian_tilt, times
from dpm_lib.probability.swiss_roll import SwissRoll

SHEET = style("figure.css", "posteriors.css")


def string_of_beads(k: int = 64, std: float = 0.1) -> Mixture:
    """The swiss roll as ``k`` Gaussians of this ``std``, at even distances along the curve: the data of ``Painted``."""
    first, last = SwissRoll.FIRST, SwissRoll.LAST
    share = (torch.arange(k, dtype=torch.float64) + 0.5) / k
    phi = (first**2 + (last**2 - first**2) * share).sqrt()
    weights = (1 / phi) / (1 / phi).sum()  # the roll is even in phi, its arc length grows as phi^2
    return Mixture(SwissRoll(0.25).curve(phi), weights, std**2)


def painted(dabs: object, width: float, floor: float = 0.01) -> Tilt:
    """r(x) = floor + sum_j exp(-|x - dab_j|^2 / 2 width^2): what the brush paints. ``dabs`` (J, 2), or ValueError."""
    centres = torch.as_tensor(checked("dabs", dabs, ("J", 2)))
    scale = torch.log(torch.tensor(2 * math.pi * width**2, dtype=torch.float64))
    tilt = gaussian_tilt(centres, width)
    return Tilt(tilt.c + scale, tilt.b, tilt.a).plus(floor)


def even_model(target: Mixture, T: int, total: float = 8.0) -> ExactModel:
    """The exact model of ``target`` with T equal steps beta = total / T: the chain of ``BiasOnALine``."""
    beta = torch.full((T + 1,), total / T, dtype=torch.float64)
    beta[0] = 0
    return ExactModel(target, schedules.from_beta(beta))


class PaintedPosterior(Figure):
    """A likelihood to paint on a roll of Gaussians; four multiplied chains beside the exact posterior, in the page.

    T: steps of the chains at first, one of 10, 20, 40, 80
    n: draws of each, 50 to 2000
    Raises ``ValueError`` for others.
    """

    _esm = script("paint.js")
    _css = SHEET
    centres: traitlets.List = traitlets.List().tag(sync=True)
    weights: traitlets.List = traitlets.List().tag(sync=True)
    variance = traitlets.Float().tag(sync=True)
    T = traitlets.Int().tag(sync=True)
    n = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        T: int = 40,
        n: int = 400,
        *,
        label: str = "Four ways to draw from the roll times a painted likelihood",
        caption: str = "",
    ) -> None:
        T, n = checks.one_of("T", T, (10, 20, 40, 80)), checks.count("n", n, 50, 2000)
        roll = string_of_beads()
        centres = [[round(v, 5) for v in row] for row in roll.centers.tolist()]
        weights = [float(f"{v:.8g}") for v in roll.weights.tolist()]
        super().__init__(
            label=label, caption=caption, centres=centres, weights=weights, variance=roll.variance, T=T, n=n
        )

    def poster(self) -> bytes:
        figure = picture(6.4, 2.8)
        left, right = figure.subplots(1, 2)
        dabs = np.array([[-0.6, 1.1], [0.9, -0.5]])
        roll = string_of_beads()
        exact, _ = times(blend_of(roll), painted(dabs, 0.3))
        generator = torch.Generator().manual_seed(0)
        left.scatter(*roll.sample(1500, generator).T, s=2, color=PALETTE["data"])
        left.scatter(*dabs.T, s=600, color=PALETTE["drift"], alpha=0.3)
        right.scatter(*exact.expand(600).sample(generator).T, s=2, color=PALETTE["limit"])
        for axes, title in ((left, "the roll and a likelihood"), (right, "draws of the exact posterior")):
            axes.set(xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), aspect="equal", xticks=[], yticks=[], title=title)
            quiet(axes)
        return png(figure)


class BiasOnALine(Figure):
    """The density that a multiplied chain makes, for chosen T, data, twist and r; its distance from the exact one."""

    _esm = script("bias.js")
    _css = SHEET

    def __init__(self, *, label: str = "A bias that more steps do not cure", caption: str = "") -> None:
        super().__init__(label=label, caption=caption)

    def poster(self) -> bytes:
        figure = picture(6.4, 2.6)
        axes = figure.subplots()
        x = torch.linspace(-4, 4, 161, dtype=torch.float64)
        normal = Mixture(torch.zeros(1, 1), torch.ones(1), 1.0)
        r = gaussian_tilt(torch.ones(1), math.sqrt(0.5))
        exact, _ = times(blend_of(normal), r)
        double, _ = times(exact, r)
        axes.plot(x, exact.log_prob(x.unsqueeze(1)).exp(), color=PALETTE["limit"], label="p r")
        axes.plot(x, double.log_prob(x.unsqueeze(1)).exp(), color=PALETTE["model"], linestyle="--", label="p r²")
        axes.legend(frameon=False, labelcolor="#808791")
        quiet(axes)
        return png(figure)


class DigitStrip(Figure):
    """Digits with four of their columns missing, and precomputed draws of what may have been there.

    record: ``shape`` (digits, places, draws, 64), ``truth`` (digits, 64) levels 0..16, ``draws`` {method: base64 bytes}
    Raises ``ValueError`` where they do not fit together.
    """

    _esm = script("strip.js")
    _css = SHEET
    shape: traitlets.List = traitlets.List().tag(sync=True)
    truth: traitlets.List = traitlets.List().tag(sync=True)
    methods: traitlets.List = traitlets.List().tag(sync=True)
    draws = traitlets.Bytes(help="uint8 (methods, digits, places, draws, 64)").tag(sync=True)

    def __init__(
        self, record: dict[str, Any], *, label: str = "Digits with a missing strip, filled in", caption: str = ""
    ) -> None:
        shape = [int(v) for v in record["shape"]]
        draws = {name: base64.b64decode(text) for name, text in record["draws"].items()}
        if len(shape) != 4 or shape[1] != 5 or shape[3] != 64 or not draws:
            raise ValueError(f"record: shape {shape}: need (digits, 5, draws, 64), and draws of a method")
        for name, content in draws.items():
            if len(content) != math.prod(shape) or max(content) > 16:
                given = f"{len(content)} bytes up to {max(content)}"
                raise ValueError(f"record: draws of {name!r}: {given}: need {math.prod(shape)} up to 16")
        truth = checked("truth", record["truth"], (shape[0], 64)).astype(int).tolist()
        everything = b"".join(draws.values())
        super().__init__(label=label, caption=caption, shape=shape, truth=truth, methods=list(draws), draws=everything)

    def poster(self) -> bytes:
        figure = picture(6.4, 1.6)
        one = np.frombuffer(self.draws, np.uint8)[-math.prod(self.shape) :].reshape(self.shape)
        shown = [np.array(self.truth[0]), *one[0, 0, :5]]
        for k, (axes, pixels) in enumerate(zip(figure.subplots(1, 6), shown, strict=True)):
            axes.imshow(pixels.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
            axes.set(xticks=[], yticks=[], title="truth" if k == 0 else "")
            quiet(axes)
        return png(figure)
