"""Annealing live in the page: particles along the temperatures, and work forward and back."""

import math

import numpy as np
import traitlets

from dpm_lib.core import checks
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script
from dpm_lib.figures.widgets.base import Figure, panels, picture, png, quiet


class AnnealedParticles(Figure):
    """AIS on a line, run by the page: from N(0, spread^2) to ``target_densities.TwoClumps(1, distance, std, share)``.

    Moves are one Metropolis step of standard deviation ``step`` at each temperature; n particles.
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("annealing.js")
    distance = traitlets.Float().tag(sync=True)
    std = traitlets.Float().tag(sync=True)
    share = traitlets.Float().tag(sync=True)
    spread = traitlets.Float().tag(sync=True)
    step = traitlets.Float().tag(sync=True)
    n = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        distance: float = 6.0,
        std: float = 0.7,
        share: float = 0.8,
        spread: float = 2.0,
        step: float = 1.0,
        n: int = 200,
        *,
        label: str = "Particles annealed from a wide normal to two clumps",
        caption: str = "",
    ) -> None:
        super().__init__(
            label=label,
            caption=caption,
            distance=checks.positive("distance", distance),
            std=checks.positive("std", std),
            share=checks.inside("share", share, 0, 1),
            spread=checks.positive("spread", spread),
            step=checks.positive("step", step),
            n=checks.count("n", n, 2, 2000),
        )

    def densities(self, x: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The density of each temperature b (k,) on an even grid x (m,): (m, k)."""
        side = lambda sign: np.exp(-0.5 * ((x - sign * self.distance / 2) / self.std) ** 2)  # noqa: E731
        log_target = np.log(self.share * side(1) + (1 - self.share) * side(-1) + 1e-300)
        log = (1 - b) * (-0.5 * (x / self.spread) ** 2)[:, None] + b * log_target[:, None]
        p = np.exp(log - log.max(0))
        return p / (p.sum(0) * (x[1] - x[0]))

    def poster(self) -> bytes:
        figure = picture(6.4, 3.0)
        axes = next(panels(figure, 1, 1))
        reach = 0.5 * self.distance + 4.5 * self.std
        p = self.densities(np.linspace(-reach, reach, 300), np.linspace(0, 1, 200))
        axes.imshow(np.sqrt(p), extent=(0, 1, -reach, reach), origin="lower", aspect="auto", cmap="Greens", alpha=0.8)
        axes.set(xlabel="inverse temperature b", ylabel="x")
        quiet(axes)
        return png(figure)


class WorkHistograms(Figure):
    """Work forward and back between N(0, 1) and Z N(shift, 1), and the two bounds on log Z, run by the page.

    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("work.js")
    shift = traitlets.Float().tag(sync=True)
    log_z = traitlets.Float().tag(sync=True)
    n = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        shift: float = 3.0,
        log_z: float = 1.0,
        n: int = 600,
        *,
        label: str = "Work forward and back, and two bounds on log Z",
        caption: str = "",
    ) -> None:
        super().__init__(
            label=label,
            caption=caption,
            shift=checks.positive("shift", shift),
            log_z=checks.between("log_z", log_z, -math.inf),
            n=checks.count("n", n, 2, 2000),
        )

    def poster(self) -> bytes:
        figure = picture(6.4, 2.6)
        axes = next(panels(figure, 1, 1))
        variance = self.shift**2 / 8
        w = np.linspace(-4 * variance**0.5 - variance, 4 * variance**0.5 + variance, 300)
        for side, colour in ((1, "data"), (-1, "model")):
            density = np.exp(-0.5 * (w - 0.5 * side * variance) ** 2 / variance)
            axes.fill_between(w - self.log_z, density, color=PALETTE[colour], alpha=0.5)
        axes.axvline(-self.log_z, color=INK, linestyle="--")
        axes.set(xlabel="work, nats; dashed: -log Z")
        quiet(axes)
        return png(figure)
