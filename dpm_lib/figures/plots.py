"""The still figures, in one palette, the same that the moving figures use."""

import html
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core.constants import LN2
from dpm_lib.core.extras import extra
from dpm_lib.core.random import seeded
from dpm_lib.data.contact_sheet import sheet
from dpm_lib.data.dataset import Data
from dpm_lib.data.images import Images
from dpm_lib.data.registry import as_data
from dpm_lib.data.text import Text
from dpm_lib.diffusion import bound
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.widgets.base import image_html

with extra("figures"):
    import matplotlib

    matplotlib.use("agg", force=False)
    import matplotlib.pyplot as plt
    from IPython.display import HTML, display
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
NUMBER = re.compile(r"[-−]?[\d.,]+(\s*±.*)?$")


def use_book_style() -> None:
    """Transparent figures with grey ink, which suit light and dark pages alike."""
    plt.rc("figure", facecolor="none")
    plt.rc("text", color=INK)
    plt.rc("xtick", color=INK)
    plt.rc("ytick", color=INK)
    plt.rc("axes", facecolor="none", edgecolor=INK, labelcolor=INK, titlecolor=INK, titlesize="medium")
    plt.rc("axes.spines", top=False, right=False)


def show(figure: Figure, alt: str) -> None:
    """Show a still figure in the page with a text ``alt`` for those who cannot see it, and close it."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=144, bbox_inches="tight")
    plt.close(figure)
    display(HTML(image_html(file.getvalue(), alt, "figure-still")))


def table(header: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> None:
    """Show a table with its ``caption``: in a page one that scrolls in itself where it is too wide, else plain text.

    The first cell of a row is its name; a number, with or without its ±, is set as one. ValueError, with the index,
    for a row of another length than the ``header``.
    """
    lines = [[str(cell) for cell in row] for row in rows]
    for index, line in enumerate(lines):
        if len(line) != len(header):
            raise ValueError(f"rows: {len(line)} cells at index {index}, and the header has {len(header)}")
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    plain = ["  ".join(f"{cell:{width}s}" for cell, width in zip(line, widths, strict=True)).rstrip()
             for line in (header, *lines)]  # fmt: skip
    display({"text/plain": "\n".join([caption, "", *plain]), "text/html": table_html(header, lines, caption)}, raw=True)


def table_html(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """The table as HTML, everything escaped, in a box that can be scrolled by keyboard too."""

    def row(cells: Sequence[str]) -> str:
        first = f'<th scope="row">{html.escape(cells[0])}</th>'
        rest = (f"<td{' class=number' if NUMBER.match(cell) else ''}>{html.escape(cell)}</td>" for cell in cells[1:])
        return f"<tr>{first}{''.join(rest)}</tr>"

    name = html.escape(caption, quote=True)
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "".join(map(row, rows))
    return (
        f'<div class="book-table mathjax_ignore tex2jax_ignore" role="region" tabindex="0" aria-label="{name}">'
        f"<table><caption>{name}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def scatter(ax: Axes, x: torch.Tensor, color: str, title: str = "", reach: float = 2.6) -> None:
    """Points x (n, 2) in a square frame without ticks."""
    ax.scatter(x[:, 0], x[:, 1], s=2, c=PALETTE[color], alpha=0.5, linewidths=0)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal", title=title)


def raster(ax: Axes, x: torch.Tensor, color: str, title: str = "") -> None:
    """Strings of bits x (n, d), one a row; ones are dark."""
    ax.imshow(
        x.numpy(), cmap=ListedColormap(["none", PALETTE[color]]), vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    ax.set(xticks=[], yticks=[], title=title)


def kl_bars(ax: Axes, terms: bound.BoundTerms) -> None:
    """The cost of each step, E KL_t in bits, as bars over t = 2..T."""
    bits = (terms.kl.mean(1)[2:] / LN2).numpy()
    ax.bar(range(2, len(bits) + 2), bits, color=PALETTE["model"])
    ax.set(xlabel="t", ylabel="KL$_t$ (bits)", title=f"cost of each step, {float(bits.sum()):.2f} bits in all")


def pictures(axes: Axes, images: Tensor, title: str = "", columns: int = 8) -> None:
    """Images (n, channels, height, width), 0 black and 1 white, in rows of ``columns``."""
    one = sheet(images, columns)
    shown = (one if one.shape[2] == 3 else one[..., 0]).numpy()
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(title=title, xticks=[], yticks=[])


def run_summary(model: DiffusionModel, data: Any, seed: int = 0) -> Figure:
    """Held-out data, samples of the model, and the cost of each step, side by side.

    ``data`` are what ``training.fit`` takes: your own array, too. Of pictures and texts at most 64, and 16 where
    T > 200, for that takes long. Of points the first two coordinates.
    """
    data = as_data(data)
    generator = seeded(seed, model.schedule.log_alpha_bar.device)
    few = isinstance(data, (Images, Text))
    n = (64 if model.T <= 200 else 16) if few else 2000
    held_out = data.held_out(n, seed)
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
    drawn = model.sample(n, generator).cpu()
    if isinstance(data, Images):
        pictures(axes[0], data.pixels(held_out) / data.levels, "held-out data")
        pictures(axes[1], data.pixels(drawn) / data.levels, "samples of the model")
    elif data.bits:
        raster(axes[0], held_out[:40], "data", "held-out data")
        raster(axes[1], drawn[:40], "model", "samples of the model")
    else:
        reach = 2.6 if data.target is not None else 4.0  # standard deviations
        scatter(axes[0], _plane(held_out), "data", "held-out data", reach)
        scatter(axes[1], _plane(drawn), "model", "samples of the model", reach)
    terms = bound.terms(model, held_out.to(generator.device), generator)
    kl_bars(axes[2], bound.BoundTerms(*(getattr(terms, name).cpu() for name in terms.__dataclass_fields__)))
    return figure


def _plane(x: Tensor) -> Tensor:
    """The first two coordinates of points (n, d), the second zero where d = 1."""
    return x[:, :2] if x.shape[1] > 1 else torch.nn.functional.pad(x, (0, 1))


def save_run_summary(path: Path, model: DiffusionModel, data: Data, seed: int = 0) -> None:
    """Write ``run_summary`` as a PNG."""
    figure = run_summary(model, data, seed)
    figure.savefig(path, dpi=110)
    plt.close(figure)
