"""The user's own images: cut square, scaled, split for ever; what is wrong is named with its file."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from dpm_lib.data import image_folder, images
from dpm_lib.data.registry import load


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


def test_a_photograph_is_read_as_viewers_show_it(tmp_path):
    """All eight EXIF orientations, against Pillow's own flips: red above blue, turned by the camera."""
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:4, :, 0], upright[4:, :, 2], upright[:, :4, 1] = 250, 250, 120
    stored = {  # how the sensor saw it
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright), 7: np.rot90(upright, 2).transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }  # fmt: skip
    for orientation, pixels in stored.items():
        image = Image.fromarray(np.ascontiguousarray(pixels))
        exif = image.getexif()
        exif[0x0112] = orientation
        image.save(tmp_path / "x.png", exif=exif)
        read = image_folder.read_image(tmp_path / "x.png", 8, 3).reshape(3, 8, 8).permute(1, 2, 0)
        np.testing.assert_array_equal(read, upright, err_msg=str(orientation))


def test_what_is_not_the_users_is_left_alone(tmp_path, monkeypatch):
    """Hidden folders and files, a Mac's archive, folders called like pictures, and the runs that lie beside them."""
    fill(tmp_path, 6)
    before = image_folder.read_folder(tmp_path, 8, 3)
    for folder in (".thumbnails", "__MACOSX", "runs/folder-0/samples", "album.png"):
        (tmp_path / folder).mkdir(parents=True)
    for copy in (".thumbnails/0.png", "__MACOSX/1.png", "._2.png", "runs/folder-0/summary.png",
                 "runs/folder-0/samples/step-1.png"):  # fmt: skip
        (tmp_path / copy).write_bytes((tmp_path / "3.png").read_bytes())
    for name in ("config.json", "metrics.jsonl"):
        (tmp_path / "runs" / "folder-0" / name).write_text("{}")
    after = image_folder.read_folder(tmp_path, 8, 3)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    (tmp_path / "album.png" / "more.png").write_bytes((tmp_path / "3.png").read_bytes())
    assert sum(map(len, image_folder.read_folder(tmp_path, 8, 3))) == 7  # an album of the user's
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert len(load(f"folder:~/{tmp_path.name}", side=8, channels=3).train) == 5


def test_the_folder_is_read_anew_each_time(tmp_path):
    fill(tmp_path, 6)
    assert len(load(f"folder:{tmp_path}", side=4, channels=3).train) == 4
    fill(tmp_path, 12)
    assert len(load(f"folder:{tmp_path}", side=4, channels=3).train) == 10


def test_palettes_and_alpha_channels_that_hide_nothing(tmp_path):
    """They are read as the pictures they show, in grey or colour; real transparency is refused."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8))
    grey = Image.fromarray(rng.integers(256, size=(8, 8), dtype=np.uint8))
    palette, path = colour.quantize(60), tmp_path / "x.png"
    for image, channels, expected in (
        (palette, 3, palette.convert("RGB")), (colour.convert("RGBA"), 3, colour), (grey.convert("LA"), 1, grey),
        (grey.convert("RGB").quantize(256), 1, grey.convert("RGB").quantize(256).convert("L")),
    ):  # fmt: skip
        image.save(path)
        read = image_folder.read_image(path, 8, channels).reshape(channels, 8, 8).permute(1, 2, 0)
        np.testing.assert_array_equal(read, np.asarray(expected).reshape(8, 8, channels))
    for image in (palette, colour.convert("RGBA")):
        image.save(path)
        with pytest.raises(ValueError, match=r"x\.png: has 3 channels .*, not 1; convert it, or --set channels=3"):
            image_folder.read_image(path, 8, 1)
    clear = colour.convert("RGBA")
    clear.putpixel((3, 3), (1, 2, 3, 200))
    clear.save(path)
    with pytest.raises(ValueError, match=r"x\.png: has transparent pixels"):
        image_folder.read_image(path, 8, 3)
    for mode, value in (("L", 7), ("RGB", (7, 7, 7)), ("P", 0)):
        image = palette if mode == "P" else Image.new(mode, (8, 8), value)
        image.save(path, transparency=value)
        with pytest.raises(ValueError, match=r"x\.png: has transparent pixels"):
            image_folder.read_image(path, 8, 1 if mode == "L" else 3)


def test_several_pictures_in_a_file_and_kinds_that_are_not_read(tmp_path):
    fill(tmp_path, 5)
    frames = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in (10, 200)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"moving\.gif: holds 2 pictures; keep one of them"):
        image_folder.read_folder(tmp_path, 8, 3)
    (tmp_path / "moving.gif").unlink()
    (tmp_path / "phone.HEIC").write_bytes(b"x")
    (tmp_path / "old.jfif").write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"1 pictures are left out, phone\.HEIC for one"):
        with pytest.raises(ValueError, match=r"old\.jfif: cannot be read as an image"):
            image_folder.read_folder(tmp_path, 8, 3)


def test_16_bits_of_colour_are_not_cut_to_8(tmp_path):
    """A PNG of 16 bits a channel, by hand: Pillow writes none."""
    raw = b"".join(b"\0" + bytes(6 * 8) for _ in range(8))
    head = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    )
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(ValueError, match=r"deep\.png: has more than 8 bits a pixel \(RGB\)"):
        image_folder.read_image(tmp_path / "deep.png", 8, 3)


def test_16_bits_are_not_cut_to_8(tmp_path):
    fill(tmp_path, 4, "L", (8, 8))
    Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png: has more than 8 bits a pixel \(I;16\)"):
        image_folder.read_folder(tmp_path, 8)
