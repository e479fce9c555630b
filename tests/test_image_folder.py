"""The user's own images: cut square, scaled, split for ever; what is wrong is named with its file."""

import numpy as np
import pytest
from PIL import Image

from dpm_lib import image_folder, images
from dpm_lib.data import load


def fill(folder, n: int = 12, mode: str = "RGB", size: tuple[int, int] = (12, 8)) -> None:
    for i in range(n):
        rng = np.random.default_rng(i)
        shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
        Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8), mode).save(folder / f"{i}.png")


def test_a_folder_of_colour_images(tmp_path):
    fill(tmp_path)
    (tmp_path / "notes.txt").write_text("not an image")
    train, test = image_folder.read_folder(tmp_path, 8, 3)
    assert train.shape == (10, 192) and test.shape == (2, 192)
    every = {tuple(row.tolist()) for row in [*train, *test]}
    for i in range(12):
        pixels = np.asarray(Image.open(tmp_path / f"{i}.png"))[:, 2:10]
        assert tuple(pixels.transpose(2, 0, 1).flatten().tolist()) in every
    again = image_folder.read_folder(tmp_path, 8, 3)
    assert (again[0] == train).all() and (again[1] == test).all()
    data = load(f"folder:{tmp_path}", side=4, channels=3)
    assert isinstance(data, images.Images) and data.shape == (3, 4, 4) and data.levels == 256


def test_grey_images_are_averaged_down(tmp_path):
    fill(tmp_path, 4, "L", (8, 8))
    train, test = image_folder.read_folder(tmp_path, 4)
    assert train.shape == (2, 16) and test.shape == (2, 16)
    means = {round(float(np.asarray(Image.open(p)).mean()), 0) for p in tmp_path.iterdir()}
    assert {round(float(row.float().mean()), 0) for row in [*train, *test]} <= {
        m + e for m in means for e in (-1, 0, 1)
    }


def test_what_is_wrong_is_named(tmp_path):
    fill(tmp_path, 5)
    with pytest.raises(ValueError, match=r"png: has 3 channels \(RGB\), not 1; convert it, or --set channels=3"):
        image_folder.read_folder(tmp_path, 8, 1)
    broken = tmp_path / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"3\.png: cannot be read as an image"):
        image_folder.read_folder(tmp_path, 8, 3)
    broken.write_text("nothing")
    with pytest.raises(ValueError, match=r"3\.png: cannot be read as an image"):
        image_folder.read_folder(tmp_path, 8, 3)
    huge = bytearray(b"GIF89a" + bytes(20))
    huge[6:10] = b"\xff\xff\xff\xff"  # 65535 x 65535 pixels, by its own account
    broken.write_bytes(huge)
    with pytest.raises(ValueError, match=r"3\.png: cannot be read as an image"):
        image_folder.read_folder(tmp_path, 8, 3)
    for arguments, message in (
        ((tmp_path / "no", 8), "no is no folder"),
        ((tmp_path, 8, 2), r"channels: 2 is not 1 \(grey\) or 3"),
        ((tmp_path, 0), "side: 0 is less than 1"),
    ):
        with pytest.raises(ValueError, match=message):
            image_folder.read_folder(*arguments)


def test_too_few_images(tmp_path):
    fill(tmp_path, 3)
    with pytest.raises(ValueError, match="holds 3 images; at least 4 are needed"):
        image_folder.read_folder(tmp_path, 8, 3)


def test_16_bits_are_not_cut_to_8(tmp_path):
    fill(tmp_path, 4, "L", (8, 8))
    Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png: has more than 8 bits a pixel \(I;16\)"):
        image_folder.read_folder(tmp_path, 8)
