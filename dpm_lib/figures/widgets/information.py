"""Figures of information and estimation: the area under the I-MMSE curve, and where along log t each nat lives."""

from collections.abc import Sequence

import numpy as np
import torch
import traitlets

from dpm_lib.core import checks
from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, checked, picture, png, quiet
from dpm_lib.information.mmse import mmse
from dpm_lib.probability.mixtures import Mixture, finite_set

SHEET = style("figure.css", "information.css")
DATA = ("two points", "five points", "three clumps", "a Gaussian", "the heartbeat's five strings")  # as in area.js


class InformationArea(Figure):
    """The density of information over log t, its area beyond t0, and the entropy that is left; all live.

    data: one of ``DATA``, at first
    t0:   noise at first, 1e-3 to 1e3
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("area.js")
    _css = SHEET
    data = traitlets.Unicode().tag(sync=True)
    t0 = traitlets.Float().tag(sync=True)

    def __init__(
        self,
        data: str = "two points",
        t0: float = 0.5,
        *,
        label: str = "The information in noisy data as an area, and the entropy that is left",
        caption: str = "",
    ) -> None:
        data, t0 = checks.one_of("data", data, DATA), checks.between("t0", t0, 1e-3, 1e3)
        super().__init__(label=label, caption=caption, data=data, t0=t0)

    def poster(self) -> bytes:
        two = finite_set(torch.tensor([[-1.0], [1.0]]))
        t = np.geomspace(1e-2, 1e3, 121)
        density = np.array([mmse(two, level) / (2 * level) for level in t])
        figure = picture(6.4, 2.6)
        axes = figure.subplots()
        axes.semilogx(t, density, color=PALETTE["data"])
        axes.fill_between(t[t >= self.t0], density[t >= self.t0], color=PALETTE["data"], alpha=0.3)
        axes.axvline(self.t0, color=PALETTE["limit"])
        axes.set(xlabel="noise t", ylabel="nats per unit of log t")
        quiet(axes)
        return png(figure)


class InformationScales(Figure):
    """Eight points in pairs of pairs of pairs, and along log t the information on each of the three choices; live.

    spacings: three distances, 0.02 to 100: between the halves, the pairs, and the points, at first
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("scales.js")
    _css = SHEET
    spacings = traitlets.List(traitlets.Float()).tag(sync=True)

    def __init__(
        self,
        spacings: Sequence[float] = (30.0, 4.0, 0.6),
        *,
        label: str = "Where along log t the information on three nested choices lives",
        caption: str = "",
    ) -> None:
        gaps = [checks.between("spacings", gap, 0.02, 100) for gap in checked("spacings", spacings, (3,)).tolist()]
        super().__init__(label=label, caption=caption, spacings=gaps)

    def poster(self) -> bytes:
        t = np.geomspace(1e-4, 1e4, 81)
        below = np.zeros_like(t)
        figure = picture(6.4, 2.6)
        axes = figure.subplots()
        for k, ink in reversed(list(enumerate(("data", "model", "drift", "limit")))):
            errors = np.array([mmse(nested(self.spacings[k:]), level, 0.25) for level in t])
            density = errors / (2 * t)
            axes.fill_between(t, below, density, color=PALETTE[ink], alpha=0.6, linewidth=0)
            below = density
        axes.set(xscale="log", xlabel="noise t", ylabel="nats per unit of log t")
        quiet(axes)
        return png(figure)


def nested(spacings: Sequence[float], variance: float = 10**-2.5) -> Mixture:
    """Points +-a +-b ..., equally likely, with 2a, 2b, ... the ``spacings``, and a Gaussian blob around each."""
    centers = torch.zeros(1, dtype=torch.float64)
    for gap in spacings:
        centers = torch.stack([centers - gap / 2, centers + gap / 2], 1).ravel()
    return Mixture(centers.unsqueeze(1), torch.full((len(centers),), 1 / len(centers)), variance)
