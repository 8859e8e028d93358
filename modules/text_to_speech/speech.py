"""A voice, the texts it can say, and WAV files. Must not know: streams."""

from __future__ import annotations

import os
import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from net.weights import WeightsError, anew

Samples = NDArray[np.float32]

MOST_LETTERS = 1000
"""Over a minute of speech."""


class TextError(ValueError):
    """Nothing that can be said; the message says why."""


def text_of(value: Any) -> str:
    """The text in a message, in one line.

    Raises:
        TextError: It is none.
    """
    if not isinstance(value, str):
        raise TextError(f"a {type(value).__name__} is no text")
    text = " ".join(value.split())
    if not any(letter.isalnum() for letter in text):
        raise TextError(f"{text[:60]!r} has no words in it")
    if len(text) > MOST_LETTERS:
        raise TextError(f"{len(text)} letters long, at most {MOST_LETTERS} are said at a time")
    return text


class Voice:
    """Hibari's voice, in memory: an ONNX model that its package carries.

    Args:
        threads: To compute with.

    Attributes:
        rate_hz: Of what it says.

    Raises:
        WeightsError: Its model is missing or damaged.
    """

    rate_hz = 24_000

    def __init__(self, threads: int = 1) -> None:
        from hibari import Hibari

        try:
            self._say: Any = Hibari(threads=threads)
        # onnxruntime's errors have no common root but this.
        except Exception as exc:
            why = (str(exc).strip() or repr(exc)).splitlines()[0][:300]
            raise WeightsError(f"the voice can't be loaded: {why}", hint=anew()) from exc

    def warm(self) -> None:
        """Say something that nobody hears: the first time is slow.

        Raises:
            WeightsError: Its model is another's.
        """
        try:
            self("Hello, I am ready.")
        except Exception as exc:  # as above: of names that its network doesn't have, of shapes
            why = " ".join((str(exc).strip() or repr(exc)).split())[:300]
            raise WeightsError(f"the voice's model is another's: {why}", hint=anew()) from exc

    def __call__(self, text: str) -> Samples:
        """The sound of a text, -1 to 1; the same each time."""
        said: Samples = np.asarray(self._say(text, seed=0), np.float32).reshape(-1)
        return said


def write_wav(file: Path, samples: Samples, rate_hz: int) -> None:
    """Write 16-bit mono; the file is there whole or not at all."""
    whole = (samples.clip(-1, 1) * 32767).round().astype("<i2")
    partial = file.with_name(f".{file.name}")
    with wave.open(str(partial), "wb") as target:
        target.setparams((1, 2, rate_hz, 0, "NONE", ""))
        target.writeframes(whole.tobytes())
    os.replace(partial, file)
