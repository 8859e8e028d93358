"""Form, metadata and buffers -> the value of a message, as it is received. Pure.

Everything here reads what a peer wrote: nothing is believed, nothing is allocated before it was
checked, and arrays are made over the very memory that their bytes were received into. The sending
half, and the forms, are in `net.values`. Must not know: asyncio, sockets, the clock, the wire.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from net.dtypes import parse, shape
from net.errors import RemoteWireError
from net.memory import Block, aligned
from net.values import ARRAY, BYTES, GENERAL, JSON, MAX_BUFFERS, TEXT

_KNOWN_ARRAYS = 256


class Layout(ABC):
    """How many bytes each buffer of a message has, and how they become its value.

    Attributes:
        sizes: Bytes of each buffer, in the body's order.
        aligned: Whether the body's buffers lie at multiples of 64.
    """

    sizes: tuple[int, ...] = ()
    aligned = True

    @abstractmethod
    def value(self, parts: Sequence[Block]) -> Any:
        """The value; arrays in it are views of `parts`, which lie at multiples of 64.

        Raises:
            RemoteWireError: The bytes aren't what they were said to be.
        """


def layout(form: int, metadata: bytes | memoryview, body: int) -> Layout:
    """What a peer says of a message's buffers.

    Args:
        form: As in the message's header.
        metadata: All of them.
        body: Bytes of the message's body, padding included.

    Raises:
        RemoteWireError: It makes no sense. Nothing has been allocated for it.
    """
    if form in (BYTES, TEXT):
        if len(metadata):
            raise RemoteWireError("bytes and texts have no metadata")
        return _Plain(form, body)
    found: Layout
    if form == ARRAY:
        found = _array_layout(bytes(metadata))
    elif form == JSON:
        found = _Json(_read(metadata))
    elif form == GENERAL:
        found = _General(_read(metadata))
    else:
        raise RemoteWireError(f"unknown form {form}")
    if padded(found.sizes) != body:
        takes = padded(found.sizes)
        raise RemoteWireError(f"buffers take {takes} bytes, the body has {body}")
    return found


def padded(sizes: Sequence[int]) -> int:
    """Bytes of a body whose buffers lie at multiples of 64; empty ones take nothing."""
    body = last = 0
    for size in sizes:
        if size:
            body += -last % 64 + size
            last = size
    return body


def _read(metadata: bytes | memoryview) -> Any:
    try:
        return json.loads(str(metadata, "utf-8"))
    except (ValueError, RecursionError) as exc:
        raise RemoteWireError("metadata is no JSON, or nested too deep") from exc


class _Plain(Layout):
    aligned = False

    def __init__(self, form: int, body: int) -> None:
        self._form = form
        self.sizes = (body,) if body else ()

    def value(self, parts: Sequence[Block]) -> Any:
        data = parts[0].tobytes() if parts else b""
        return data if self._form == BYTES else text(data)


class _Json(Layout):
    def __init__(self, tree: Any) -> None:
        self._tree = tree

    def value(self, parts: Sequence[Block]) -> Any:
        return self._tree


def text(data: bytes) -> str:
    """A text from its bytes.

    Raises:
        RemoteWireError: It isn't UTF-8.
    """
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as exc:
        raise RemoteWireError("a text isn't UTF-8") from exc


# --- arrays --------------------------------------------------------------------------------------


class _Array(Layout):
    """One array, whose layout any number of messages share."""

    def __init__(self, form: object) -> None:
        if not isinstance(form, list) or not (len(form) == 2 or form[2:] == ["F"]):
            raise RemoteWireError("malformed array")
        self._dtype, self._shape = parse(form[0]), shape(form[1])
        self._fortran = len(form) == 3
        self._checks = needs_check(self._dtype)
        self.sizes = (math.prod(self._shape) * self._dtype.itemsize,)

    def value(self, parts: Sequence[Block]) -> NDArray[Any]:
        try:
            array = parts[0].view(self._dtype).reshape(self._shape)
        except ValueError as exc:
            raise RemoteWireError(f"impossible array shape: {exc}") from exc
        if self._checks:
            _check_content(array)
        return array.T if self._fortran else array


_known_arrays: dict[bytes, _Array] = {}
"""Metadata -> layout: a stream's arrays are mostly alike."""


def _array_layout(metadata: bytes) -> _Array:
    known = _known_arrays.get(metadata)
    if known is None:
        known = _Array(_read(metadata))
        if len(metadata) < 1024:
            if len(_known_arrays) >= _KNOWN_ARRAYS:
                _known_arrays.clear()
            _known_arrays[metadata] = known
    return known


def needs_check(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of this type may hold bits that numpy relies on never to see."""
    if dtype.fields is None:
        return dtype.base.kind in "bU"
    return any(needs_check(field[0].base) for field in dtype.fields.values())


def _check_content(array: NDArray[Any]) -> None:
    """Refuse such bits: a bool of 2, a character beyond Unicode."""
    if array.size == 0:
        return
    if array.dtype.fields is not None:
        for name in array.dtype.fields:
            _check_content(array[name])
        return
    kind = array.dtype.kind
    if kind not in "bU":
        return
    if kind == "b":
        wrong = int(array.view(np.uint8).max()) > 1
    else:
        characters = np.ascontiguousarray(array).reshape(-1)
        order = array.dtype.byteorder
        wrong = int(characters.view(np.dtype(np.uint32).newbyteorder(order)).max()) > 0x10FFFF
    if wrong:
        raise RemoteWireError(f"an array holds what isn't {array.dtype.name}")


# --- the general form ----------------------------------------------------------------------------


class _General(Layout):
    def __init__(self, fields: object) -> None:
        if not isinstance(fields, dict):
            raise RemoteWireError("metadata is no JSON object")
        entries = fields.get("b")
        if not isinstance(entries, list) or len(entries) > MAX_BUFFERS:
            raise RemoteWireError("malformed list of buffers")
        self._tree = fields.get("v")
        self._entries = [_Entry(entry) for entry in entries]
        self.sizes = tuple(entry.nbytes for entry in self._entries)

    def value(self, parts: Sequence[Block]) -> Any:
        """Once: the tree is changed by it."""
        tree = self._tree
        for entry, part in zip(self._entries, parts, strict=True):
            tree = entry.place(tree, part)
        return tree


class _Entry:
    """One buffer, and where in the value it belongs."""

    __slots__ = ("_array", "_kind", "_path", "nbytes")

    def __init__(self, entry: object) -> None:
        if not isinstance(entry, list) or not 3 <= len(entry) <= 5 or type(entry[1]) is not list:
            raise RemoteWireError("malformed buffer entry")
        self._kind, self._path = entry[0], entry[1]
        self._array: _Array | None = None
        if self._kind in ("a", "n") and (self._kind == "a" or entry[3:] == [[]]):
            self._array = _Array(entry[2:])
            self.nbytes = self._array.sizes[0]
        elif self._kind in ("b", "s") and len(entry) == 3 and _is_count(entry[2]):
            self.nbytes = entry[2]
        else:
            raise RemoteWireError("malformed buffer entry")

    def place(self, tree: Any, part: Block) -> Any:
        """Put the buffer where it belongs; the new tree."""
        value = self._value(part)
        if not self._path:
            if tree is not None:
                raise RemoteWireError("two values for one place")
            return value
        node = tree
        for step in self._path[:-1]:
            node = node[_step(node, step)]
        last = _step(node, self._path[-1])
        if node[last] is not None:
            raise RemoteWireError("two values for one place")
        node[last] = value
        return tree

    def _value(self, part: Block) -> Any:
        if self._array is not None:
            array = self._array.value((part,))
            return array if self._kind == "a" else array[()]
        data = part.tobytes()
        return data if self._kind == "b" else text(data)


def _step(node: Any, step: object) -> Any:
    """`step` if it leads somewhere from `node`."""
    if isinstance(node, dict) and isinstance(step, str) and step in node:
        return step
    if isinstance(node, list) and _is_count(step) and step < len(node):  # type: ignore[operator]
        return step
    raise RemoteWireError("a buffer's place doesn't exist")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def blocks(found: Layout) -> list[Block]:
    """Memory for each buffer of a layout.

    Raises:
        MemoryError: There isn't that much.
    """
    return [aligned(size) for size in found.sizes]
