"""A trained network sampling live in the page."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets

from dpm_lib.core import checks
from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script
from dpm_lib.figures.widgets.base import (
    Figure,
    as_array,
    checked,
    fixed_point,
    fixed_point_scale,
    panels,
    picture,
    png,
)


class LiveSampler(Figure):
    """The reverse chain of a trained network for points in the plane, run by the page itself.

    frequencies:      (2, F), the B of the features sin(x B), cos(x B)
    time_frequencies: (E,), the w of the features sin(w log tau), cos(w log tau)
    layers:           [(W (out, in), b (out)), ...]; SiLU between them; the first input has 2 + 2F + 2E numbers,
                      in the order [x, sin x B, cos x B, sin w log tau, cos w log tau]; the last output is
                      [f (2), log diagonal of L (2)] and, for 'full', the entry of L below its diagonal
    covariance:       'full' or 'diagonal'
    log_tau:          (T + 1,), log(1 / alpha_bar_t - 1), increasing; ``log_tau[0]`` is minus infinity
    target:           (m, 2), points of the data, drawn faintly behind
    samples:          (k, 2), points of the model for the poster; without them it shows the data alone
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("sampler.js")
    weights = traitlets.Bytes(help="float32: B, w, then W and b of each layer").tag(sync=True)
    shapes = traitlets.List(traitlets.List(traitlets.Int()), help="[out, in] of each layer").tag(sync=True)
    d = traitlets.Int().tag(sync=True)
    F = traitlets.Int().tag(sync=True)
    E = traitlets.Int().tag(sync=True)
    covariance = traitlets.Unicode().tag(sync=True)
    log_tau = traitlets.Bytes(help="float64 (T + 1)").tag(sync=True)
    target = traitlets.Bytes(help="int16 (m, 2), in units of scale").tag(sync=True)
    scale = traitlets.Float().tag(sync=True)
    extent = traitlets.Float(help="half the width of the panel").tag(sync=True)

    def __init__(
        self,
        frequencies: object,
        time_frequencies: object,
        layers: Sequence[tuple[object, object]],
        covariance: str,
        log_tau: object,
        target: object,
        *,
        samples: object = None,
        label: str = "A trained network sampling in the page",
        caption: str = "",
    ) -> None:
        d = 2
        B = checked("frequencies", frequencies, (d, "F"))
        w = checked("time_frequencies", time_frequencies, ("E",))
        covariance = checks.one_of("covariance", covariance, ("full", "diagonal"))
        arrays = [B, w]
        shapes: list[list[int]] = []
        width = d + 2 * B.shape[1] + 2 * len(w)
        for k, (weight, bias) in enumerate(checks.some("layers", layers)):
            W = checked(f"layers[{k}][0]", weight, ("out", width))
            b = checked(f"layers[{k}][1]", bias, (len(W),))
            arrays += [W, b]
            shapes.append(list(W.shape))
            width = len(W)
        outputs = 2 * d + (d * (d - 1) // 2 if covariance == "full" else 0)
        if width != outputs:
            raise ValueError(f"layers: {width} outputs: need {outputs} at the end for {covariance} covariance")
        target = checked("target", target, ("m", d))
        scale = fixed_point_scale(target)
        self._poster_points = {"data": target}
        if samples is not None:
            self._poster_points["model"] = checked("samples", samples, ("k", d))
        super().__init__(
            label=label,
            caption=caption,
            weights=b"".join(array.astype("<f4").tobytes() for array in arrays),
            shapes=shapes,
            d=d,
            F=B.shape[1],
            E=len(w),
            covariance=covariance,
            log_tau=_checked_log_tau(log_tau).astype("<f8").tobytes(),
            target=fixed_point(target, scale),
            scale=scale,
            extent=max(3.0, 1.1 * float(np.abs(target).max())),
        )

    @classmethod
    def from_model(cls, model: Any, target: object, **options: Any) -> "LiveSampler":
        """The figure of a ``DiffusionModel`` around an ``MLP``; ``options``: samples, label, caption."""
        network, reverse = model.reverse.network, model.reverse
        layers = [(layer.weight, layer.bias) for layer in network.layers]
        log_tau = model.kernel.schedule.log_tau
        return cls(
            network.projection,
            network.time_frequencies,
            layers,
            reverse.covariance,
            log_tau,
            target,
            **options,
        )

    def poster(self) -> bytes:
        figure = picture(3.2, 3.2)
        axes = next(panels(figure, 1, 1))
        axes.set(xlim=(-self.extent, self.extent), ylim=(-self.extent, self.extent), aspect="equal")
        for name, points in self._poster_points.items():
            axes.scatter(points[:, 0], points[:, 1], s=1.5, color=PALETTE[name])
        return png(figure)


def _checked_log_tau(values: object) -> np.ndarray:
    """``log_tau`` as an array: minus infinity first, then finite and increasing."""
    first, *rest = as_array(values).ravel().tolist() or [0.0]
    if first != -np.inf:
        raise ValueError(f"log_tau[0]: {first}: need minus infinity")
    finite = checked("log_tau[1:]", rest, ("T",))
    if (np.diff(finite) <= 0).any():
        t = int(np.argmax(np.diff(finite) <= 0)) + 2
        raise ValueError(f"log_tau[{t}]: {finite[t - 1]}: need more than {finite[t - 2]} before")
    return np.array([first, *rest])
