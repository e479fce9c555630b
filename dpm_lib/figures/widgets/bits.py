"""Bits that flip: strings over time, a schedule while it learns, and a schedule of the reader's own."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from dpm_lib.core import checks
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, checked, panels, picture, png, quiet

SHEET = style("figure.css", "bits.css")


class HeartbeatPlayer(Figure):
    """Heartbeats flipping, and a trained network un-flipping fair coins, drawn by the page in any number of steps.

    layers:      [(W (out, in), b (out)), ...] of the network, SiLU between them; its input is the evidence of each of
                 ``length`` bits, then sin and cos of log tau at the ``frequencies`` (E,)
    log_tau:     (T,), log(1 / alpha_bar_t - 1) of the schedule it was trained with, finite and increasing
    steps:       numbers of steps to choose from, at most T: the chain then visits that many of the T levels
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("heartbeat.js")
    _css = SHEET
    weights = traitlets.Bytes(help="float32: W and b of each layer").tag(sync=True)
    shapes = traitlets.List(traitlets.List(traitlets.Int()), help="[out, in] of each layer").tag(sync=True)
    frequencies = traitlets.List(traitlets.Float()).tag(sync=True)
    log_tau = traitlets.Bytes(help="float64 (T)").tag(sync=True)
    length = traitlets.Int().tag(sync=True)
    period = traitlets.Int().tag(sync=True)
    steps = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(
        self,
        layers: Sequence[tuple[object, object]],
        frequencies: object,
        log_tau: object,
        *,
        length: int = 20,
        period: int = 5,
        steps: Sequence[int] = (2, 5, 10, 25, 50, 100),
        label: str = "Heartbeats flipping, and a trained model un-flipping coins",
        caption: str = "",
    ) -> None:
        w = checked("frequencies", frequencies, ("E",))
        levels = checked("log_tau", log_tau, ("T",))
        if (np.diff(levels) <= 0).any():
            raise ValueError(f"log_tau: need levels that increase, got {levels}")
        if length % period:
            raise ValueError(f"period: {period}: need a divisor of length, {length}")
        for number in checks.some("steps", steps):
            checks.count("steps", number, 2, len(levels))
        arrays, shapes, width = [], [], length + 2 * len(w)
        for k, (weight, bias) in enumerate(layers):
            W = checked(f"layers[{k}][0]", weight, ("out", width))
            arrays += [W, checked(f"layers[{k}][1]", bias, (len(W),))]
            shapes.append(list(W.shape))
            width = len(W)
        if width != length:
            raise ValueError(f"layers: {width} outputs: need {length} at the end")
        super().__init__(
            label=label,
            caption=caption,
            weights=b"".join(array.astype("<f4").tobytes() for array in arrays),
            shapes=shapes,
            frequencies=w.tolist(),
            log_tau=levels.astype("<f8").tobytes(),
            length=length,
            period=period,
            steps=sorted(steps),
        )

    @classmethod
    def from_model(cls, model: Any, **options: Any) -> "HeartbeatPlayer":
        """The figure of a ``DiffusionModel`` of bits around an ``MLP`` without Fourier features of x."""
        network = model.reverse.network
        layers = [(layer.weight, layer.bias) for layer in network.layers]
        return cls(layers, network.time_frequencies, model.schedule.log_tau[1:], length=model.kernel.dim, **options)

    def poster(self) -> bytes:
        figure, rng = picture(6.4, 2.0), np.random.default_rng(0)
        phase = rng.integers(self.period, size=(30, 1))
        x = (np.arange(self.length) % self.period == phase).astype(float)
        for axes, kept in zip(panels(figure, 1, 5), np.linspace(1, 0, 5), strict=True):
            flip = rng.random(x.shape) < (1 - kept) / 2
            axes.imshow(np.where(np.abs(x - flip) > 0.5, 1.0, np.nan), cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
            axes.set_title(f"signal left {kept:.2f}", color=INK, fontsize=8)
        return png(figure)


class LearningCourse(Figure):
    """A schedule while it is learned: beta_t, the cost or loss of each step, and K, over the steps of training.

    runs: {name: {"T": int, "limit": -H(X_0) in bits, "frames": [{"step", "log_tau" (T), "best_bits", "model_bits",
          "kl_bits" (T - 1), "loss_bits" (T - 1)}, ...]}}, as benchmarks/heartbeat.py writes the frames
    Raises ``ValueError`` that names the run and what is wrong with it.
    """

    _esm = script("learning.js")
    _css = SHEET
    runs = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        runs: Mapping[str, Mapping[str, Any]],
        *,
        label: str = "Two schedules while they are learned",
        caption: str = "",
    ) -> None:
        clean = {}
        for name, run in checks.some("runs", runs).items():
            T, frames = int(run["T"]), []
            for frame in run["frames"]:
                kept: dict[str, Any] = {key: float(frame[key]) for key in ("step", "best_bits", "model_bits")}
                for key, size in (("log_tau", T), ("kl_bits", T - 1), ("loss_bits", T - 1)):
                    values = checked(f"runs[{name!r}]['frames'], {key}", frame[key], (size,))
                    kept[key] = [float(f"{v:.5g}") for v in values]
                frames.append(kept | {"step": int(frame["step"])})
            if len(frames) < 2:
                raise ValueError(f"runs[{name!r}]: {len(frames)} frames: need at least two")
            clean[name] = {"T": T, "limit": float(run["limit"]), "frames": frames}
        super().__init__(label=label, caption=caption, runs=clean)

    def poster(self) -> bytes:
        figure = picture(6.4, 2.4)
        run = next(iter(self.runs.values()))
        for axes, key, title in zip(
            figure.subplots(1, 2),
            ("log_tau", "loss_bits"),
            ("log tau, start and end", "loss of each step"),
            strict=True,
        ):
            for frame, colour in ((run["frames"][0], INK), (run["frames"][-1], PALETTE["model"])):
                axes.plot(frame[key], color=colour)
            axes.set(xlabel="t", title=title)
            quiet(axes)
        return png(figure)


class OwnBits(Figure):
    """A schedule for the heartbeat to bend, with the exact best K and its three losses, computed by the page.

    presets: {name: {"T": steps, "log10_beta_1": of the first step, "knots": (7,)}}: alpha_bar_t is 1 - beta_1 times a
             line through the knots, at even places from t = 1 to T; they fall from 1 to 0 or above
    Raises ``ValueError`` that names the preset and what is wrong with it.
    """

    _esm = script("ownbits.js")
    _css = SHEET
    presets = traitlets.Dict().tag(sync=True)
    period = traitlets.Int().tag(sync=True)
    size = traitlets.Int(help="strings have period * size bits").tag(sync=True)

    def __init__(
        self,
        presets: Mapping[str, Mapping[str, Any]] | None = None,
        period: int = 5,
        size: int = 4,
        *,
        label: str = "A schedule for bits to bend, with its exact bound",
        caption: str = "",
    ) -> None:
        clean = {}
        for name, preset in (PRESETS if presets is None else presets).items():
            knots = checked(f"presets[{name!r}]['knots']", preset["knots"], ("k",))
            if len(knots) < 3 or knots[0] != 1 or (np.diff(knots) >= 0).any() or knots[-1] < 0:
                raise ValueError(f"presets[{name!r}]['knots']: need a fall from 1, and not below 0, got {knots}")
            T = checks.count(f"presets[{name!r}]['T']", preset["T"], 10, 200)
            first = checks.between(f"presets[{name!r}]['log10_beta_1']", preset["log10_beta_1"], -8, -0.5)
            clean[name] = {"T": T, "log10_beta_1": first, "knots": knots.tolist()}
        checks.some("presets", clean)
        if math.comb(checks.count("period", period, 2) + checks.count("size", size), size) > 3000:
            raise ValueError(f"period, size: {period}, {size}: need at most 3000 kinds of strings")
        super().__init__(label=label, caption=caption, presets=clean, period=period, size=size)

    def poster(self) -> bytes:
        figure = picture(6.4, 2.4)
        axes = figure.subplots()
        for preset, colour in zip(self.presets.values(), PALETTE.values(), strict=False):
            u = np.linspace(0, 1, preset["T"])
            axes.plot(u, np.interp(u, np.linspace(0, 1, len(preset["knots"])), preset["knots"]), color=colour)
        axes.set(xlabel="t / T", ylabel="alpha bar")
        quiet(axes)
        return png(figure)


_EVEN = [1 - k / 6 for k in range(7)]
PRESETS: dict[str, dict[str, Any]] = {
    "even, as in the paper": {"T": 100, "log10_beta_1": -2.0, "knots": _EVEN},
    "even after a tiny step": {"T": 100, "log10_beta_1": -6.0, "knots": _EVEN},
    "cosine": {"T": 100, "log10_beta_1": -6.0, "knots": [math.cos(math.pi * k / 12) ** 2 for k in range(6)] + [0.0]},
    "fast, then slow": {"T": 100, "log10_beta_1": -6.0, "knots": [math.exp(-k) for k in range(7)]},
}
