"""The digits that were prepared at build: read, and seen to be whole. Must not know: Keras."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from net.weights import WeightsError

FILE = "digits/digits.npz"
SHAPE = (28, 28, 1)
CLASSES = 10


def prepared(models: Path | None) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Pictures (n, 28, 28, 1) from 0 to 1, and their classes.

    Args:
        models: `mesh.models`.

    Raises:
        WeightsError: They aren't there, are damaged, or are something else; says which.
    """
    file = (models or Path()) / FILE
    if models is None or not file.is_file():
        raise WeightsError(f"the digits were not prepared at build: {models} holds no {FILE}")
    try:
        with np.load(file, allow_pickle=False) as found:
            pictures, labels = found["pictures"], found["labels"]
    # What zip files and arrays that are cut short raise has no common root.
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as exc:
        raise WeightsError(f"{file} is damaged: {exc}", hint="prepare it again") from exc
    _check(file, pictures, labels)
    return pictures, labels


def _check(file: Path, pictures: NDArray[Any], labels: NDArray[Any]) -> None:
    """See that these are digits, each with its class."""
    what = f"{file} holds no digits"
    if pictures.dtype != np.float32 or pictures.shape[1:] != SHAPE or not len(pictures):
        raise WeightsError(f"{what}: pictures {pictures.dtype} {list(pictures.shape)}")
    if labels.shape != (len(pictures),) or not np.issubdtype(labels.dtype, np.integer):
        raise WeightsError(f"{what}: classes {labels.dtype} {list(labels.shape)}")
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise WeightsError(f"{what}: classes from {labels.min()} to {labels.max()}")
