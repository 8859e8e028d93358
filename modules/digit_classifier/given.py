"""What the classifier is given, checked: the digits that it learns from, and those of messages.

Must not know: frameworks, streams.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.float32]
"""(n, 28, 28, 1) from 0 to 1."""
SHAPE = (28, 28, 1)
CLASSES = 10
MOST = 4096
"""Of a message; more would hold up what it learns meanwhile."""


class DigitsError(ValueError):
    """No digits; the message says why."""


def kept(models: Path | None) -> tuple[Pictures, NDArray[np.int64]]:
    """The digits that were prepared at build, and which they are.

    Raises:
        DigitsError: They are missing, or damaged.
    """
    file = models / "digits" / "digits.npz" if models else None
    if file is None or not file.is_file():
        raise DigitsError(f"the digits were not prepared at build: {models} holds no digits.npz")
    try:
        with file.open("rb") as source, np.load(source) as found:
            pictures, labels = found["pictures"], found["labels"]
    # TypeError: one array instead of several.
    except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile, zlib.error) as exc:
        raise DigitsError(f"{file} is damaged: {exc}") from exc
    numbers = labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels) == len(pictures)
    if not numbers or not np.isin(labels, range(CLASSES)).all():
        raise DigitsError(f"{file} is damaged: no digit for each picture")
    return pictures_of({"pictures": pictures}, most=len(pictures)), labels.astype(np.int64)


def pictures_of(value: Any, most: int = MOST) -> Pictures:
    """The pictures in a message.

    Args:
        value: `{"pictures": numbers [n, 28, 28, 1] from 0 to 1}`.
        most: How many are taken.

    Raises:
        DigitsError: It is none.
    """
    if not isinstance(value, dict) or "pictures" not in value:
        raise DigitsError(f"a {type(value).__name__} without pictures")
    try:
        pictures = np.asarray(value["pictures"])
    except ValueError as exc:  # lists of different lengths
        raise DigitsError(f"pictures that are no array: {exc}") from exc
    if pictures.shape[1:] != SHAPE or pictures.dtype.kind not in "fiu":
        raise DigitsError(f"pictures of type {pictures.dtype} and shape {list(pictures.shape)}")
    if not 0 < len(pictures) <= most:
        raise DigitsError(f"{len(pictures)} pictures; from 1 to {most} are judged at a time")
    if not ((pictures >= 0) & (pictures <= 1)).all():  # nor is what is not a number
        raise DigitsError("pixels that are not from 0 to 1")
    return pictures.astype(np.float32)


def meant_by(value: Any, count: int) -> NDArray[np.int64] | None:
    """What the pictures in a message are to show; None if it doesn't say.

    Args:
        value: `{"labels": whole numbers [n] from 0 to 9, …}`.
        count: Of its pictures.

    Raises:
        DigitsError: It says something else.
    """
    if "labels" not in value:
        return None
    try:
        labels = np.asarray(value["labels"])
    except ValueError as exc:
        raise DigitsError(f"labels that are no array: {exc}") from exc
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DigitsError(f"labels of type {labels.dtype} and shape {list(labels.shape)}")
    if not np.isin(labels, range(CLASSES)).all():
        raise DigitsError("labels that are no digits")
    return labels.astype(np.int64)
