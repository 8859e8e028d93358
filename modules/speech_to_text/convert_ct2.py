"""Reads the weights of a CTranslate2 model file. Pure; trusts nothing that the file says.

    u32 version   str spec   u32 revision
    u32 count   { str name   u8 rank   u32 dims[rank]   u8 type   u32 bytes   data }...
    u32 count   { str alias  str name }...
    str: u16 length including a final NUL, then that many bytes. Little endian throughout.

Source: CTranslate2's python/ctranslate2/specs/model_spec.py, binary version 6.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

BINARY_VERSION = 6
_TYPES = ("<f4", "i1", "<i2", "<i4", "<f2")
_MAX_RANK = 8
_MAX_COUNT = 100_000


class Ct2Error(ValueError):
    """Not a model file that can be read."""


class _Reader:
    """A cursor over the file that never runs past its end."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> memoryview:
        if size > len(self.data) - self.at:
            raise Ct2Error(f"cut short at byte {self.at}")
        taken = self.data[self.at : self.at + size]
        self.at += size
        return taken

    def number(self, code: str) -> int:
        value: int = struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0]
        return value

    def count(self) -> int:
        value = self.number("I")
        if value > _MAX_COUNT:
            raise Ct2Error(f"{value} entries before byte {self.at}")
        return value

    def text(self) -> str:
        raw = bytes(self.take(self.number("H")))
        if not raw.endswith(b"\0"):
            raise Ct2Error(f"no end of name before byte {self.at}")
        try:
            return raw[:-1].decode("utf-8")
        except UnicodeDecodeError as exc:
            raise Ct2Error(f"a name before byte {self.at} is not UTF-8") from exc

    def tensor(self) -> NDArray[np.generic]:
        rank = self.number("B")
        if rank > _MAX_RANK:
            raise Ct2Error(f"{rank} dimensions before byte {self.at}")
        shape = tuple(self.number("I") for _ in range(rank))
        kind = self.number("B")
        if kind >= len(_TYPES):
            raise Ct2Error(f"unknown type {kind} before byte {self.at}")
        dtype = np.dtype(_TYPES[kind])
        size = self.number("I")
        if math.prod(shape) * dtype.itemsize != size:
            raise Ct2Error(f"shape {shape} does not fill {size} bytes before byte {self.at}")
        return np.frombuffer(self.take(size), dtype).reshape(shape)


def read_ct2(data: bytes | memoryview) -> dict[str, NDArray[np.generic]]:
    """Tensors by name, aliases included; they share the memory of `data`.

    Raises:
        Ct2Error: Not such a file, of another version, or broken.
    """
    reader = _Reader(memoryview(data).cast("B"))
    version = reader.number("I")
    if version != BINARY_VERSION:
        raise Ct2Error(f"binary version {version}, only {BINARY_VERSION} is known")
    reader.text()  # the spec's name: the tensors tell what it is
    reader.number("I")
    tensors = {reader.text(): reader.tensor() for _ in range(reader.count())}
    for _ in range(reader.count()):
        alias, name = reader.text(), reader.text()
        if name not in tensors:
            raise Ct2Error(f"alias {alias!r} of unknown {name!r}")
        tensors[alias] = tensors[name]
    if reader.at != len(reader.data):
        raise Ct2Error(f"{len(reader.data) - reader.at} bytes follow the end")
    return tensors
