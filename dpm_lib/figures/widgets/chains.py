"""Two figures of Markov chains: one to edit, and a walk between two wells."""

from collections.abc import Mapping

import numpy as np
import traitlets

from dpm_lib.core import check_laws, checks
from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, picture, png, quiet
from dpm_lib.markov import markov_chains

SHEET = style("figure.css", "chains.css")
INKS = [PALETTE["data"], PALETTE["model"], PALETTE["drift"], PALETTE["limit"], "#5f6670"]
PRESETS: dict[str, list[list[float]]] = {
    "forgets": [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.1, 0.6]],
    "reducible": [[0.7, 0.3, 0.0, 0.0], [0.4, 0.6, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.8, 0.2]],
    "periodic": [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]],
    "nearly periodic": [[0.0, 0.95, 0.05], [0.05, 0.0, 0.95], [0.9, 0.1, 0.0]],
    "slow": [[0.6, 0.4, 0.0, 0.0], [0.38, 0.6, 0.02, 0.0], [0.0, 0.02, 0.6, 0.38], [0.0, 0.0, 0.4, 0.6]],
    "doubly stochastic": [
        [0.1, 0.6, 0.1, 0.1, 0.1],
        [0.1, 0.1, 0.6, 0.1, 0.1],
        [0.1, 0.1, 0.1, 0.6, 0.1],
        [0.1, 0.1, 0.1, 0.1, 0.6],
        [0.6, 0.1, 0.1, 0.1, 0.1],
    ],
    "a trap": [[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.0, 0.0, 1.0]],
}


class ChainEditor(Figure):
    """A chain of 2 to 5 states to edit: its graph, its matrix, its eigenvalues, and its law over time.

    presets: {name: (n, n) row-stochastic matrix}, of which the first is shown first
    steps:   how far the plot of p_t reaches
    Raises ``ValueError`` that names the preset and what is wrong with it.
    """

    _esm = script("chain.js")
    _css = SHEET
    presets: traitlets.List = traitlets.List(help="pairs of a name and a matrix: a page's JSON keeps their order").tag(
        sync=True
    )
    steps = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        presets: Mapping[str, object] = PRESETS,
        steps: int = 40,
        *,
        label: str = "A Markov chain to edit, with its eigenvalues and its law over time",
        caption: str = "",
    ) -> None:
        chains = {}
        for name, chain in checks.some("presets", presets).items():
            try:
                chains[name] = check_laws.chain("P", chain)
            except ValueError as error:
                raise ValueError(f"presets[{name!r}]: {error}") from error
            if not 2 <= len(chains[name]) <= len(INKS):
                raise ValueError(f"presets[{name!r}]: {len(chains[name])} states: need 2 to {len(INKS)}")
        values = [[name, chain.tolist()] for name, chain in chains.items()]
        super().__init__(label=label, caption=caption, presets=values, steps=checks.count("steps", steps))

    def poster(self) -> bytes:
        chain = np.array(self.presets[0][1])
        laws = markov_chains.evolve(chain, np.eye(len(chain))[0], self.steps)
        figure = picture(6.4, 2.9)
        course, circle = figure.subplots(1, 2, width_ratios=[2, 1])
        for law, ink in zip(laws.T, INKS, strict=False):
            course.plot(law, color=ink)
        course.set(xlabel="t", ylabel="probability of each state", ylim=(0, 1.02))
        values = markov_chains.eigenvalues(chain)
        angle = np.linspace(0, 2 * np.pi, 200)
        circle.plot(np.cos(angle), np.sin(angle), color="#808791", linewidth=1)
        circle.scatter(values.real, values.imag, color=PALETTE["model"], zorder=2)
        circle.set(aspect="equal", title="eigenvalues", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
        quiet(course)
        quiet(circle)
        return png(figure)


class DoubleWellWalk(Figure):
    """Walkers between two wells, their exact law, and its distance from the stationary law: markov.double_well, live.

    n:       number of places, even, so that no place is the top of the hill
    barrier: height of the hill at first, 0 to 12
    octaves: the clock reaches 2^octaves steps
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("wells.js")
    _css = SHEET
    n = traitlets.Int().tag(sync=True)
    barrier = traitlets.Float().tag(sync=True)
    octaves = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        n: int = 30,
        barrier: float = 4.0,
        octaves: int = 22,
        *,
        label: str = "Walkers between two wells, and their distance from the stationary law over time",
        caption: str = "",
    ) -> None:
        if checks.count("n", n, 4, 60) % 2:
            raise ValueError(f"n: {n}: need an even number")
        barrier, octaves = checks.between("barrier", barrier, 0, 12), checks.count("octaves", octaves, 4, 30)
        super().__init__(label=label, caption=caption, n=n, barrier=barrier, octaves=octaves)

    def poster(self) -> bytes:
        figure = picture(6.4, 2.9)
        axes = figure.subplots()
        times = np.unique(np.geomspace(1, 2**self.octaves, 100).astype(np.int64))
        for barrier in (0, 4, 8):
            P = markov_chains.double_well(self.n, barrier)
            pi = markov_chains.stationary_distribution(P)
            start = round(0.3 / 2.6 * (self.n - 1))
            distance = [
                float(markov_chains.total_variation(np.linalg.matrix_power(P, int(t))[start], pi)) for t in times
            ]
            axes.semilogx(times, distance, label=f"barrier {barrier}")
        axes.set(xlabel="t", ylabel="total variation distance")
        axes.legend(frameon=False, labelcolor="#808791", fontsize=8)
        quiet(axes)
        return png(figure)
