"""The image model: says what a picture shows. Keras on TensorFlow, in memory from start to end.

    FOLDER/model.keras     pixels float32 [n, height, width, 3], 0 to 255  →  logits [n, labels]
    FOLDER/labels.json     the names

Must not know: streams, questions.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read when TensorFlow loads: it tells nothing but errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np
from PIL import Image

from net.weights import WeightsError, anew

MODEL, LABELS = "model.keras", "labels.json"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a picture may show, and how probable that is."""

    label: str
    probability: float

    def __str__(self) -> str:
        return f"{self.label} {self.probability:.2f}"


class Classifier:
    """An image model in memory.

    Args:
        folder: Where its weights are.
        threads: To compute with.

    Raises:
        WeightsError: They are missing, damaged, or of another architecture.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        labels = _labels(folder)
        import keras
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        file = folder / MODEL
        try:
            model = keras.models.load_model(file, compile=False, safe_mode=True)
        # Whatever is wrong with a file: zipfile, h5py and keras each have their own errors.
        except Exception as exc:
            why = (str(exc).strip() or repr(exc)).splitlines()[0][:300]
            text = f"{folder.name}: {file} can't be loaded: {why}"
            raise WeightsError(text, hint=anew(folder)) from exc
        _check(folder, model, len(labels))
        _, height, width, _ = model.input_shape
        self.size = (width, height)
        self._labels = labels
        shape = tf.TensorSpec((None, height, width, 3), tf.float32)
        self._logits: Any = tf.function(
            lambda pixels: model(pixels, training=False), input_signature=[shape]
        )

    def warm_up(self) -> None:
        """Run once: the first run is slow."""
        self.logits(np.zeros((1, self.size[1], self.size[0], 3), np.float32))

    def logits(self, pixels: Any) -> Any:
        """What the model says of pixels [n, height, width, 3], 0 to 255; float32 [n, labels]."""
        return self._logits(pixels).numpy()

    def __call__(self, pictures: list[Image.Image], most: int = 3) -> list[list[Seen]]:
        """What each picture shows most probably, `most` names each, the likeliest first."""
        pixels = np.stack([self.pixels(picture) for picture in pictures])
        found = []
        for row in self.logits(pixels).astype(np.float64):
            shares = np.exp(row - row.max())
            shares /= shares.sum()
            best = np.argsort(shares)[::-1][:most]
            found.append([Seen(self._labels[i], float(shares[i])) for i in best])
        return found

    def pixels(self, picture: Image.Image) -> Any:
        """A picture as the model takes it, float32 [height, width, 3]."""
        fitted = picture.resize(self.size, Image.Resampling.BICUBIC)
        return np.asarray(fitted, np.float32)


def _labels(folder: Path) -> list[str]:
    file, hint = folder / LABELS, anew(folder)
    try:
        labels = json.loads(file.read_bytes())
    except FileNotFoundError:
        text = f"{folder.name}: {LABELS} is missing in {folder}"
        raise WeightsError(text, hint=hint) from None
    except (OSError, ValueError, RecursionError) as exc:
        raise WeightsError(f"{folder.name}: {file} can't be read: {exc}", hint=hint) from exc
    if not isinstance(labels, list) or not labels or not all(isinstance(x, str) for x in labels):
        raise WeightsError(f"{folder.name}: {file} is no list of names", hint=hint)
    return labels


def _check(folder: Path, model: Any, labels: int) -> None:
    takes, gives = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    pictures = isinstance(takes, tuple) and len(takes) == 4 and takes[3] == 3 and all(takes[1:])
    if not pictures or gives != (None, labels):
        raise WeightsError(
            f"{folder.name}: a model from {takes} to {gives}; "
            f"from pictures (None, height, width, 3) to its {labels} labels was expected",
            hint=anew(folder),
        )
