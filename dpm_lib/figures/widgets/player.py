"""The trajectory player: the 2015 paper's first figure, with time to play."""

from typing import Any

import numpy as np
import torch
import traitlets

from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script
from dpm_lib.figures.widgets.base import Figure, checked, fixed_point, fixed_point_scale, panels, picture, png


class TrajectoryPlayer(Figure):
    """Three rows over one time slider: data diffusing, the model un-diffusing, and the drift it has learned.

    forward:  (T + 1, n, 2), the points x_t of n forward trajectories; index t, so ``forward[0]`` is data
    reverse:  (T + 1, n, 2), the points of n trajectories of the model; index t too: ``reverse[T]`` is noise
    drift_at: (g, 2), the points at which the drift was evaluated
    drift:    (T + 1, g, 2), E[x_{t-1} | x_t] - x_t there; ``drift[0]`` is zero
    Raises ``ValueError`` for a wrong shape or a value that is not finite.
    """

    _esm = script("player.js")
    forward = traitlets.Bytes(help="int16 (T + 1, n, 2), in units of scale").tag(sync=True)
    reverse = traitlets.Bytes(help="int16 (T + 1, n, 2), in units of scale").tag(sync=True)
    drift_at = traitlets.Bytes(help="int16 (g, 2), in units of scale").tag(sync=True)
    drift = traitlets.Bytes(help="int16 (T + 1, g, 2), row t in units of drift_scale[t]").tag(sync=True)
    scale = traitlets.Float().tag(sync=True)
    drift_scale = traitlets.List(traitlets.Float()).tag(sync=True)
    extent = traitlets.Float(help="half the width of the panels").tag(sync=True)
    T = traitlets.Int().tag(sync=True)
    n = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        forward: object,
        reverse: object,
        drift_at: object,
        drift: object,
        *,
        label: str = "Data diffusing, the model un-diffusing, and the learned drift",
        caption: str = "",
    ) -> None:
        forward = checked("forward", forward, ("T + 1", "n", 2))
        if len(forward) < 2:
            raise ValueError(f"forward: need at least the times 0 and 1, got shape {forward.shape}")
        reverse = checked("reverse", reverse, forward.shape)
        drift_at = checked("drift_at", drift_at, ("g", 2))
        drift = checked("drift", drift, (len(forward), *drift_at.shape))
        scale = fixed_point_scale(forward, reverse, drift_at)
        drift_scale = [fixed_point_scale(row) for row in drift]
        self._poster_data = forward, reverse, drift_at, drift
        super().__init__(
            label=label,
            caption=caption,
            forward=fixed_point(forward, scale),
            reverse=fixed_point(reverse, scale),
            drift_at=fixed_point(drift_at, scale),
            drift=b"".join(fixed_point(row, s) for row, s in zip(drift, drift_scale, strict=True)),
            scale=scale,
            drift_scale=drift_scale,
            extent=1.05 * float(np.quantile(np.abs(forward), 0.997)),
            T=len(forward) - 1,
            n=forward.shape[1],
        )

    @classmethod
    def from_model(cls, model: Any, x0: Any, generator: Any, side: int = 15, reach: float = 2.6, **options: Any) -> Any:
        """The figure of a ``DiffusionModel`` for data ``x0`` (n, 2); the drift on a square of ``side``^2 points."""
        line = torch.linspace(-reach, reach, side, dtype=torch.float64)
        grid = torch.cartesian_prod(line, line)
        drift = [torch.zeros_like(grid)] + [model.drift(grid, t) for t in range(1, model.T + 1)]
        forward = model.forward_trajectory(x0, generator)
        reverse = model.reverse_trajectory(len(x0), generator)
        return cls(forward, reverse, grid, torch.stack(drift), **options)

    def poster(self) -> bytes:
        forward, reverse, drift_at, drift = self._poster_data
        figure = picture(6.4, 3.9)
        times = [round(quarter * self.T / 4) for quarter in range(5)]
        grid = panels(figure, 3, 5)
        for row, colour in zip((forward, reverse, drift), ("data", "model", "drift"), strict=True):
            for t in times:
                axes = next(grid)
                axes.set(xlim=(-self.extent, self.extent), ylim=(-self.extent, self.extent), aspect="equal")
                if colour == "drift" and t > 0:
                    axes.quiver(*drift_at.T, *row[t].T, color=PALETTE[colour], width=0.008)
                elif colour != "drift":
                    axes.scatter(row[t, :300, 0], row[t, :300, 1], s=1, color=PALETTE[colour])
                if colour == "data":
                    axes.set_title(f"t = {t}")
        return png(figure)
