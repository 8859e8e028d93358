"""Pictures of every mode are looked at; what is none, or is too large or too small, is refused."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modules.image_analysis.pictures import PictureError, load

RED = (230, 40, 20)


def encoded(picture: Image.Image, kind: str = "PNG", **how: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


def red(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("RGB", size, RED).convert(mode)


def middle(picture: Image.Image) -> tuple[int, ...]:
    assert picture.mode == "RGB"
    return picture.getpixel((picture.width // 2, picture.height // 2))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("CMYK", "JPEG"), ("CMYK", "TIFF"),
     ("YCbCr", "JPEG"), ("RGB", "BMP"), ("P", "GIF"), ("RGB", "WEBP")],
)  # fmt: skip
def test_red_is_red_in_every_mode(mode: str, kind: str) -> None:
    found = load(encoded(red(mode), kind))
    assert found.size == (40, 30)
    assert np.abs(np.subtract(middle(found), RED)).max() <= 45


@pytest.mark.parametrize("mode", ["L", "1", "LA", "I;16", "I", "F"])
def test_what_has_no_colour_is_grey(mode: str) -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 250, 5, np.uint8), (30, 1)))
    kind = "TIFF" if mode in ("I", "F") else "PNG"
    picture = ramp.convert("I").convert(mode) if mode == "I;16" else ramp.convert(mode)
    found = np.asarray(load(encoded(picture, kind)))
    assert found.shape == (30, 50, 3)
    assert np.ptp(found, axis=2).max() == 0
    assert found[0, -1, 0] > found[0, 0, 0]


def test_what_is_transparent_is_white() -> None:
    assert middle(load(encoded(Image.new("RGBA", (20, 20), (0, 0, 0, 0))))) == (255, 255, 255)
    palette = red().quantize(4)
    clear = palette.getpixel((0, 0))
    assert middle(load(encoded(palette, transparency=clear))) == (255, 255, 255)


def test_turned_pictures_are_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    assert load(encoded(red(size=(60, 20)), "JPEG", exif=exif)).size == (20, 60)


def test_arrays_are_pictures() -> None:
    array = np.full((20, 30, 3), RED, np.uint8)
    assert middle(load(array)) == RED
    assert middle(load(array.astype(np.float32) / 255)) == RED
    assert middle(load(array[:, :, 0])) == (230, 230, 230)
    assert middle(load(array[:, :, :1])) == (230, 230, 230)


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros((20, 30, 5), np.uint8), r"shape \[20, 30, 5\] is no picture"),
        (np.zeros(20, np.uint8), r"shape \[20\] is no picture"),
        (np.zeros((20, 30), np.int32), "type int32"),
        (np.full((20, 30), np.nan), "not numbers"),
        (np.zeros((1, 1, 3), np.uint8), "1×1 pixels are too few"),
    ],
)
def test_arrays_that_are_none_are_refused(array: np.ndarray, why: str) -> None:
    with pytest.raises(PictureError, match=why):
        load(array)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a picture"),
        (b"hello" * 100, "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (encoded(red())[:60], "damaged|not a picture"),
        (encoded(red(size=(300, 300)), "JPEG")[:700], "damaged"),
        (encoded(red(size=(1, 1))), "1×1 pixels are too few"),
        (encoded(red(size=(500, 3))), "500×3 pixels are too few"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, why: str, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(data)
    with pytest.raises(PictureError, match=why) as caught:
        load(file)
    assert str(caught.value).startswith("photo.png: ")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="No such file"):
        load(tmp_path / "photo.png")


@pytest.mark.slow
def test_100_megapixels_are_refused_before_they_are_decoded() -> None:
    data = encoded(Image.new("1", (10_000, 10_000)))
    began = time.process_time()
    with pytest.raises(PictureError, match="100 million; at most 64 million"):
        load(data)
    assert time.process_time() - began < 0.1


@pytest.mark.slow
def test_pictures_within_others_are_refused_before_they_are_decoded() -> None:
    """An icon says that it is small, and holds a PNG of another size."""
    inner = encoded(Image.new("1", (10_000, 10_000)))
    entry = struct.pack("<BBBBHHII", 32, 32, 0, 0, 1, 32, len(inner), 22)
    with pytest.raises(PictureError, match="unknown format"):
        load(struct.pack("<HHH", 0, 1, 1) + entry + inner)


@pytest.mark.slow
def test_grey_pictures_of_16_bits_take_little_memory() -> None:
    data = encoded(Image.new("I;16", (2000, 2000)))
    tracemalloc.start()
    try:
        load(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10 * 2000 * 2000  # Pillow's own, which isn't counted, is 4 bytes a pixel


@pytest.mark.parametrize("value", ["a text", 10**12, None, [1, 2], {"a": 1}])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(PictureError, match="is no picture"):
        load(value)


@pytest.mark.slow
def test_a_large_photo_is_decoded_smaller() -> None:
    found = load(encoded(red(size=(4000, 3000)), "JPEG"))
    assert found.width < 4000
    assert np.abs(np.subtract(middle(found), RED)).max() <= 10


@pytest.mark.slow
@settings(max_examples=200)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"]), st.data())
def test_damaged_files_never_do_worse_than_being_refused(kind: str, data: st.DataObject) -> None:
    whole = bytearray(encoded(red(), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = load(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    except PictureError:
        return
    assert found.mode == "RGB"
