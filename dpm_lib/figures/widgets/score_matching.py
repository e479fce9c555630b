"""Figures of score matching: the floor of the loss, what a small noise is blind to, and Langevin down a ladder."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import traitlets
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.standard_error import stderr
from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, checked, picture, png, quiet
from dpm_lib.information import mmse
from dpm_lib.probability.mixtures import Mixture

SHEET = style("figure.css", "information.css", "score_matching.css")


def two_modes(share: float, m: float, variance: float) -> Mixture:
    """(1 - share) N(-m, variance) + share N(m, variance), on the line."""
    return Mixture(
        torch.tensor([[-m], [m]], dtype=torch.float64), torch.tensor([1 - share, share], dtype=torch.float64), variance
    )


class LossFloor(Figure):
    """The denoising loss of a mixture on the line, by the level of noise: its floor mmse(t), a network's measured loss
    above it, and a wrong denoiser to drag, whose loss is above by its Fisher divergence.

    target:               a mixture on the line, of at most 8 components
    levels:               (L,) noise t of the measured losses, or none
    losses, errors:       (L,) mean |y - guess|^2 of a network, and its standard error: see ``measured``
    keep, bias:           of the wrong denoiser at first, mean + keep (best guess - mean) + bias
    t:                    noise at first, 1e-3 to 100
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("floor.js")
    _css = SHEET
    centers = traitlets.List(traitlets.Float()).tag(sync=True)
    weights = traitlets.List(traitlets.Float()).tag(sync=True)
    variance = traitlets.Float().tag(sync=True)
    levels = traitlets.Bytes().tag(sync=True)
    losses = traitlets.Bytes().tag(sync=True)
    errors = traitlets.Bytes().tag(sync=True)
    keep = traitlets.Float().tag(sync=True)
    bias = traitlets.Float().tag(sync=True)
    t = traitlets.Float().tag(sync=True)

    def __init__(
        self,
        target: Mixture | None = None,
        levels: Sequence[float] = (),
        losses: Sequence[float] = (),
        errors: Sequence[float] = (),
        keep: float = 0.8,
        bias: float = 0.1,
        t: float = 0.3,
        *,
        label: str = "The floor of the denoising loss at every noise, and losses above it",
        caption: str = "",
    ) -> None:
        target = two_modes(0.7, 1.0, 0.05) if target is None else target
        if target.dim != 1 or len(target.centers) > 8:
            found = f"{len(target.centers)} components in {target.dim} dimensions"
            raise ValueError(f"target: {found}: need a mixture on the line, of at most 8")
        given: dict[str, Any] = {"levels": levels, "losses": losses, "errors": errors}
        if any(len(value) for value in given.values()):
            given = {name: checked(name, value, (len(levels),)) for name, value in given.items()}
            for name, least in (("levels", 1e-3), ("losses", 1e-12), ("errors", 0.0)):
                checks.between(name, float(np.min(given[name])), least)
        super().__init__(
            label=label,
            caption=caption,
            centers=target.centers[:, 0].tolist(),
            weights=target.weights.tolist(),
            variance=target.variance,
            levels=np.asarray(given["levels"], dtype="<f8").tobytes(),
            losses=np.asarray(given["losses"], dtype="<f8").tobytes(),
            errors=np.asarray(given["errors"], dtype="<f8").tobytes(),
            keep=checks.between("keep", keep, 0, 1.5),
            bias=checks.between("bias", bias, -1, 1),
            t=checks.between("t", t, 1e-3, 100),
        )

    def poster(self) -> bytes:
        centers = torch.tensor(self.centers, dtype=torch.float64).unsqueeze(1)
        target = Mixture(centers, torch.tensor(self.weights, dtype=torch.float64), self.variance)
        t = np.geomspace(1e-3, 100, 61)
        floor = np.array([mmse.mmse(target, level, 0.1) for level in t])
        spread = float(mmse.covariance(target))
        wrong = floor + (1 - self.keep) ** 2 * (spread - floor) + self.bias**2
        figure = picture(6.4, 2.8)
        axes = figure.subplots()
        axes.loglog(t, floor / t**2, color=PALETTE["data"])
        axes.loglog(t, wrong / t**2, color=PALETTE["model"], linestyle="--")
        levels, losses, errors = (np.frombuffer(v) for v in (self.levels, self.losses, self.errors))
        axes.errorbar(levels, losses / levels**2, 2 * errors / levels**2, fmt=".", color=PALETTE["limit"])
        axes.set(xlabel="noise t", ylabel="loss of the score")
        quiet(axes)
        return png(figure)


def measured_losses(
    guess: Callable[[Tensor, float], Tensor],
    target: Mixture,
    levels: Sequence[float],
    n: int,
    generator: torch.Generator,
) -> tuple[list[float], list[float]]:
    """Mean |y - guess(z, t)|^2 and its standard error at each of ``levels``, each from n fresh draws of the target.

    ValueError for n < 2.
    """
    losses, errors = [], []
    for t in levels:
        y = target.sample(checks.count("n", n, 2), generator)
        with torch.no_grad():
            square = (y - guess(mmse.noisy(y, t, generator), t)).square().sum(-1)
        losses.append(float(square.mean()))
        errors.append(stderr(square))
    return losses, errors


class BlindShare(Figure):
    """Two modes at -m and m: their share in the data and in a model, to drag, and what the Fisher and the KL divergence
    see of the difference at every noise; live.

    share, guess:  of the right mode, in the data and in the model, at first; 0.01 to 0.99
    m, variance:   the modes are N(-m, variance) and N(m, variance); m from 1 to 5 and variance from 0.05 to 1
    t:             noise at first, 0.01 to 1000
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("blind.js")
    _css = SHEET
    share = traitlets.Float().tag(sync=True)
    guess = traitlets.Float().tag(sync=True)
    m = traitlets.Float().tag(sync=True)
    variance = traitlets.Float().tag(sync=True)
    t = traitlets.Float().tag(sync=True)

    def __init__(
        self,
        share: float = 0.8,
        guess: float = 0.3,
        m: float = 4.0,
        variance: float = 0.1,
        t: float = 0.1,
        *,
        label: str = "What the Fisher divergence sees of the shares of two far modes, by the noise",
        caption: str = "",
    ) -> None:
        super().__init__(
            label=label,
            caption=caption,
            share=checks.between("share", share, 0.01, 0.99),
            guess=checks.between("guess", guess, 0.01, 0.99),
            m=checks.between("m", m, 1, 5),
            variance=checks.between("variance", variance, 0.05, 1),
            t=checks.between("t", t, 0.01, 1000),
        )

    def poster(self) -> bytes:
        data, model = (two_modes(share, self.m, self.variance) for share in (self.share, self.guess))
        t = np.geomspace(0.01, 1000, 61)
        fisher, kl = np.array([_divergences(data, model, level) for level in t]).T
        figure = picture(6.4, 2.8)
        axes = figure.subplots()
        axes.loglog(t, np.maximum(fisher, 1e-32), color=PALETTE["limit"])
        axes.loglog(t, kl, color=PALETTE["drift"])
        axes.axvline(self.t, color=PALETTE["model"])
        axes.set(xlabel="noise t", ylabel="Fisher divergence, and KL", ylim=(1e-30, 30))
        quiet(axes)
        return png(figure)


def _divergences(data: Mixture, model: Mixture, t: float) -> tuple[float, float]:
    """Fisher and KL divergence of two mixtures on the line at noise t, on an even grid."""
    reach = float(data.centers.max()) + 9 * math.sqrt(data.variance + t)
    z = torch.linspace(-reach, reach, 4001, dtype=torch.float64).unsqueeze(1)
    log_p, log_q = data.log_prob(z, t), model.log_prob(z, t)
    p, h = log_p.exp(), float(z[1] - z[0])
    off = (data.score(z, t) - model.score(z, t))[:, 0]
    return h * float(p @ off.square()), h * float(p @ (log_p - log_q))


class LangevinLevels(Figure):
    """Two modes of unequal share, sampled on the line at equal calls of the score: by Langevin at one level, annealed,
    annealed with weights, by temperatures with weights, by the reverse chain and by the probability flow; live.

    share, m, variance:  the data (1 - share) N(-m, variance) + share N(m, variance)
    top, bottom:         the highest and the last level of noise
    ratio:               a Langevin step's variance over the level, 0.1 to 2, at first
    level:               of Langevin at one level, from bottom to top, at first
    walk:                standard deviation of the Metropolis moves between temperatures
    n:                   particles, 2 to 2000
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("ladder.js")
    _css = SHEET
    share = traitlets.Float().tag(sync=True)
    m = traitlets.Float().tag(sync=True)
    variance = traitlets.Float().tag(sync=True)
    top = traitlets.Float().tag(sync=True)
    bottom = traitlets.Float().tag(sync=True)
    ratio = traitlets.Float().tag(sync=True)
    level = traitlets.Float().tag(sync=True)
    walk = traitlets.Float().tag(sync=True)
    n = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        share: float = 0.8,
        m: float = 2.5,
        variance: float = 0.1,
        top: float = 16.0,
        bottom: float = 0.01,
        ratio: float = 0.4,
        level: float = 0.1,
        walk: float = 1.0,
        n: int = 400,
        *,
        label: str = "Two modes sampled by six ways at equal calls of the score",
        caption: str = "",
    ) -> None:
        top = checks.between("top", top, 0.1, 1000)
        bottom = checks.between("bottom", bottom, 1e-3, 0.5 * top)
        super().__init__(
            label=label,
            caption=caption,
            share=checks.between("share", share, 0.01, 0.99),
            m=checks.between("m", m, 0.5, 10),
            variance=checks.between("variance", variance, 0, 1),
            top=top,
            bottom=bottom,
            ratio=checks.between("ratio", ratio, 0.1, 2),
            level=checks.between("level", level, bottom, top),
            walk=checks.between("walk", walk, 0.01, 10),
            n=checks.count("n", n, 2, 2000),
        )

    def poster(self) -> bytes:
        target = two_modes(self.share, self.m, self.variance)
        reach = self.m + 1.6 * math.sqrt(self.top)
        z = torch.linspace(-reach, reach, 300, dtype=torch.float64).unsqueeze(1)
        levels = np.geomspace(self.top, self.bottom, 200)
        p = np.stack([target.log_prob(z, t).exp().numpy() for t in levels], 1)
        figure = picture(6.4, 3.0)
        axes = figure.subplots()
        axes.imshow(np.sqrt(p), extent=(0, 1, -reach, reach), origin="lower", aspect="auto", cmap="Greens", alpha=0.8)
        axes.set(xticks=[0, 1], xticklabels=[f"t = {self.top:g}", f"t = {self.bottom:g}"], ylabel="z")
        quiet(axes)
        return png(figure)
