"""Figures of the chapter on samplers and schedules: a race of samplers, and a schedule to drag."""

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
import traitlets

from dpm_lib.core import checks
from dpm_lib.diffusion.continuous_bound import least_spread, pace_of
from dpm_lib.diffusion.schedules import Schedule, from_tau
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, checked, picture, png, quiet
from dpm_lib.figures.widgets.tweedie import three_clumps
from dpm_lib.information.mmse import mmse

SHEET = style("figure.css", "chains.css", "diffusion.css", "tweedie.css", "samplers.css")
FIRST, LAST = 400.0, 0.002  # tau at the ends of the race
RECORD = ("tau_T", "tau_1", "targets", "calls", "wasserstein")
RUNNERS = {"ddpm": "limit", "ddim 0.5": "model", "ddim 0": "data", "heun": "ink", "2m": "drift"}
POWERS = {"log tau": 0.0, "karras": 1 / 14, "sigma": 0.5}


def race_schedule(steps: int, clock: str) -> Schedule:
    """The levels of the race: 0, then ``steps`` values of tau, even in the clock, up to 400."""
    power, ends = POWERS[clock], torch.tensor([LAST, FIRST], dtype=torch.float64)
    if steps == 1:
        return from_tau(torch.tensor([0.0, FIRST]))
    ends = ends.log() if power == 0 else ends**power
    places = torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64)
    return from_tau(torch.cat([torch.zeros(1), places.exp() if power == 0 else places ** (1 / power)]))


class SamplerRace(Figure):
    """Points that samplers take from noise to a mixture on the line, and each sampler's exact distance to it.

    race:    the record sampler-race.json: targets, calls, and by target, clock and sampler the distances
    sampler: the one whose points are shown at first: "ddpm", "ddim 0.5", "ddim 0", "heun" or "2m"
    calls:   of the model at first, one that the record has
    clock:   in which the levels are even at first: "log tau", "karras" or "sigma"
    target:  the data at first, by the record's name
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("race.js")
    _css = SHEET
    race = traitlets.Dict().tag(sync=True)
    target = traitlets.Unicode().tag(sync=True)
    sampler = traitlets.Unicode().tag(sync=True)
    calls = traitlets.Int().tag(sync=True)
    clock = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        race: Mapping[str, Any],
        sampler: str = "ddpm",
        calls: int = 8,
        clock: str = "log tau",
        target: str = "three clumps",
        *,
        label: str = "A race of samplers from noise to data",
        caption: str = "",
    ) -> None:
        missing = [key for key in RECORD if key not in race]
        if missing:
            raise ValueError(f"race: has no {missing[0]!r}: need a record with {', '.join(RECORD)}")
        for data, name, runner in product(race["targets"], POWERS, RUNNERS):
            found = race["wasserstein"][data][name][runner]
            checked(f"race, {data}, {name}, {runner}", found, (len(race["calls"]),))
        if sampler not in RUNNERS:
            raise ValueError(f"sampler: {sampler!r} is not one of {', '.join(RUNNERS)}")
        if clock not in POWERS:
            raise ValueError(f"clock: {clock!r} is not one of {', '.join(POWERS)}")
        if calls not in race["calls"]:
            raise ValueError(f"calls: {calls}: need one of {race['calls']}")
        if target not in race["targets"]:
            raise ValueError(f"target: {target!r} is not one of {', '.join(race['targets'])}")
        kept = {key: race[key] for key in RECORD}
        super().__init__(
            label=label, caption=caption, race=kept, sampler=sampler, calls=calls, clock=clock, target=target
        )

    def poster(self) -> bytes:
        figure = picture(6.4, 2.8)
        axes = figure.subplots()
        for name, distances in self.race["wasserstein"][self.target][self.clock].items():
            axes.loglog(self.race["calls"], distances, color=PALETTE[RUNNERS[name]], label=name)
        axes.legend(frameon=False, labelcolor=INK, fontsize=8)
        axes.set(xlabel="calls of the model", ylabel="distance to the data")
        quiet(axes)
        return png(figure)


class ContinuousBound(Figure):
    """A schedule in continuous time to drag: the bound of infinitely many steps, of T levels, and an estimate's error.

    T: levels at first, 3 to 200
    Raises ``ValueError`` for another T.
    """

    _esm = script("paces.js")
    _css = SHEET
    T = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        T: int = 20,
        *,
        label: str = "A schedule to drag, and what it moves of the bound",
        caption: str = "",
    ) -> None:
        T = checks.count("T", T, 3)
        if T > 200:
            raise ValueError(f"T: {T}: need at most 200")
        super().__init__(label=label, caption=caption, T=T)

    def poster(self) -> bytes:
        figure = picture(6.4, 2.8)
        axes = figure.subplots()
        target, ends = three_clumps(), (1e-3, 100.0)
        for pace, ink in ((pace_of(lambda v: 1.0, *ends, 40), "data"), (least_spread(target, *ends, 40), "drift")):
            rate = pace.log_tau.diff() / pace.u.diff()
            middle = 0.5 * (pace.log_tau[1:] + pace.log_tau[:-1])
            lost = [0.5 * math.exp(-v) * mmse(target, math.exp(v)) for v in middle.tolist()]
            axes.plot(pace.u[1:], rate * torch.tensor(lost), color=PALETTE[ink])
        axes.set(xlabel="u", ylabel="nats lost per unit of u", ylim=(0, None))
        quiet(axes)
        return png(figure)
