"""The figures of bits: where along the noise models spend them, and what a last step on levels makes of a guess."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import traitlets
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.diffusion import bits_along
from dpm_lib.diffusion.loss_weights import linear_density
from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, checked, picture, png, quiet
from dpm_lib.probability.discretised_gaussian import DiscretisedGaussian

INKS = ("data", "model", "drift")
CELL = 0.25  # of log tau
COUNTS = ("bits", "simple")


class BitsAlong(Figure):
    """Bits per unit of log tau of one to three models, with a cut; or what L_simple counts of the steps.

    models:  by name, records with ``log_tau`` (k+1,), noise from t = 1 to T in squared levels of grey; ``steps`` (k,),
             the bits a dimension between; ``last_bits``, ``prior_bits``; and ``std``, levels in its unit
    cut:     log tau at first, in squared levels
    counts:  "bits" or "simple", at first
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("bitsalong.js")
    _css = style("figure.css", "information.css", "score_matching.css")
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    low = traitlets.Float().tag(sync=True)
    cell = traitlets.Float(CELL).tag(sync=True)
    net = traitlets.Bytes(help="(models, cells): bits per unit of log tau, the last step's taken off").tag(sync=True)
    simple = traitlets.Bytes(help="(models, cells): shares of L_simple per unit of log tau, of area 1").tag(sync=True)
    weight = traitlets.Bytes(help="(models, cells): DDPM's times per unit of log tau, of area 1").tag(sync=True)
    prior = traitlets.List(traitlets.Float()).tag(sync=True)
    cut = traitlets.Float().tag(sync=True)
    counts = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        models: Mapping[str, Mapping[str, Any]],
        cut: float = 0.0,
        counts: str = "bits",
        *,
        label: str = "Bits per unit of log noise, of several models of the same pictures",
        caption: str = "",
    ) -> None:
        if not 1 <= len(models) <= len(INKS):
            raise ValueError(f"models: need one to {len(INKS)}, got {len(models)}")
        levels = {
            name: torch.as_tensor(checked(f"{name}: log_tau", row["log_tau"], ("k",))) for name, row in models.items()
        }
        low = CELL * np.floor(min(float(value[0]) - 1 for value in levels.values()) / CELL)
        high = CELL * np.ceil(max(float(value[-1]) for value in levels.values()) / CELL)
        checks.between("log_tau", low, -40, 0)
        checks.between("log_tau", high, 0, 40)
        grid = torch.arange(low, high + CELL / 2, CELL, dtype=torch.float64)
        shown = [shares(row, levels[name], grid) for name, row in models.items()]
        net, simple, weight = (torch.stack(part).numpy().astype("<f8").tobytes() for part in zip(*shown, strict=True))
        super().__init__(
            label=label,
            caption=caption,
            names=list(models),
            low=low,
            net=net,
            simple=simple,
            weight=weight,
            prior=[float(row["prior_bits"]) for row in models.values()],
            cut=checks.between("cut", cut, low, high),
            counts=checks.one_of("counts", counts, COUNTS),
        )

    def poster(self) -> bytes:
        figure = picture(6.4, 2.8)
        axes: Any = figure.subplots()
        rows = np.frombuffer(self.net if self.counts == "bits" else self.simple).reshape(len(self.names), -1)
        edges = self.low + self.cell * np.arange(rows.shape[1] + 1)
        for name, ink, row in zip(self.names, INKS, rows, strict=False):
            axes.stairs(row, np.exp(edges / 2), color=PALETTE[ink], label=name)
        axes.axvline(np.exp(self.cut / 2), color=PALETTE["limit"])
        axes.legend(fontsize=8)
        unit = "bits per unit of log tau" if self.counts == "bits" else "share of L_simple"
        axes.set(xscale="log", xlabel="noise in levels of grey", ylabel=unit)
        quiet(axes)
        return png(figure)


def shares(row: Mapping[str, Any], log_tau: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the figure shows of one model on the cells of ``grid`` (m+1,), each (m,): net bits, L_simple, its weight.

    L_simple counts |eps - eps_hat|^2, twice the nats of a unit of log tau, as often as DDPM's times fall into it.
    ValueError for another number of steps, levels beyond the grid, or a ``std`` that is not positive.
    """
    steps = torch.as_tensor(checked("steps", row["steps"], (len(log_tau) - 1,)))
    middle = 0.5 * (grid[1:] + grid[:-1])
    weight = linear_density(middle - 2 * np.log(checks.positive("std", row["std"])))
    simple = bits_along.spread(log_tau, steps, grid) * weight
    return (
        bits_along.net(log_tau, steps, float(row["last_bits"]), grid),
        simple / (simple.sum() * CELL),
        weight / (weight.sum() * CELL),
    )


class RoundedStep(Figure):
    """A normal rounded to levels: the probability of each, and the bits of the true one.

    count:      number of levels, 0..count - 1
    mean:       the guess at first, in levels, up to two beyond the ends
    deviation:  standard deviation at first, in levels, from 0.1 to 4
    level:      the true level at first
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("rounded.js")
    _css = style("figure.css", "information.css", "score_matching.css")
    count = traitlets.Int().tag(sync=True)
    mean = traitlets.Float().tag(sync=True)
    deviation = traitlets.Float().tag(sync=True)
    level = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        count: int = 17,
        mean: float = 14.3,
        deviation: float = 1.0,
        level: int = 16,
        *,
        label: str = "A normal rounded to levels of grey, and the bits of one of them",
        caption: str = "",
    ) -> None:
        count = checks.count("count", count, 2)
        if checks.count("level", level, 0) >= count:
            raise ValueError(f"level: {level}: need one of 0 to {count - 1}")
        super().__init__(
            label=label,
            caption=caption,
            count=count,
            mean=checks.between("mean", mean, -2, count + 1),
            deviation=checks.between("deviation", deviation, 0.1, 4),
            level=level,
        )

    def poster(self) -> bytes:
        figure = picture(6.4, 2.2)
        axes: Any = figure.subplots()
        levels, one = torch.arange(self.count, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        found = DiscretisedGaussian(self.mean * one, self.deviation * one, levels).log_masses.exp().squeeze(-1)
        inks = [PALETTE["model" if k == self.level else "data"] for k in range(self.count)]
        axes.bar(levels.numpy(), found.numpy(), 0.9, color=inks)
        axes.axvline(self.mean, color=PALETTE["limit"])
        axes.set(xlabel="level", ylim=(0, 1.05))
        quiet(axes)
        return png(figure)
