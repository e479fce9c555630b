"""Figures of the ways back from noise: points that step back, guesses of the data, and one path in two pictures."""

from collections.abc import Mapping

import numpy as np
import torch
import traitlets

from dpm_lib.core import checks
from dpm_lib.diffusion import variance_exploding
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, picture, png, quiet
from dpm_lib.probability.mixtures import Mixture, finite_set

SHEET = style("figure.css", "chains.css", "diffusion.css", "tweedie.css")
FIRST, LAST = 4.0, 0.01  # as in ways.js
FIVE = ((-1.5, 1.1), (1.3, 1.4), (1.6, -0.9), (-0.3, -1.6), (-1.1, -0.4))  # as in guess.js


def three_clumps() -> Mixture:
    """The mixture on the line that the first figure starts with."""
    centers = torch.tensor([[-1.5], [0.3], [1.2]], dtype=torch.float64)
    return Mixture(centers, torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64), 0.04)


class WaysBack(Figure):
    """4000 points that step from noise to data by the exact score of a mixture, all simulated by the page.

    noise:   lambda at first, 0 to 4
    power:   2^power steps at first, 2 to 8
    printed: start with the drift factor (1 + lambda) / 2 that a lecture prints, not with the right one
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("ways.js")
    _css = SHEET
    noise = traitlets.Float().tag(sync=True)
    power = traitlets.Int().tag(sync=True)
    printed = traitlets.Bool().tag(sync=True)

    def __init__(
        self,
        noise: float = 1.0,
        power: int = 6,
        printed: bool = False,
        *,
        label: str = "Points that step back from noise to data, beside the true density",
        caption: str = "",
    ) -> None:
        noise, power = checks.between("noise", noise, 0, 4), checks.count("power", power, 2, 8)
        super().__init__(label=label, caption=caption, noise=noise, power=power, printed=printed)

    def poster(self) -> bytes:
        figure = picture(6.4, 4.0)
        space, hill = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        target, times = three_clumps(), variance_exploding.falling_times(FIRST, LAST, 2**self.power)
        generator = torch.Generator().manual_seed(0)
        kick = torch.randn(60, 1, generator=generator, dtype=torch.float64)
        start = target.sample(60, generator) + FIRST**0.5 * kick
        process = variance_exploding.brownian().reverse(lambda z, t: target.score(z, float(t)), noise=self.noise)
        path = process.simulate(start, times, generator)[..., 0]
        space.plot(path, np.arange(len(times)), color=PALETTE["model"], alpha=0.5, linewidth=1)
        space.invert_yaxis()
        space.set(ylabel="step")
        z = torch.linspace(-4.6, 4.6, 400, dtype=torch.float64)
        hill.plot(z, target.log_prob(z.unsqueeze(1), LAST).exp(), color=PALETTE["limit"])
        hill.set(xlim=(-4.6, 4.6), xlabel="z")
        quiet(space)
        quiet(hill)
        return png(figure)


class GuessField(Figure):
    """Data points to drag, a noisy point, its guess E[y | t, z] with the spread of y, the score field, and the flow.

    t: the variance of the noise at first, 0.005 to 15
    Raises ``ValueError`` for another t.
    """

    _esm = script("guess.js")
    _css = SHEET
    t = traitlets.Float().tag(sync=True)

    def __init__(
        self,
        t: float = 0.5,
        *,
        label: str = "Data points to move, and what a noisy point says of them",
        caption: str = "",
    ) -> None:
        super().__init__(label=label, caption=caption, t=checks.between("t", t, 0.005, 15))

    def poster(self) -> bytes:
        figure = picture(4.4, 4.2)
        axes = figure.subplots()
        target, side = finite_set(torch.tensor(FIVE)), torch.linspace(-2.3, 2.3, 13, dtype=torch.float64)
        z = torch.cartesian_prod(side, side)
        towards = 0.3 * torch.tanh(target.posterior_mean(z, self.t) - z)
        axes.quiver(*z.T, *towards.T, color=PALETTE["drift"], angles="xy", scale_units="xy", scale=1, width=0.004)
        axes.scatter([x for x, _ in FIVE], [y for _, y in FIVE], color=PALETTE["data"], s=60)
        axes.set(aspect="equal", xlim=(-2.5, 2.5), ylim=(-2.5, 2.5))
        quiet(axes)
        return png(figure)


class TwoPictures(Figure):
    """One path as x_k, which stays of one size, and as z(tau), a Brownian motion, under several schedules.

    schedules: {name: a schedule that ends with finite tau}; they share the same Brownian paths
    target:    a mixture on the line, of variance > 0
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("pictures.js")
    _css = SHEET
    schedules = traitlets.Dict().tag(sync=True)
    centers = traitlets.List(traitlets.Float()).tag(sync=True)
    weights = traitlets.List(traitlets.Float()).tag(sync=True)
    variance = traitlets.Float().tag(sync=True)

    def __init__(
        self,
        schedules: Mapping[str, Schedule],
        target: Mixture,
        *,
        label: str = "One path in two pictures: shrunk, and unshrunk",
        caption: str = "",
    ) -> None:
        for name, schedule in checks.some("schedules", schedules).items():
            checks.finite(f"schedules[{name!r}], tau", schedule.tau)
        if target.dim != 1 or not target.variance > 0:
            raise ValueError(f"target: d = {target.dim}, variance {target.variance}: need d = 1, and a variance > 0")
        super().__init__(
            label=label,
            caption=caption,
            schedules={name: schedule.tau.tolist() for name, schedule in schedules.items()},
            centers=target.centers[:, 0].tolist(),
            weights=target.weights.tolist(),
            variance=target.variance,
        )

    def poster(self) -> bytes:
        figure = picture(6.4, 2.8)
        left, right = figure.subplots(1, 2)
        tau = np.array(next(iter(self.schedules.values())))
        rng = np.random.default_rng(1)
        y = rng.choice(self.centers, 6, p=self.weights) + np.sqrt(self.variance) * rng.normal(size=6)
        z = y + np.vstack(
            [np.zeros(6), (np.sqrt(np.diff(tau))[:, None] * rng.normal(size=(len(tau) - 1, 6))).cumsum(0)]
        )
        left.plot(z / np.sqrt(1 + tau)[:, None], color=PALETTE["model"], alpha=0.6)
        right.plot(tau, z, color=PALETTE["model"], alpha=0.6)
        left.set(xlabel="step k", ylabel="x")
        right.set(xlabel="noise variance τ", ylabel="z")
        quiet(left)
        quiet(right)
        return png(figure)
