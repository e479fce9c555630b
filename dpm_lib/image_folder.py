"""The user's own images: every picture in a folder, cut to a square and made one size."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
MODES = {1: "L", 3: "RGB"}


def read_folder(folder: str | Path, side: int, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Training and held-out images of a folder, uint8 (n, channels side^2), planes one after the other.

    The largest centred square of each, scaled to ``side`` pixels. A tenth is held out, and two at least: those whose
    file names have the smallest SHA-256, so the same files give the same split anywhere. ValueError, naming the file,
    where one cannot be read, has another number of ``channels`` or more than 8 bits in one; and where there are fewer
    than four.
    """
    folder = Path(folder)
    if channels not in MODES:
        raise ValueError(f"channels: {channels} is not 1 (grey) or 3 (colour)")
    if side < 1:
        raise ValueError(f"side: {side} is less than 1: say how many pixels with --set side=N")
    if not folder.is_dir():
        raise ValueError(f"data: {folder} is no folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(paths) < 4:
        raise ValueError(f"data: {folder} holds {len(paths)} images; at least 4 are needed: 2 to train, 2 held out")
    images = torch.stack([read_image(path, side, channels) for path in paths])
    order = np.argsort([hashlib.sha256(path.relative_to(folder).as_posix().encode()).hexdigest() for path in paths])
    held_out = max(2, round(len(paths) / 10))
    return images[np.sort(order[held_out:])], images[np.sort(order[:held_out])]


def read_image(path: Path, side: int, channels: int) -> Tensor:
    """One image, uint8 (channels side^2)."""
    try:
        with Image.open(path) as image:
            image.load()
            found = len(image.getbands())
            if found != channels:
                hint = f", or --set channels={found}" if found in MODES else ""
                raise ValueError(f"{path}: has {found} channels ({image.mode}), not {channels}; convert it{hint}")
            if image.mode.startswith(("I", "F")):
                raise ValueError(
                    f"{path}: has more than 8 bits a pixel ({image.mode}), which would be cut off; convert it"
                )
            edge = min(image.size)
            left, top = (image.width - edge) // 2, (image.height - edge) // 2
            box = (left, top, left + edge, top + edge)
            square = image.convert(MODES[channels]).resize((side, side), Image.Resampling.BOX, box)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as an image: {error}") from None
    pixels = np.asarray(square, np.uint8).reshape(side, side, channels)
    return torch.from_numpy(pixels.transpose(2, 0, 1).reshape(-1).copy())
