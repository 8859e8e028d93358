"""Reading WAV files: every encoding gives the same sound, and nothing else is taken for one."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.speech_to_text.audio import WavError, decode_wav, load_wav, of_message, resample

RATE = 16_000
TONE = np.sin(2 * np.pi * 440 * np.arange(RATE // 4) / RATE)
ENCODINGS = {
    "u8": (1, 8, np.round(TONE * 127 + 128).astype(np.uint8).tobytes()),
    "s16": (1, 16, np.round(TONE * 32767).astype("<i2").tobytes()),
    "s24": (
        1, 24,
        np.round(TONE * 8388607).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes(),
    ),
    "s32": (1, 32, np.round(TONE * (2**31 - 1)).astype("<i4").tobytes()),
    "f32": (3, 32, TONE.astype("<f4").tobytes()),
    "f64": (3, 64, TONE.astype("<f8").tobytes()),
}  # fmt: skip


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    size = len(body) if size is None else size
    return name + struct.pack("<I", size) + body + b"\0" * (len(body) % 2)


def wav(
    encoding: int, bits: int, body: bytes, *, channels: int = 1, rate: int = RATE,
    extensible: bool = False, size: int | None = None,
) -> bytes:  # fmt: skip
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else encoding, channels, rate,
                       rate * block, block, bits)  # fmt: skip
    if extensible:
        guid = struct.pack("<H", encoding) + bytes.fromhex("000000001000800000aa00389b71")
        form += struct.pack("<HHI", 22, bits, 0) + guid
    chunks = chunk(b"fmt ", form) + chunk(b"LIST", b"odd") + chunk(b"data", body, size)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_gives_the_same_sound(name: str, extensible: bool) -> None:
    samples, rate = decode_wav(wav(*ENCODINGS[name], extensible=extensible))
    assert rate == RATE
    assert samples.dtype == np.float32
    assert samples.shape == TONE.shape
    assert np.abs(samples - TONE).max() < (0.012 if name == "u8" else 1e-4)


def test_channels_are_mixed() -> None:
    both = np.stack([TONE, -TONE / 2], axis=1).astype("<f4").tobytes()
    samples, _ = decode_wav(wav(3, 32, both, channels=2))
    assert np.abs(samples - TONE / 4).max() < 1e-6


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_recording_of_unknown_length_goes_to_the_end(size: int) -> None:
    samples, _ = decode_wav(wav(*ENCODINGS["s16"], size=size))
    assert len(samples) == len(TONE)


def test_a_cut_recording_gives_what_is_there() -> None:
    samples, _ = decode_wav(wav(*ENCODINGS["s16"])[:-1001])
    assert len(samples) == len(TONE) - 501


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a WAV"),
        (b"ID3\x04" + b"\0" * 100, "not a WAV"),
        (b"RIFF\0\0\0\0WAVE", "no format or no data"),
        (wav(1, 16, b""), "no sound"),
        (wav(1, 12, b"\0" * 64), "12 bits"),
        (wav(7, 8, b"\0" * 64), "encoding 7"),
        (wav(1, 16, b"\0" * 64, channels=0), "0 channels"),
        (wav(1, 16, b"\0" * 64, rate=0), "0 Hz"),
        (wav(3, 32, np.array([np.nan], "<f4").tobytes()), "not numbers"),
    ],
)
def test_what_is_no_recording_is_refused(data: bytes, why: str, tmp_path: Path) -> None:
    file = tmp_path / "question.wav"
    file.write_bytes(data)
    with pytest.raises(WavError, match=why) as caught:
        load_wav(file)
    assert str(caught.value).startswith("question.wav: ")


@pytest.mark.slow
@settings(max_examples=300)
@given(st.data())
def test_hostile_bytes_never_do_more_than_be_refused(data: st.DataObject) -> None:
    good = bytearray(wav(*ENCODINGS["s16"])[:200])
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        samples, rate = decode_wav(bytes(good[: data.draw(st.integers(0, len(good)))]))
    except WavError:
        return
    assert samples.size
    assert rate > 0


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 192_000])
def test_resampling_keeps_the_sound(rate: int) -> None:
    seconds = np.arange(rate) / rate
    tone = np.sin(2 * np.pi * 1_000 * seconds).astype(np.float32)
    out = resample(tone, rate, RATE)
    expected = np.sin(2 * np.pi * 1_000 * np.arange(len(out)) / RATE)
    assert abs(len(out) - RATE) <= 1
    assert np.abs(out - expected)[200:-200].max() < 2e-3


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    above = np.sin(2 * np.pi * 10_000 * np.arange(48_000) / 48_000).astype(np.float32)
    assert np.abs(resample(above, 48_000, RATE))[200:-200].max() < 0.02


def test_the_question_is_short_and_in_the_models_format() -> None:
    file = Path(__file__).parents[3] / "examples" / "data" / "question.wav"
    samples, rate = decode_wav(file.read_bytes())
    assert rate == RATE
    assert 1 < len(samples) / rate < 5
    assert file.stat().st_size < 100_000


@pytest.mark.slow
def test_an_hour_is_too_long_for_a_question_and_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "hour.wav"
    head = wav(1, 16, b"", size=2 * 8000 * 3600)
    file.write_bytes(head)
    with file.open("r+b") as out:
        out.truncate(len(head) + 2 * 8000 * 3600)  # silence, and no disk space
    data = bytearray(file.read_bytes())
    data[24:28] = struct.pack("<I", 8000)
    file.write_bytes(data)
    with pytest.raises(WavError, match=r"hour\.wav: 3600 s of sound, at most 300 s"):
        load_wav(file, 300)


@pytest.mark.slow
def test_a_large_recording_takes_little_more_than_itself() -> None:
    data = wav(1, 8, bytes(64 * 500_000), channels=64)
    integers = np.zeros((500_000, 64), np.int8)
    tracemalloc.start()
    try:
        samples, _ = decode_wav(data)
        assert np.array_equal(of_message({"samples": integers, "rate_hz": RATE}), samples + 1)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert samples.shape == (500_000,)
    assert most < 3 * len(data)


TONE_F32 = TONE.astype(np.float32)


@pytest.mark.parametrize(
    "value",
    [
        wav(*ENCODINGS["f32"]),
        {"samples": TONE_F32, "rate_hz": RATE},
        {"samples": np.stack([TONE_F32, TONE_F32], axis=1), "rate_hz": RATE},
        {"samples": np.round(TONE * 32767).astype(np.int16), "rate_hz": RATE},
    ],
    ids=["file", "mono", "stereo", "integers"],
)
def test_messages_bring_sound(value: object) -> None:
    samples = of_message(value)
    assert samples.shape == TONE.shape
    assert np.abs(samples - TONE).max() < 1e-4


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("hello", "neither"),
        (None, "neither"),
        ({"samples": TONE_F32}, "neither"),
        (b"", "not a WAV"),
        ({"samples": TONE_F32, "rate_hz": 100}, "100 Hz"),
        ({"samples": TONE_F32, "rate_hz": 16_000.0}, "16000.0 Hz"),
        ({"samples": TONE_F32[:0], "rate_hz": RATE}, "no sound"),
        ({"samples": np.zeros((2, 2, 2)), "rate_hz": RATE}, "shape"),
        ({"samples": [[0.0], [0.0, 0.0]], "rate_hz": RATE}, "no array"),
        ({"samples": np.array(["a"]), "rate_hz": RATE}, "type"),
        ({"samples": np.array([np.inf]), "rate_hz": RATE}, "not numbers"),
        ({"samples": np.zeros(20 * RATE), "rate_hz": RATE}, "20 s of sound"),
    ],
)
def test_messages_without_sound_are_refused(value: object, why: str) -> None:
    with pytest.raises(WavError, match=why):
        of_message(value, 10)
