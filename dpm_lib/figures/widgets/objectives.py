"""The figure of objectives: where along the noise each of them looks, over one network's own error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import traitlets

from dpm_lib.core import checks
from dpm_lib.diffusion.loss_weights import TABLE, loss_density
from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, checked, picture, png, quiet

NAMES = tuple(TABLE)
LEAST = 1e-12  # of an error


class LossWeights(Figure):
    """Two objectives over one error curve: the density of each one's loss along log tau, of area 1, and its weight over
    the bound's, which tells whether it is a mixture of bounds.

    log_tau:        (m,) levels of noise that rise, from -30 to 30; by default those of one Gaussian of variance 1
    error:          (m,) mean |x_0 - x0_hat|^2 there, over all ``dim`` coordinates
    first, second:  two of ``NAMES``, at first
    cut:            log tau at first, to tell how much of each loss lies below
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("weights.js")
    _css = style("figure.css", "information.css", "score_matching.css")
    log_tau = traitlets.Bytes().tag(sync=True)
    error = traitlets.Bytes().tag(sync=True)
    dim = traitlets.Int().tag(sync=True)
    first = traitlets.Unicode().tag(sync=True)
    second = traitlets.Unicode().tag(sync=True)
    cut = traitlets.Float().tag(sync=True)

    def __init__(
        self,
        log_tau: Sequence[float] | None = None,
        error: Sequence[float] | None = None,
        dim: int = 1,
        first: str = "bound",
        second: str = "simple",
        cut: float = -4.0,
        *,
        label: str = "Where along the noise two objectives look, over one network's error",
        caption: str = "",
    ) -> None:
        dim = checks.count("dim", dim)
        if log_tau is None:
            log_tau = np.linspace(-9, 9, 37).tolist()
            error = [dim / (1 + np.exp(-level)) for level in log_tau]
        levels = checked("log_tau", log_tau, ("m",))
        errors = checked("error", error, (len(levels),))
        if len(levels) < 3 or not (np.diff(levels) > 0).all():
            raise ValueError(f"log_tau: need three levels or more that rise, got {levels.tolist()}")
        checks.between("log_tau", float(levels[0]), -30, 30)
        checks.between("log_tau", float(levels[-1]), -30, 30)
        checks.between("error", float(errors.min()), LEAST)
        super().__init__(
            label=label,
            caption=caption,
            log_tau=levels.astype("<f8").tobytes(),
            error=errors.astype("<f8").tobytes(),
            dim=dim,
            first=checks.one_of("first", first, NAMES),
            second=checks.one_of("second", second, NAMES),
            cut=checks.between("cut", cut, float(levels[0]), float(levels[-1])),
        )

    def poster(self) -> bytes:
        levels, errors = (torch.frombuffer(bytearray(part), dtype=torch.float64) for part in (self.log_tau, self.error))
        figure = picture(6.4, 2.8)
        axes: Any = figure.subplots()
        for name, ink in ((self.first, "data"), (self.second, "model")):
            density = loss_density(TABLE[name], levels, errors)
            axes.fill_between(levels, density, color=PALETTE[ink], alpha=0.3)
            axes.plot(levels, density, color=PALETTE[ink], label=name)
        axes.axvline(self.cut, color=PALETTE["limit"])
        axes.legend(fontsize=8)
        axes.set(xlabel="log tau", ylabel="share of the loss", ylim=(0, None))
        quiet(axes)
        return png(figure)
