"""What can be said, and the files that hold it."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from modules.speech_to_text.audio import load_wav
from modules.text_to_speech.speech import TextError, text_of, write_wav


def test_a_text_is_one_line() -> None:
    assert text_of(" It is\n a cat. ") == "It is a cat."


@pytest.mark.parametrize(
    ("value", "why"),
    [(7, "int is no text"), (None, "NoneType"), ("", "no words"), (" ?! ", "no words"),
     ("long " * 300, "1499 letters")],
)  # fmt: skip
def test_what_cannot_be_said_is_refused(value: object, why: str) -> None:
    with pytest.raises(TextError, match=why):
        text_of(value)


def test_a_file_holds_what_was_said(tmp_path: Path) -> None:
    tone = np.sin(np.arange(24_000) * 0.1).astype(np.float32) * 1.5  # too loud: clipped
    file = tmp_path / "answer-1.wav"
    write_wav(file, tone, 24_000)
    assert [f.name for f in tmp_path.iterdir()] == ["answer-1.wav"]
    with wave.open(str(file)) as source:
        assert source.getparams()[:4] == (1, 2, 24_000, 24_000)
        samples = np.frombuffer(source.readframes(24_000), "<i2") / 32767
    assert np.abs(samples - tone.clip(-1, 1)).max() < 1e-4
    assert len(load_wav(file)) == 16_000
