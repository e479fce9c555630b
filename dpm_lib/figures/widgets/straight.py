"""Figures of the chapter on straight ways: one flow on three paths, two laws to drag, and few steps."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import traitlets

from dpm_lib.core import checks
from dpm_lib.diffusion.interpolants import COSINE, LINEAR, Path, along, exploding
from dpm_lib.diffusion.mixture_flow import MixtureFlow
from dpm_lib.diffusion.sampler_law import sampler_law
from dpm_lib.diffusion.samplers import MixtureDenoiser, dpm_solver_2m, steps_of
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, checked, picture, png, quiet
from dpm_lib.figures.widgets.tweedie import three_clumps
from dpm_lib.probability.mixtures import Mixture

SHEET = style("figure.css", "chains.css", "diffusion.css", "tweedie.css", "straight.css")
PATHS: dict[str, Path] = {"linear": LINEAR, "cosine": COSINE, "exploding": exploding(4.0)}
VIEWS = ("pairs", "flow", "once", "twice")
METHODS = {"linear": "data", "cosine": "model", "heun": "ink", "2m": "drift"}
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
QUANTILES = torch.linspace(-2, 2, 25, dtype=torch.float64).unsqueeze(1)  # of a standard normal


def two_clumps() -> Mixture:
    """The mixture on the line on which few steps are counted at first."""
    centers = torch.tensor([[-1.2], [0.9]], dtype=torch.float64)
    return Mixture(centers, torch.tensor([0.35, 0.65], dtype=torch.float64), 0.1)


class ThreePaths(Figure):
    """The trajectories of one flow on the linear, the cosine and an exploding path, and unshrunk, where they agree.

    path: the one shown at first: "linear", "cosine" or "exploding"
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("threepaths.js")
    _css = SHEET
    path = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        path: str = "linear",
        *,
        label: str = "One flow from noise to data on three paths",
        caption: str = "",
    ) -> None:
        super().__init__(label=label, caption=caption, path=checks.one_of("path", path, tuple(PATHS)))

    def poster(self) -> bytes:
        figure = picture(6.4, 2.6)
        times = np.linspace(0, 1, 25)
        for axes, path in zip(figure.subplots(1, 3), PATHS.values(), strict=True):
            flow = MixtureFlow(three_clumps(), None, path)
            start = flow.map(QUANTILES if path.a(1.0) == 0 else 4.1 * QUANTILES, 1, 0)
            rows = torch.cat([flow.map(start, 0, float(s)) for s in times], 1)
            axes.plot(times, rows.T, color=PALETTE["model"], linewidth=0.8)
            axes.set(xlabel="s", title=path.name)
            quiet(axes)
        return png(figure)


class TwoLaws(Figure):
    """Two mixtures on the line, to drag, and lines between them: pairs, their flow, reflow, and Euler's steps.

    view:  what is shown at first: "pairs", "flow", "once" or "twice"
    steps: of Euler's method at first, 1 to 32
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("twolaws.js")
    _css = SHEET
    view = traitlets.Unicode().tag(sync=True)
    steps = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        view: str = "flow",
        steps: int = 4,
        *,
        label: str = "Two laws to drag, and the flow between them",
        caption: str = "",
    ) -> None:
        view, steps = checks.one_of("view", view, VIEWS), checks.count("steps", steps, 1, 32)
        super().__init__(label=label, caption=caption, view=view, steps=steps)

    def poster(self) -> bytes:
        figure = picture(6.4, 2.8)
        flow, times = MixtureFlow(three_clumps()), np.linspace(0, 1, 41)
        start = flow.map(QUANTILES, 1, 0)
        rows = torch.cat([flow.map(start, 0, float(s)) for s in times], 1)
        for axes, (title, x, y) in zip(
            figure.subplots(1, 2),
            (("the flow", times, rows), ("reflow", times[[0, -1]], rows[:, [0, -1]])),
            strict=True,
        ):
            axes.plot(x, y.T, color=PALETTE["data"], linewidth=0.8)
            axes.set(xlabel="s", title=title)
            quiet(axes)
        return png(figure)


class FewSteps(Figure):
    """Calls from 1 to 64 against the exact distance to data on the line: Euler on two paths, Heun, DPM-Solver++.

    students: {data of the page, such as "two clumps": {words: [[calls, distance], ...]}}, curves that are added
    steps:    calls at first, one of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64
    method:   chosen at first: "linear", "cosine", "heun" or "2m"
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("fewsteps.js")
    _css = SHEET
    students = traitlets.Dict().tag(sync=True)
    steps = traitlets.Int().tag(sync=True)
    method = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        students: Mapping[str, Mapping[str, Sequence[Sequence[float]]]] | None = None,
        steps: int = 8,
        method: str = "linear",
        *,
        label: str = "Calls against the exact distance to the data",
        caption: str = "",
    ) -> None:
        kept = {
            data: {
                words: checked(f"students, {data}, {words}", rows, ("n", 2)).tolist() for words, rows in some.items()
            }
            for data, some in (students or {}).items()
        }
        super().__init__(
            label=label, caption=caption, students=kept, steps=checks.one_of("steps", steps, STEPS),
            method=checks.one_of("method", method, tuple(METHODS)),
        )  # fmt: skip

    def poster(self) -> bytes:
        figure = picture(6.4, 2.8)
        axes = figure.subplots()
        for method, ink in METHODS.items():
            axes.loglog(STEPS[::2], [distance(method, calls) for calls in STEPS[::2]], color=PALETTE[ink], label=method)
        axes.legend(frameon=False, labelcolor=INK, fontsize=8)
        axes.set(xlabel="calls", ylabel="distance to the data")
        quiet(axes)
        return png(figure)


def distance(method: str, calls: int, target: Mixture | None = None) -> float:
    """Wasserstein distance of what a ``method`` draws in ``calls`` calls to the ``target``, two clumps by default.

    ValueError for another method, and no calls.
    """
    target = two_clumps() if target is None else target
    checks.one_of("method", method, tuple(METHODS))
    steps = steps_of("heun" if method == "heun" else method, calls)
    path = COSINE if method == "cosine" else LINEAR
    model = MixtureDenoiser(target, path.schedule(steps))
    levels = list(range(steps, -1, -1))
    if method == "2m":
        return sampler_law(dpm_solver_2m, model, levels).wasserstein(target)
    solver = "heun" if method == "heun" else "euler"
    return sampler_law(along, model, levels, path=path, method=solver).wasserstein(target)
