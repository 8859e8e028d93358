"""Reading CTranslate2 model files."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.speech_to_text.convert_ct2 import Ct2Error, read_ct2

CODES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def text(value: str) -> bytes:
    raw = value.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def model(
    tensors: dict[str, np.ndarray], aliases: dict[str, str] | None = None, version: int = 6
) -> bytes:
    out = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<I", 3)
    out += struct.pack("<I", len(tensors))
    for name, values in tensors.items():
        out += text(name) + struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        out += struct.pack("<BI", CODES[str(values.dtype)], values.nbytes) + values.tobytes()
    aliases = aliases or {}
    out += struct.pack("<I", len(aliases))
    return out + b"".join(text(alias) + text(name) for alias, name in aliases.items())


TENSORS = {
    "encoder/weight": np.arange(12, dtype=np.float16).reshape(3, 4),
    "encoder/num_heads": np.array(6, dtype=np.int16),
    "bias": np.array([1, -1], dtype=np.float32),
    "none": np.empty((0, 5), dtype=np.int8),
}


def test_tensors_come_back() -> None:
    found = read_ct2(model(TENSORS, {"other": "bias"}))
    assert found.keys() == {*TENSORS, "other"}
    for name, values in TENSORS.items():
        assert found[name].dtype == values.dtype
        assert np.array_equal(found[name], values)
    assert np.array_equal(found["other"], TENSORS["bias"])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut short"),
        (model(TENSORS, version=5), "binary version 5"),
        (model(TENSORS)[:-1], "cut short"),
        (model(TENSORS) + b"\0", "1 bytes follow"),
        (model(TENSORS, {"a": "b"}), "unknown 'b'"),
        (struct.pack("<I", 6) + text("x") + struct.pack("<II", 1, 2**32 - 1), "4294967295 entries"),
    ],
)
def test_broken_files_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(Ct2Error, match=why):
        read_ct2(data)


def test_a_shape_that_lies_about_its_size_is_refused() -> None:
    head = struct.pack("<I", 6) + text("x") + struct.pack("<II", 1, 1) + text("w")
    huge = struct.pack("<B3IBI", 3, 2**32 - 1, 2**32 - 1, 2**32 - 1, 0, 16) + b"\0" * 16
    with pytest.raises(Ct2Error, match="does not fill"):
        read_ct2(head + huge)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.data())
def test_hostile_bytes_never_do_more_than_be_refused(data: st.DataObject) -> None:
    good = bytearray(model(TENSORS, {"other": "bias"}))
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_ct2(bytes(good[: data.draw(st.integers(0, len(good)))]))
    except Ct2Error:
        return
    assert sum(values.nbytes for values in found.values()) < 1000
