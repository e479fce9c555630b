"""Figures of the chapter on steering: guidance on a line."""

import torch
import traitlets

from dpm_lib.core import checks
from dpm_lib.diffusion.guidance import Guided
from dpm_lib.diffusion.sampler_law import sampler_law
from dpm_lib.diffusion.samplers import MixtureDenoiser, heun
from dpm_lib.diffusion.schedules import geometric
from dpm_lib.diffusion.tilted_law import TiltedLaw
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, picture, png, quiet
from dpm_lib.probability.mixtures import Mixture

SHEET = style("figure.css", "chains.css", "steering.css")
CENTERS, SHARES, VARIANCE = (-1.0, 0.4, 1.6), (0.5, 0.15, 0.35), 0.12


def class_and_all() -> tuple[Mixture, Mixture]:
    """The figure's first clumps: those of the class, of share one half, and all three."""
    centers = torch.tensor(CENTERS, dtype=torch.float64).unsqueeze(1)
    shares = torch.tensor(SHARES, dtype=torch.float64)
    return Mixture(centers[1:], shares[1:] / shares[1:].sum(), VARIANCE), Mixture(centers, shares, VARIANCE)


class GuidedMixture(Figure):
    """Clumps on a line to drag, some of them a class: the guided law, with and without weights, beside the tilt.

    w: the scale at first, 0 to 5
    Raises ``ValueError`` for another w.
    """

    _esm = script("guided.js")
    _css = SHEET
    w = traitlets.Float().tag(sync=True)

    def __init__(self, w: float = 3.0, *, label: str = "Guidance on a line", caption: str = "") -> None:
        super().__init__(label=label, caption=caption, w=checks.between("w", w, 0, 5))

    def poster(self) -> bytes:
        figure = picture(6.4, 2.6)
        axes = figure.subplots()
        conditional, unconditional = class_and_all()
        schedule = geometric(120, beta_1=1e-3, tau_T=1e6)
        guided = Guided(MixtureDenoiser(conditional, schedule), MixtureDenoiser(unconditional, schedule), self.w)
        law = sampler_law(heun, guided, range(120, -1, -1), places=801)
        tilt = TiltedLaw(conditional, unconditional, self.w)
        z = torch.linspace(-1, 4, 201, dtype=torch.float64)
        middle, own = 0.5 * (z[1:] + z[:-1]), conditional.log_prob(z.unsqueeze(1)).exp()
        axes.plot(z, own, color=INK, linestyle=":", label="the class")
        axes.plot(middle, tilt.law().below(z).diff() / z.diff(), color=PALETTE["limit"], label="the tilt")
        axes.plot(middle, law.below(z).diff() / z.diff(), color=PALETTE["model"], label="guided")
        axes.legend(frameon=False, labelcolor=INK)
        quiet(axes)
        return png(figure)
