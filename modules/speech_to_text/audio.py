"""Reads WAV files into what speech models take: mono float32 at 16 kHz. Pure numpy.

Python's `wave` knows neither float samples nor, before 3.12, the extensible format that many
recorders write. Must not know: models, streams.

    RIFF <size> WAVE  { <id> <size> <data> [pad to even] }...     chunks `fmt ` and `data` matter
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE_HZ = 16_000
"""What Whisper was trained on."""

MAX_BYTES = 512 << 20
_BLOCK = 1 << 20
"""Samples that are worked on at once: in between, one takes 8 bytes and more."""
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_TO_THE_END = (0, 0xFFFFFFFF)
"""Sizes that programs write which don't know how long the recording will be."""
_RATES_HZ = range(4_000, 384_001)


class WavError(ValueError):
    """Not a WAV file that can be read; the message says why."""


def load_wav(path: Path, longest_s: float = math.inf) -> Samples:
    """The recording as mono float32 [n] at 16 kHz, -1 to 1.

    Args:
        path: A WAV file.
        longest_s: How much sound is accepted.

    Raises:
        WavError: Not a WAV file, an unknown encoding, nothing in it, or too long.
        OSError: The file can't be read.
    """
    if path.stat().st_size > MAX_BYTES:
        raise WavError(f"{path.name}: over {MAX_BYTES >> 20} MiB")
    try:
        samples, rate = decode_wav(path.read_bytes(), longest_s)
    except WavError as exc:
        raise WavError(f"{path.name}: {exc}") from exc
    return resample(samples, rate, RATE_HZ)


def of_message(value: Any, longest_s: float = math.inf) -> Samples:
    """What a message brought, as `load_wav`.

    Args:
        value: A WAV file's bytes; or `{"samples": …, "rate_hz": …}`, the samples being float (-1
            to 1) or integers, [n] or [n, channels].
        longest_s: How much sound is accepted.

    Raises:
        WavError: It is none of these.
    """
    if isinstance(value, bytes):
        return resample(*decode_wav(value, longest_s), RATE_HZ)
    if not isinstance(value, dict) or not {"samples", "rate_hz"} <= value.keys():
        raise WavError("neither a WAV file nor samples with their rate_hz")
    try:
        samples, rate = np.asarray(value["samples"]), value["rate_hz"]
    except ValueError as exc:  # lists of different lengths, or too deep
        raise WavError(f"samples that are no array: {exc}") from exc
    if type(rate) is not int or rate not in _RATES_HZ:
        raise WavError(f"a rate of {rate!r} Hz is not supported (4 to 384 kHz are)")
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "fi":
        raise WavError(f"samples of type {samples.dtype} and shape {samples.shape}")
    _check_length(len(samples) / rate, longest_s)
    full = -float(np.iinfo(samples.dtype).min) if samples.dtype.kind == "i" else 1.0
    wide = samples if samples.ndim == 2 else samples[:, None]
    step = max(1, _BLOCK // max(1, wide.shape[1]))
    parts = (wide[at : at + step] for at in range(0, max(1, len(wide)), step))
    return resample(_mixed(_scaled(part, full) for part in parts), rate, RATE_HZ)


def decode_wav(data: bytes, longest_s: float = math.inf) -> tuple[Samples, int]:
    """Samples, mono float32 [n], and their rate in Hz.

    Raises:
        WavError: See `load_wav`.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise WavError("not a WAV file (it doesn't begin with RIFF … WAVE)")
    chunks = _chunks(data)
    if b"fmt " not in chunks or b"data" not in chunks:
        raise WavError("no format or no data in it")
    encoding, channels, rate, bits = _format(chunks[b"fmt "])
    size = bits // 8
    body = chunks[b"data"]
    count = len(body) // (size * channels)
    _check_length(count / rate, longest_s)
    step, end = max(1, _BLOCK // channels) * size * channels, count * size * channels
    parts = (
        _samples(body[at : min(end, at + step)], encoding, bits).reshape(-1, channels)
        for at in range(0, max(1, end), step)
    )
    return _mixed(parts), rate


def _check_length(seconds: float, longest_s: float) -> None:
    if seconds > longest_s:
        raise WavError(f"{seconds:.0f} s of sound, at most {longest_s:g} s are heard at a time")


def _mixed(parts: Iterable[NDArray[Any]]) -> Samples:
    """One channel of several, [n, channels], part by part."""
    found: list[Samples] = []
    for samples in parts:
        if not samples.size:
            raise WavError("no sound in it")
        if not np.isfinite(samples).all():
            raise WavError("samples that are not numbers")
        found.append(samples.mean(axis=1).astype(np.float32))
    return np.concatenate(found)


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The first chunk of each id; the last chunk may be cut short."""
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"data" and size in _TO_THE_END:
            size = len(data)
        found.setdefault(name, data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return found


def _format(chunk: bytes) -> tuple[int, int, int, int]:
    """Encoding, channels, rate and bits per sample."""
    if len(chunk) < 16:
        raise WavError("its format is cut short")
    encoding, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if encoding == _EXTENSIBLE:
        if len(chunk) < 26:
            raise WavError("its format is cut short")
        (encoding,) = struct.unpack_from("<H", chunk, 24)
    known = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
    if bits not in known.get(encoding, ()):
        raise WavError(f"encoding {encoding} with {bits} bits is not supported (PCM and float are)")
    if not 1 <= channels <= 64:
        raise WavError(f"{channels} channels")
    if rate not in _RATES_HZ:
        raise WavError(f"a rate of {rate} Hz is not supported (4 to 384 kHz are)")
    return encoding, channels, rate, bits


def _samples(body: bytes, encoding: int, bits: int) -> NDArray[np.float64]:
    if encoding == _FLOAT:
        return np.frombuffer(body, f"<f{bits // 8}").astype(np.float64)
    if bits == 8:  # the only unsigned one
        return (np.frombuffer(body, np.uint8).astype(np.float64) - 128) / 128
    if bits == 24:
        wide = np.zeros((len(body) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
        return _scaled(wide.view("<i4")[:, 0], 2.0**31)
    return _scaled(np.frombuffer(body, f"<i{bits // 8}"), 2.0 ** (bits - 1))


def _scaled(integers: NDArray[Any], full: float) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = integers / full
    return scaled


def resample(samples: Samples, rate: int, to: int) -> Samples:
    """Change the rate with a windowed-sinc filter bank (one filter per output phase).

    Args:
        samples: float32 [n].
        rate: Of `samples`, Hz.
        to: Wanted, Hz.
    """
    if rate == to:
        return samples
    divisor = math.gcd(rate, to)
    up, down = to // divisor, rate // divisor
    bank = _filters(up, down)
    half = bank.shape[1] // 2
    padded = np.pad(samples, (half - 1, half))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half)
    count = max(1, len(samples) * up // down)
    out = np.empty(count, np.float32)
    step = max(1, 4_000_000 // (2 * half))  # bounds the gathered windows to 16 MB
    for start in range(0, count, step):
        at = np.arange(start, min(start + step, count), dtype=np.int64) * down
        out[start : start + len(at)] = np.einsum("ij,ij->i", windows[at // up], bank[at % up])
    return out


def _filters(up: int, down: int) -> Samples:
    """Filters [up, taps] that interpolate at k/up samples, cut below both Nyquist rates."""
    cut = 0.95 * min(1.0, up / down)
    half = math.ceil(16 / min(1.0, up / down))
    offset = np.arange(1 - half, half + 1) - np.arange(up)[:, None] / up
    window = 0.5 + 0.5 * np.cos(np.pi * np.clip(offset / half, -1, 1))
    bank = np.multiply(np.sinc(cut * offset), window)
    whole: Samples = (bank / bank.sum(axis=1, keepdims=True)).astype(np.float32)
    return whole
