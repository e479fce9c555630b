"""What every interactive figure shares: its accessible text, its poster, its script, and checks on its data.

A figure is one ``anywidget``: the same object works in Jupyter, in Colab, and in the built book, where no
kernel runs. Its script is one ES module in ``js/`` (see ``figures.scripts``). Its data travels as bytes, so that a page
stays small.
"""

import base64
import html
import io
from collections.abc import Iterator
from typing import Any

import anywidget
import numpy as np
import traitlets
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from dpm_lib.figures.palette import INK
from dpm_lib.figures.scripts import style

# Where no kernel holds the figure, JupyterLab and Notebook write "Error displaying widget: model not found" into the
# output after the poster: an output of text alone. In a notebook that they do not trust, they drop this rule, but also
# the figure, with no word.
NO_ERROR = ".jp-OutputArea-child:has(.dpm-poster) + .jp-OutputArea-child > .lm-Panel:not(:has(*)) { display: none; }"


class Figure(anywidget.AnyWidget):
    """An interactive figure with a name, a caption, and a still poster for readers without a kernel or JavaScript.

    Subclasses set ``_esm = script("their.js")`` and define ``poster()``.
    """

    _css = style("figure.css")
    label = traitlets.Unicode(help="short accessible name; also the poster's alternative text").tag(sync=True)
    caption = traitlets.Unicode(help="what to try, and what to see").tag(sync=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label!r})"

    def poster(self) -> bytes:
        """A PNG picture of the figure. NotImplementedError in the base, which has none."""
        raise NotImplementedError

    def poster_html(self) -> str:
        """The poster as HTML, to stand before the figure, whose script hides it."""
        image = image_html(self.poster(), self.label, "figure-poster")
        return f'<div class="dpm-poster"><style>{NO_ERROR}</style>{image}</div>'

    def _ipython_display_(self, **_: object) -> None:
        """Two outputs: a notebook that is read without a kernel shows the first, and nothing of the second."""
        mimebundle = self._repr_mimebundle_()
        assert mimebundle is not None
        data, metadata = mimebundle
        text = data.pop("text/plain")
        display({"text/html": self.poster_html(), "text/plain": text}, raw=True)
        display(data, metadata=metadata, raw=True)


def image_html(png: bytes, alt: str, css_class: str) -> str:
    """A picture with its alternative text, as HTML that needs no other file."""
    data = base64.b64encode(png).decode("ascii")
    return f'<img class="{css_class}" alt="{html.escape(alt, quote=True)}" src="data:image/png;base64,{data}">'


def fixed_point(values: np.ndarray, scale: float) -> bytes:
    """``values / scale``, of any shape, rounded to 16-bit integers; the error is at most ``scale / 2``."""
    return np.rint(values / scale).astype("<i2").tobytes()


def fixed_point_scale(*arrays: np.ndarray) -> float:
    """The smallest scale at which every value of ``arrays`` fits into 16 bits (1 if all are zero)."""
    return max(float(np.abs(a).max(initial=0.0)) for a in arrays) / 32767 or 1.0


def as_array(values: Any) -> np.ndarray:
    """``values`` (a list, an array, or a torch tensor wherever it lives), of any shape, as a float64 array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    return np.asarray(values, dtype=np.float64)


def checked(name: str, values: object, shape: tuple[int | str, ...]) -> np.ndarray:
    """``values`` as a finite float64 array, any shape that fits ``shape``: sizes, and letters for sizes that are free.

    Raises ``ValueError`` that names the argument and the offending shape or value.
    """
    array = as_array(values)
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(size) for size in shape)
        raise ValueError(f"{name}: need shape ({wanted}), got {array.shape}")
    if 0 in array.shape:
        raise ValueError(f"{name}: need one number or more, got shape {array.shape}")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name}: {array[where]} at index {where}: need finite numbers")
    return array


def picture(width: float, height: float) -> Picture:
    """An empty transparent picture, in inches at 100 dots each."""
    figure = Picture(figsize=(width, height), dpi=100, layout="constrained")
    figure.patch.set_alpha(0.0)
    return figure


def panels(figure: Picture, rows: int, columns: int) -> Iterator[Axes]:
    """The panels of ``figure`` row by row, with quiet frames and no ticks."""
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        quiet(axes)
        axes.set(xticks=[], yticks=[])
        yield axes


def quiet(axes: Axes) -> None:
    """Frame, ticks and labels in the poster's ink, on a transparent background."""
    axes.patch.set_alpha(0.0)
    axes.tick_params(colors=INK, labelsize=8)
    for spine in axes.spines.values():
        spine.set_color(INK)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set(color=INK, size=9)


def png(figure: Picture) -> bytes:
    """``figure`` as a PNG file with a palette of 64 colours, a third of the size of the full one."""
    from PIL import Image

    buffer, small = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png")
    Image.open(buffer).quantize(64, method=Image.Quantize.FASTOCTREE).save(small, format="png", optimize=True)
    return small.getvalue()
