"""Figures of random walks and diffusions: a crowd in a potential, the limit of small steps, and steps of one noise."""

import numpy as np
import torch
import traitlets

from dpm_lib.core import checks
from dpm_lib.core.types import Array
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, picture, png, quiet
from dpm_lib.sde import fokker_planck, grids, processes, sde

SHEET = style("figure.css", "chains.css", "diffusion.css")
TWO_WELLS = (4.0, 0.2, 1.2, 1.8, 1.3, 0.6, 4.0)  # as in bend.js


def potential(x: Array, heights: tuple[float, ...], reach: float) -> tuple[Array, Array]:
    """U and U' at x (m,): cubic pieces through ``heights`` at even places from -reach to reach.

    The slope at each place is that of the chord between its neighbours (Catmull and Rom's spline); the twin of bend.js.
    """
    u = np.asarray(heights, np.float64)
    h = 2 * reach / (len(u) - 1)
    ends = np.pad(u, 1, mode="edge")
    slope = (ends[2:] - ends[:-2]) / np.r_[1.0, np.full(len(u) - 2, 2.0), 1.0]
    i = np.clip(np.floor((x + reach) / h).astype(int), 0, len(u) - 2)
    s = (x + reach) / h - i
    a, b, m, n = u[i], u[i + 1], slope[i], slope[i + 1]
    c2, c3 = 3 * (b - a) - 2 * m - n, 2 * (a - b) + m + n
    return a + s * (m + s * (c2 + s * c3)), (m + s * (2 * c2 + 3 * s * c3)) / h


def bent_langevin(heights: tuple[float, ...], reach: float, temperature: float) -> sde.SDE:
    """dX = -U'(X) dt + sqrt(2 temperature) dW in that potential: what the figure simulates."""

    def score(x: torch.Tensor) -> torch.Tensor:
        inside = np.clip(x.numpy(), -reach, reach)
        return torch.from_numpy(-potential(inside, heights, reach)[1])

    return processes.langevin(score, 1.0, float(np.sqrt(2 * temperature)))


class BentPotential(Figure):
    """Particles and their density under a potential bent by handles, both simulated by the page.

    n:     number of particles, 10 to 5000
    reach: the walls are half a cell beyond -reach and reach
    cells: number of cells of the density, one more than a multiple of 6, so that every handle is a cell's centre
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("bend.js")
    _css = SHEET
    n = traitlets.Int().tag(sync=True)
    reach = traitlets.Float().tag(sync=True)
    cells = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        n: int = 1000,
        reach: float = 3.0,
        cells: int = 121,
        *,
        label: str = "Particles and their density under a potential that can be bent",
        caption: str = "",
    ) -> None:
        n, reach = checks.count("n", n, 10, 5000), checks.positive("reach", reach)
        if (checks.count("cells", cells, 13, 601) - 1) % 6:
            raise ValueError(f"cells: {cells}: need one more than a multiple of 6")
        super().__init__(label=label, caption=caption, n=n, reach=reach, cells=cells)

    def poster(self) -> bytes:
        figure = picture(6.4, 3.4)
        above, below = figure.subplots(2, 1, sharex=True)
        x = np.linspace(-self.reach, self.reach, self.cells)
        above.plot(x, potential(x, TWO_WELLS, self.reach)[0], color=PALETTE["data"])
        above.set(ylabel="potential")
        process = bent_langevin(TWO_WELLS, self.reach, 0.5)
        start = np.exp(-0.5 * ((x + 2) / 0.15) ** 2)
        start /= start.sum() * grids.cell_volume(x)
        for p, strength in zip(fokker_planck.solve(process, start, x, [0, 0.5, 2, 8]), (0.3, 0.5, 0.7, 1), strict=True):
            below.plot(x, p, color=PALETTE["data"], alpha=strength)
        below.plot(x, fokker_planck.stationary(process, x), color=PALETTE["limit"], linestyle="--")
        below.set(ylim=(0, 1.2), ylabel="density")
        quiet(above)
        quiet(below)
        return png(figure)


class WalkLimit(Figure):
    """Random walks of n steps of size 1/sqrt(n) in a unit of time: paths under a lens, ends, squared steps.

    power: n = 2^power at first, 0 to 14
    Raises ``ValueError`` for another power.
    """

    _esm = script("limit.js")
    _css = SHEET
    power = traitlets.Int().tag(sync=True)

    def __init__(
        self, power: int = 4, *, label: str = "Random walks of small steps tend to one limit", caption: str = ""
    ) -> None:
        super().__init__(label=label, caption=caption, power=checks.count("power", power, 0, 14))

    def poster(self) -> bytes:
        figure = picture(6.4, 2.6)
        axes = figure.subplots()
        steps = np.random.default_rng(0).choice([-1.0, 1.0], (12, 1024))
        paths = np.pad(steps, ((0, 0), (1, 0))).cumsum(1) / 32
        t = np.linspace(0, 1, 1025)
        axes.plot(t, paths.T, color=PALETTE["model"], alpha=0.5, linewidth=1)
        for sign in (-2, 2):
            axes.plot(t, sign * np.sqrt(t), color=PALETTE["limit"], linestyle="--")
        axes.set(xlabel="t")
        quiet(axes)
        return png(figure)


class StepsOfOneNoise(Figure):
    """Euler-Maruyama with few and many steps along one Brownian path, beside the exact solution, and its two errors."""

    _esm = script("orders.js")
    _css = SHEET

    def __init__(self, *, label: str = "Coarse and fine steps along one Brownian path", caption: str = "") -> None:
        super().__init__(label=label, caption=caption)

    def poster(self) -> bytes:
        figure = picture(6.4, 2.6)
        axes = figure.subplots()
        w = np.r_[0.0, np.random.default_rng(3).normal(size=1024).cumsum() / 32]
        axes.plot(np.linspace(0, 1, 1025), np.sinh(np.arcsinh(0.5) + w), color=INK, linewidth=1)
        for steps, strength in ((8, 1.0), (64, 0.5)):
            x = [0.5]
            for dw in np.diff(w[:: 1024 // steps]):
                x.append(x[-1] * (1 + 0.5 / steps) + np.sqrt(1 + x[-1] ** 2) * dw)
            axes.plot(np.linspace(0, 1, steps + 1), x, color=PALETTE["model"], alpha=strength, marker=".")
        axes.set(xlabel="t")
        quiet(axes)
        return png(figure)
