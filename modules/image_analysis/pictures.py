"""Pictures, from files and messages, as the image model takes them: RGB, of any size. Uses Pillow.

Sizes are looked at before anything is decoded: a small file can hold a huge picture. Must not
know: models, streams.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MOST_PIXELS = 64_000_000
"""Decoded they take 200 MB."""
LEAST_SIDE = 8
"""Less shows nothing."""
MOST_BYTES = 256 << 20
ENOUGH = (640, 640)
"""JPEG decodes to a half, a quarter, … in less time; models look at a third of this."""

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM")
"""Others are no photos. Some of those hold whole pictures of another size than they say, which
nobody looks at before they are decoded; one is a program, for another one to run (EPS)."""

# Our own bound is lower, and is an error instead of a warning.
Image.MAX_IMAGE_PIXELS = None
Image.init()  # which of these there are depends on how Pillow was built
_KNOWN = [name for name in FORMATS if name in Image.OPEN]


class PictureError(ValueError):
    """Nothing that can be looked at; the message says why."""


def load(source: Path | bytes | NDArray[Any]) -> Image.Image:
    """A picture as RGB, upright.

    Args:
        source: A file, a file's bytes, or an array: uint8, or float from 0 to 1, of [H, W],
            [H, W, 3] or [H, W, 4].

    Raises:
        PictureError: It is none, is damaged, too small or too large.
    """
    try:
        if isinstance(source, np.ndarray):
            return _of_array(source)
        if isinstance(source, Path):
            if source.stat().st_size > MOST_BYTES:
                raise PictureError(f"over {MOST_BYTES >> 20} MiB")
            return _decode(source.read_bytes())
        if not isinstance(source, bytes):
            raise PictureError(f"a {type(source).__name__} is no picture")
        return _decode(source)
    except PictureError as exc:
        name = f"{source.name}: " if isinstance(source, Path) else ""
        raise PictureError(f"{name}{exc}") from exc
    except OSError as exc:  # only files raise it
        raise PictureError(f"{exc.filename}: {exc.strerror}") from exc


def _decode(data: bytes) -> Image.Image:
    try:
        file = io.BytesIO(data)
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=_KNOWN) as picture:
            _check_size(*picture.size)
            if picture.format == "JPEG":
                picture.draft(None, ENOUGH)
            ImageOps.exif_transpose(picture, in_place=True)
            return _rgb(picture)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("not a picture, or of an unknown format") from None
    # What decoders raise when a file is damaged is their own business; none of it may end us.
    except Exception as exc:
        raise PictureError(f"damaged: {exc}") from exc


def _of_array(array: NDArray[Any]) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise PictureError(f"an array of shape {list(array.shape)} is no picture")
    _check_size(array.shape[1], array.shape[0])
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise PictureError("pixels that are not numbers")
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise PictureError(f"pixels of type {array.dtype}: uint8, or float from 0 to 1, are known")
    flat = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    return _rgb(Image.fromarray(flat))


def _check_size(width: int, height: int) -> None:
    if min(width, height) < LEAST_SIDE:
        raise PictureError(f"{width}×{height} pixels are too few to show anything")
    if width * height > MOST_PIXELS:
        most = MOST_PIXELS / 1e6
        raise PictureError(
            f"{width}×{height} pixels are {width * height / 1e6:.0f} million; at most {most:.0f}"
            " million are looked at"
        )


def _rgb(picture: Image.Image) -> Image.Image:
    """Any mode; what is transparent is on white, as browsers show it."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.array(picture, np.float32)
        values -= values.min()
        values *= 255 / (values.max() or 1)
        picture = Image.fromarray(values.round(out=values).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.new("RGB", layer.size, "white")
        picture.paste(layer, mask=layer)
        return picture
    return picture.convert("RGB")
