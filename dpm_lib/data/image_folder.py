"""The user's own images: every picture in a folder, cut to a square and made one size."""

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
NOT_READ = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".raw", ".dng", ".cr2", ".nef", ".arw", ".psd", ".svg")
MODES = {1: "L", 3: "RGB"}


def read_folder(folder: str | Path, side: int, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Training and held-out images of a folder, uint8 (n, channels side^2), planes one after the other.

    The largest centred square of each, as a viewer shows it, scaled to ``side`` pixels. Folders are searched to any
    depth, but for hidden ones and for runs, whose pictures are their own output. A tenth is held out, and two at least:
    those whose file names have the smallest SHA-256, so the same files give the same split anywhere. ValueError, naming
    the file, where one cannot be read, has another number of ``channels``, more than 8 bits in one, transparent pixels,
    or several pictures; and where there are fewer than four. A warning counts pictures of kinds that are not read.
    """
    folder = Path(folder).expanduser()
    if channels not in MODES:
        raise ValueError(f"channels: {channels} is not 1 (grey) or 3 (colour)")
    if side < 1:
        raise ValueError(f"side: {side} is less than 1: say how many pixels with --set side=N")
    if not folder.is_dir():
        raise ValueError(f"data: {folder} is no folder")
    files = sorted(found(folder))
    paths = [path for path in files if path.suffix.lower() in SUFFIXES]
    if left_out := [path for path in files if path.suffix.lower() in NOT_READ]:
        warnings.warn(
            f"data: {folder}: {len(left_out)} pictures are left out, {left_out[0].name} for one: of a kind that is not "
            "read; convert them",
            stacklevel=2,
        )
    if len(paths) < 4:
        raise ValueError(f"data: {folder} holds {len(paths)} images; at least 4 are needed: 2 to train, 2 held out")
    bar = tqdm(paths, desc=f"reading {folder}", unit="picture", delay=5, leave=False)
    images = torch.stack([read_image(path, side, channels) for path in bar])
    order = np.argsort([hashlib.sha256(path.relative_to(folder).as_posix().encode()).hexdigest() for path in paths])
    held_out = max(2, round(len(paths) / 10))
    return images[np.sort(order[held_out:])], images[np.sort(order[:held_out])]


def check_sizes(folder: str | Path, side: int) -> None:
    """ValueError, naming the file, unless all pictures of a folder are squares of ``side`` pixels: none is resized."""
    for path in sorted(found(Path(folder).expanduser())) if Path(folder).expanduser().is_dir() else ():
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            with Image.open(path) as image:
                size = image.size
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
            raise ValueError(f"{path}: cannot be read as an image: {error}") from None
        if size != (side, side):
            raise ValueError(
                f"{path}: is {size[0]} x {size[1]} pixels, and {side} x {side} are needed; resize it, or say --resize"
            )


def found(folder: Path) -> Iterator[Path]:
    """All files in ``folder``, at any depth; none that is hidden, of a Mac's archive, or in the folder of a run."""
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name == "__MACOSX":
            continue
        if not path.is_dir():
            yield path
        elif not ((path / "config.json").exists() and (path / "metrics.jsonl").exists()):
            yield from found(path)


def read_image(path: Path, side: int, channels: int) -> Tensor:
    """One image, uint8 (d,) with d = channels side^2, turned as its EXIF orientation says.

    ValueError, naming the file, where it is no image, or one of another kind.
    """
    try:
        with Image.open(path) as image:
            if getattr(image, "is_animated", False) and image.format in ANIMATED:
                raise ValueError(f"{path}: holds {image.n_frames} pictures; keep one of them")  # type: ignore[attr-defined]
            deep = any(";16" in str(tile[3]) for tile in image.tile) or image.mode.startswith(("I", "F"))
            image.load()
            if deep:
                raise ValueError(
                    f"{path}: has more than 8 bits a pixel ({image.mode}), which would be cut off; convert it"
                )
            plain = opaque(ImageOps.exif_transpose(image), path)
            found = len(plain.getbands())
            if found != channels:
                hint = f", or --set channels={found}" if found in MODES else ""
                raise ValueError(f"{path}: has {found} channels ({image.mode}), not {channels}; convert it{hint}")
            edge = min(plain.size)
            left, top = (plain.width - edge) // 2, (plain.height - edge) // 2
            box = (left, top, left + edge, top + edge)
            square = plain.convert(MODES[channels]).resize((side, side), Image.Resampling.BOX, box)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as an image: {error}") from None
    pixels = np.asarray(square, np.uint8).reshape(side, side, channels)
    return torch.from_numpy(pixels.transpose(2, 0, 1).reshape(-1).copy())


ANIMATED = ("GIF", "PNG", "TIFF", "WEBP")  # not MPO, where a photograph comes with its small copies


def opaque(image: Image.Image, path: Path) -> Image.Image:
    """``image`` without its palette, and without an alpha channel that hides nothing; ValueError where it does."""
    transparent = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
    if image.mode in ("1", "L", "LA"):
        grey = True
    elif image.mode in ("P", "PA"):
        red, green, blue = image.convert("RGB").split()
        grey = red.tobytes() == green.tobytes() == blue.tobytes()
    else:
        grey = False
    if transparent:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            raise ValueError(f"{path}: has transparent pixels; put it on a background")
    if grey:
        return image.convert("L")
    return image.convert("RGB") if transparent or image.mode == "P" else image
