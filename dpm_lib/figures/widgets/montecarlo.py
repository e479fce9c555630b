"""The figures of the chapter on Monte Carlo: two walkers, the weights of importance sampling, a table of costs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from dpm_lib.core import checks
from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, panels, picture, png, quiet

SHEET = style("figure.css", "montecarlo.css")


class Walkers(Figure):
    """Metropolis and Gibbs on the banana x_1 ~ N(0, std^2), x_2 | x_1 ~ N(bend (x_1^2 - std^2), 1).

    Raises ``ValueError`` if ``std`` is not positive, or a number is not finite.
    """

    _esm = script("walkers.js")
    _css = SHEET
    std = traitlets.Float().tag(sync=True)
    bend = traitlets.Float().tag(sync=True)

    def __init__(self, std: float = 2.0, bend: float = 0.5, *, label: str = "Two walkers", caption: str = "") -> None:
        std, bend = checks.positive("std", std), checks.between("bend", bend, -math.inf)
        super().__init__(label=label, caption=caption, std=std, bend=bend)

    def poster(self) -> bytes:
        rng = np.random.default_rng(0)
        x = self.std * rng.normal(size=1200)
        y = self.bend * (x**2 - self.std**2) + rng.normal(size=1200)
        paths = [metropolis_path(self.std, self.bend, 400, rng), gibbs_path(self.std, self.bend, 60, rng)]
        figure = picture(6.4, 3.3)
        for axes, path, title in zip(panels(figure, 1, 2), paths, ("Metropolis", "Gibbs"), strict=True):
            axes.scatter(x, y, s=1.5, color=PALETTE["data"], alpha=0.4)
            axes.plot(*path.T, color=PALETTE["model"], linewidth=0.8)
            axes.set(title=title)
            quiet(axes)
        return png(figure)


def metropolis_path(std: float, bend: float, steps: int, rng: np.random.Generator) -> np.ndarray:
    """A Metropolis chain of unit step size on the banana, (steps + 1, 2)."""

    def log_p(p: np.ndarray) -> float:
        return -0.5 * ((p[0] / std) ** 2 + (p[1] - bend * (p[0] ** 2 - std**2)) ** 2)

    path = [np.array([0.0, -2.0])]
    for _ in range(steps):
        y = path[-1] + rng.normal(size=2)
        path.append(y if np.log(rng.random()) < log_p(y) - log_p(path[-1]) else path[-1])
    return np.array(path)


def gibbs_path(std: float, bend: float, sweeps: int, rng: np.random.Generator) -> np.ndarray:
    """A Gibbs chain on the banana with its corners, shape (2n + 1, 2) after n sweeps; x_1 given x_2 on a grid."""
    grid = np.linspace(-6 * std, 6 * std, 801)
    path = [np.array([0.0, -2.0])]
    for _ in range(sweeps):
        second = path[-1][1]
        log_p = -0.5 * ((grid / std) ** 2 + (second - bend * (grid**2 - std**2)) ** 2)
        p = np.exp(log_p - log_p.max())
        first = rng.choice(grid, p=p / p.sum())
        path += [np.array([first, second]), np.array([first, bend * (first**2 - std**2) + rng.normal()])]
    return np.array(path)


class ImportanceWeights(Figure):
    """A standard normal target and the proposal N(mean, width^2) in d dimensions: the weights, and their worth.

    Raises ``ValueError`` if ``width`` is not positive, or a number is not finite.
    """

    _esm = script("importance.js")
    _css = SHEET
    mean = traitlets.Float().tag(sync=True)
    width = traitlets.Float().tag(sync=True)

    def __init__(self, mean: float = 0.8, width: float = 1.2, *, label: str = "Weights", caption: str = "") -> None:
        mean, width = checks.between("mean", mean, -math.inf), checks.positive("width", width)
        super().__init__(label=label, caption=caption, mean=mean, width=width)

    def poster(self) -> bytes:
        x = np.linspace(-5, 5, 200)
        figure = picture(6.4, 2.6)
        axes = figure.subplots()
        axes.plot(x, np.exp(-0.5 * x**2), color=PALETTE["data"])
        z = np.random.default_rng(0).normal(size=60)
        draws = self.mean + self.width * z
        axes.plot(x, np.exp(-0.5 * ((x - self.mean) / self.width) ** 2) / self.width, "--", color=PALETTE["model"])
        weights = np.exp(0.5 * (z**2 - draws**2)) * self.width
        axes.scatter(draws, 0 * z, s=40 * weights, color=PALETTE["model"], alpha=0.5)
        axes.set(yticks=[])
        quiet(axes)
        return png(figure)


class CostTable(Figure):
    """The costs of sampling, in an order the reader chooses.

    rows: mappings with 'method', 'target' (str), 'dimension' (int), 'cost' > 0, 'cost_stderr', 'error' and
          'error_stderr' (numbers, or None where it could not be measured), 'measured' (bool), 'grid' (the number of
          points of a conditional's grid that count as one evaluation; None if there is none)
    Raises ``ValueError`` that names the row and the key.
    """

    _esm = script("costs.js")
    _css = SHEET
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    KEYS = ("method", "target", "dimension", "cost", "cost_stderr", "error", "error_stderr", "measured", "grid")

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], *, label: str = "What sampling costs", caption: str = ""
    ) -> None:
        for i, row in enumerate(checks.some("rows", rows)):
            missing = [key for key in self.KEYS if key not in row]
            if missing:
                raise ValueError(f"rows[{i}]: need {missing[0]!r}, got {sorted(row)}")
            checks.positive(f"rows[{i}]['cost']", row["cost"])
        super().__init__(label=label, caption=caption, rows=[{key: row[key] for key in self.KEYS} for row in rows])

    def poster(self) -> bytes:
        figure = picture(6.4, 3.6)
        axes = figure.subplots()
        methods = list(dict.fromkeys(row["method"] for row in self.rows))
        inks = ("data", "model", "drift", "limit")
        for k, method in enumerate(methods):
            mine = [row for row in self.rows if row["method"] == method and row["cost"] < 1e8]
            at = [row["dimension"] * (1 + 0.04 * k) for row in mine]
            axes.loglog(at, [row["cost"] for row in mine], "o", color=PALETTE[inks[k % 4]], label=method, markersize=4)
        axes.set(xlabel="dimension", ylabel="evaluations per effective sample")
        axes.legend(frameon=False, labelcolor="#808791", fontsize=8)
        quiet(axes)
        return png(figure)
