"""Images side by side in one picture: of a model's states, or of any values from 0 to 1."""

from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dpm_lib.data.dataset import original


def picture(x: Tensor, data_set: dict[str, Any], columns: int = 8) -> Image.Image:
    """States x (n, d) as one picture, in rows of ``columns``, for images whose record is ``data_set``."""
    levels = data_set["levels"]
    values = original(x, data_set).floor().clamp(0, levels - 1) / (levels - 1)
    pixels = (255 * sheet(values.reshape(-1, *data_set["shape"]), columns)).round().to(torch.uint8).cpu().numpy()
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])


def sheet(values: Tensor, columns: int = 8) -> Tensor:
    """Images (n, channels, h, w), 0 black and 1 white, as one, (H, W, channels): rows of ``columns``, a line between.

    Places that are left over in the last row are white.
    """
    framed = functional.pad(values.clamp(0, 1), (0, 1, 0, 1), value=1.0)
    columns = min(columns, len(framed))
    missing = -len(framed) % columns
    framed = torch.cat([framed, framed.new_ones(missing, *framed.shape[1:])])
    n, channels, height, width = framed.shape
    rows = framed.reshape(n // columns, columns, channels, height, width)
    return rows.permute(0, 3, 1, 4, 2).reshape(-1, columns * width, channels)[:-1, :-1]
