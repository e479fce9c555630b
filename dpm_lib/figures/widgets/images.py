"""Pictures un-diffusing, and one pixel that knows of levels."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import traitlets

from dpm_lib.core import checks
from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, checked, panels, picture, png, quiet

SHEET = style("figure.css", "images.css")


class ImagePlayer(Figure):
    """Grey pictures over the time of the reverse chain: what the chain holds, and what the network expects.

    sets: {name: {"held": (F, n, s, s), "expected": (F, n, s, s), "times": (F,)}}: pictures from 0 (black) to 1 (white),
          clipped there; times in steps, falling to 0; n is a square number
    Raises ``ValueError`` that names the set and what is wrong with it.
    """

    _esm = script("images.js")
    _css = SHEET
    pictures = traitlets.Bytes(help="uint8: held, then expected, set after set").tag(sync=True)
    sets = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(
        self,
        sets: Mapping[str, Mapping[str, Any]],
        *,
        label: str = "Pictures un-diffusing",
        caption: str = "",
    ) -> None:
        parts, about = [], []
        for name, one in checks.some("sets", sets).items():
            times = checked(f"sets[{name!r}]['times']", one["times"], ("F",))
            held = checked(f"sets[{name!r}]['held']", one["held"], (len(times), "n", "s", "s"))
            expected = checked(f"sets[{name!r}]['expected']", one["expected"], held.shape)
            n, side = held.shape[1:3]
            if math.isqrt(n) ** 2 != n or held.shape[3] != side:
                raise ValueError(f"sets[{name!r}]: need a square number of square pictures, got {held.shape[1:]}")
            if (np.diff(times) >= 0).any() or times[-1] != 0:
                raise ValueError(f"sets[{name!r}]['times']: need a fall to 0, got {times}")
            parts += [np.rint(255 * a.clip(0, 1)).astype("u1").tobytes() for a in (held, expected)]
            about.append({"name": name, "n": n, "side": side, "times": [int(t) for t in times]})
        super().__init__(label=label, caption=caption, pictures=b"".join(parts), sets=about)

    @classmethod
    def from_models(cls, models: Mapping[str, tuple[Any, Any]], n: int = 16, frames: int = 41, **options: Any) -> Any:
        """The figure of {name: (model, data)}: n draws of each ``DiffusionModel`` of ``Images`` from seed 0."""
        return cls({name: record(model, data, n, frames) for name, (model, data) in models.items()}, **options)

    def poster(self) -> bytes:
        figure, start = picture(6.4, 1.7), 0
        n, side, times = (self.sets[0][key] for key in ("n", "side", "times"))
        held = np.frombuffer(self.pictures, "u1", len(times) * n * side * side, start).reshape(-1, n, side, side)
        shown = np.linspace(0, len(times) - 1, 5).astype(int)
        for axes, k in zip(panels(figure, 1, 5), shown, strict=True):
            axes.imshow(sheet(held[k]), cmap="gray", vmin=0, vmax=255)
            axes.set_title(f"t = {times[k]}", fontsize=8)
            quiet(axes)
        return png(figure)


@torch.no_grad()
def record(model: Any, data: Any, n: int = 16, frames: int = 41, seed: int = 0) -> dict[str, Any]:
    """Pictures of n reverse chains for ``ImagePlayer``: at about ``frames`` times, even from T down to a noise of a
    fifth of a level, which nobody sees, and at 0."""
    generator = torch.Generator().manual_seed(seed)
    unseen = int((model.schedule.tau.sqrt() * data.std < 0.2).sum()) - 1
    keep = {0} | {int(t) for t in np.linspace(min(unseen, model.T), model.T, frames - 1).round()}
    x = model.kernel.prior.expand(n).sample(generator)
    held, expected, times = [], [], []
    for t in range(model.T, -1, -1):
        if t in keep:
            times.append(t)
            held.append(data.pixels(x)[:, 0] / data.levels)
            guess = x if t == 0 else model.reverse.moments(x, t, model.kernel)[0]
            expected.append(data.pixels(guess)[:, 0] / data.levels)
        if t:
            x = model.reverse_step(x, t).sample(generator)
    return {"held": torch.stack(held), "expected": torch.stack(expected), "times": times}


def sheet(pictures: np.ndarray) -> np.ndarray:
    """n square pictures (n, s, s) in rows of sqrt(n), with one dark pixel between: as the figure lays them out."""
    n, side, _ = pictures.shape
    columns = math.isqrt(n)
    out = np.zeros((columns * (side + 1) - 1,) * 2, pictures.dtype)
    for k, one in enumerate(pictures):
        row, column = divmod(k, columns)
        out[row * (side + 1) :, column * (side + 1) :][:side, :side] = one
    return out


class LevelPosterior(Figure):
    """One pixel of x_0 given its noisy value and what the other pixels say of its level.

    levels:  number of levels L; level k is the cell [k, k + 1)
    opinions: {name: (L,)}: what the others may say, not negative, with a positive sum
    spread:  (least, most, first) standard deviation of the noise, in levels
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("levels.js")
    _css = SHEET
    levels = traitlets.Int().tag(sync=True)
    opinions = traitlets.List(traitlets.Tuple(), help="[name, (L,)] in their order").tag(sync=True)
    spread = traitlets.List(traitlets.Float()).tag(sync=True)

    def __init__(
        self,
        opinions: Mapping[str, object],
        spread: Sequence[float] = (0.05, 20.0, 1.5),
        *,
        label: str = "One pixel given its noisy value",
        caption: str = "",
    ) -> None:
        clean, levels = {}, None
        for name, weights in checks.some("opinions", opinions).items():
            w = checked(f"opinions[{name!r}]", weights, ("L",) if levels is None else (levels,))
            levels = len(w)
            if (w < 0).any() or not w.sum() > 0:
                raise ValueError(f"opinions[{name!r}]: need weights, none negative and not all 0, got {w}")
            clean[name] = (w / w.sum()).tolist()
        least, most, first = spread
        if not 0 < least < first < most:
            raise ValueError(f"spread: {list(spread)}: need (least, most, first) with 0 < least < first < most")
        super().__init__(
            label=label, caption=caption, levels=levels, opinions=list(clean.items()), spread=[float(v) for v in spread]
        )

    def poster(self) -> bytes:
        figure = picture(6.4, 2.2)
        axes, (_, _, s), y = figure.subplots(), self.spread, 0.55 * self.levels
        x = np.linspace(0, self.levels, 800, endpoint=False)
        density = np.asarray(self.opinions[0][1])[x.astype(int)] * np.exp(-0.5 * ((x - y) / s) ** 2)
        axes.fill_between(x, density / density.max(), color=PALETTE["model"], alpha=0.7)
        axes.plot(x, np.exp(-0.5 * ((x - y) / s) ** 2), color=PALETTE["data"])
        axes.set(xlabel="level", yticks=[])
        quiet(axes)
        return png(figure)
