"""Patches of large images: photographed textures, and dead leaves, which are made here.

**Dead leaves** (Lee, Mumford and Huang 2001): opaque discs fall on the plane at random; their radii have density
proportional to r^-3 between two limits, their grey levels are uniform. One looks from above, so the first disc from the
top that covers a pixel's centre gives its level. Drawn from the top down until every pixel is covered, the picture is a
perfect sample: nothing that would fall below can be seen.
"""

import numpy as np
import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.extras import extra

TEXTURES = ("grass", "gravel", "brick")
HELD_OUT = 128  # columns at the right edge of each photograph
SMALLEST, LARGEST = 2.0, 32.0  # radii of leaves, in pixels


def dead_leaves(side: int, generator: np.random.Generator, levels: int = 256) -> np.ndarray:
    """A square of ``side`` pixels covered by dead leaves, uint8 (side, side). About 0.2 s for 256 pixels.

    ValueError for side < 1.
    """
    checks.count("side", side)
    sheet = np.zeros((side, side), np.uint8)
    bare = np.ones((side, side), bool)
    left_bare, n = side * side, 4096  # pixels; leaves at a time
    while left_bare:
        centres = generator.uniform(-LARGEST, side + LARGEST, (n, 2))
        for (row, column), r, level in zip(
            centres, radii(n, generator), generator.integers(levels, size=n), strict=True
        ):
            top, left = max(0, int(row - r)), max(0, int(column - r))
            window = (slice(top, max(0, int(row + r) + 1)), slice(left, max(0, int(column + r) + 1)))
            open_ = bare[window]
            if not open_.any():
                continue
            rows, columns = np.ogrid[top : top + open_.shape[0], left : left + open_.shape[1]]
            hit = open_ & ((rows + 0.5 - row) ** 2 + (columns + 0.5 - column) ** 2 <= r * r)
            sheet[window][hit] = level
            open_[hit] = False
            left_bare -= int(hit.sum())
            if not left_bare:
                break
    return sheet


def radii(n: int, generator: np.random.Generator) -> np.ndarray:
    """n radii, (n,), of density proportional to r^-3 on [SMALLEST, LARGEST], by the inverse distribution function."""
    u = generator.random(n)
    return (SMALLEST**-2 - u * (SMALLEST**-2 - LARGEST**-2)) ** -0.5


def photographs() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Grass, gravel and brick (scikit-image, grey): left parts (512, k), and the held-out right edges (512, m)."""
    with extra("pictures"):
        from skimage import data
    images = [np.asarray(getattr(data, name)(), np.uint8) for name in TEXTURES]
    return [image[:, :-HELD_OUT] for image in images], [image[:, -HELD_OUT:] for image in images]


def patches(sheets: list[np.ndarray], side: int, n: int, generator: np.random.Generator) -> Tensor:
    """n patches of ``side`` pixels, as many from each sheet, at random places: uint8 (n, d), d = side^2.

    ValueError for a side that does not fit on the sheets.
    """
    found = []
    for i, sheet in enumerate(sheets):
        height, width = sheet.shape
        if not 1 <= side <= min(height, width):
            raise ValueError(f"side: {side} is not between 1 and {min(height, width)}, the side of the sheet")
        count = n // len(sheets) + (i < n % len(sheets))
        rows = generator.integers(height - side + 1, size=count)
        columns = generator.integers(width - side + 1, size=count)
        windows = np.lib.stride_tricks.sliding_window_view(sheet, (side, side))
        found.append(windows[rows, columns].reshape(count, side * side))
    return torch.from_numpy(np.concatenate(found))
