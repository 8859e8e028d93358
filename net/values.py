"""The value of a message -> a form, metadata and flat buffers, as it is sent. Pure.

A value is None, bool, int, float, str, bytes, an array (numpy's, or anything with `__dlpack__` or
`__array__` on the CPU: torch, TensorFlow, JAX), a numpy scalar, or a list or dict (with string
keys) of these. The commonest have forms of their own; in the general one JSON says what it can,
and arrays, bytes and long texts are buffers, with `null` in their place:

    BYTES    b"…"                metadata: none                          buffers: the bytes
    TEXT     "…"                 metadata: none                          buffers: UTF-8
    ARRAY    array               metadata: ["<f4",[480,640,3]]           buffers: its own memory
    JSON     {"box": [1, 2]}     metadata: {"box":[1,2]}                 buffers: none
    GENERAL  {"image": array}    metadata: {"b":[ENTRY, …],"v":{"image":null}}   one per entry

    ENTRY    ["a", PLACE, DTYPE, SHAPE]      array in C order; with "F" behind it: its transpose is
             ["n", PLACE, DTYPE, []]         numpy scalar
             ["b", PLACE, LENGTH]            bytes
             ["s", PLACE, LENGTH]            text, UTF-8

The receiving half is `net.layouts`. Must not know: asyncio, sockets, the clock, the wire.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from net.dtypes import MAX_DIMENSIONS, describe
from net.errors import LocalWireError

GENERAL, BYTES, TEXT, ARRAY, JSON = range(5)
"""Forms."""
MAX_DEPTH = 64
"""Deepest nesting of lists and dicts that is sent."""
MAX_BUFFERS = 4096
"""Most arrays, bytes and long texts in one message."""
LONG_TEXT = 16 * 1024
"""Texts of this many characters or more go as a buffer: no escaping, no metadata limit."""
_KNOWN_ARRAYS = 256
_ACCEPTED = "send arrays, str, bytes, numbers, None, or lists and dicts of these"

dumps = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make one per call

Buffer = bytes | memoryview


@dataclass(slots=True)
class Packed:
    """A value ready to be sent, as often as need be.

    Attributes:
        form: Which of the forms.
        metadata: What the receiver needs to know of the buffers, and the rest of the value.
        buffers: Flat byte views, without copying where arrays are contiguous.
        nbytes: Bytes of all buffers.
    """

    form: int
    metadata: bytes
    buffers: list[Buffer]
    nbytes: int


def pack(value: Any) -> Packed:
    """Take a value apart. Tuples become lists.

    Raises:
        LocalWireError: Something in it can't be sent; the message says where and what can.
    """
    kind = type(value)
    if kind is bytes:
        return Packed(BYTES, b"", [value], len(value))
    if kind is str:
        data = value.encode("utf-8", "surrogatepass")
        return Packed(TEXT, b"", [data], len(data))
    if kind is np.ndarray:
        buffer, metadata = _array(value)
        return Packed(ARRAY, metadata, [buffer], buffer.nbytes)
    return _general(value)


def _general(value: Any) -> Packed:
    entries: list[list[Any]] = []
    buffers: list[Buffer] = []
    tree = _strip(value, [], entries, buffers)
    if len(buffers) > MAX_BUFFERS:
        raise LocalWireError(f"a message can't hold more than {MAX_BUFFERS} arrays")
    try:
        if not entries:
            return Packed(JSON, dumps(tree).encode(), [], 0)
        metadata = dumps({"b": entries, "v": tree}).encode()
    except (ValueError, TypeError) as exc:  # an int of over 4300 digits
        raise LocalWireError(f"value can't be sent: {exc}") from exc
    return Packed(GENERAL, metadata, buffers, sum(map(len, buffers)))


# --- arrays --------------------------------------------------------------------------------------

_known_arrays: dict[Any, bytes] = {}
"""(dtype, shape, order) -> metadata: a stream's arrays are mostly alike."""


def _array(value: NDArray[Any]) -> tuple[memoryview, bytes]:
    if value.flags.c_contiguous:
        metadata = _known_arrays.get((value.dtype, value.shape, ""))
        if metadata is not None:
            return bytes_of(value), metadata
    array, order = _sendable(value, [])
    key = (array.dtype, array.shape, order)
    metadata = _known_arrays.get(key)
    if metadata is None:
        metadata = dumps(_described(array, order)).encode()
        if len(_known_arrays) >= _KNOWN_ARRAYS:
            _known_arrays.clear()
        _known_arrays[key] = metadata
    return bytes_of(array), metadata


def _described(array: NDArray[Any], order: str) -> list[Any]:
    return [describe(array.dtype), list(array.shape), *order]


def _sendable(value: NDArray[Any] | np.generic, path: list[Any]) -> tuple[NDArray[Any], str]:
    """A C-contiguous plain array (of a Fortran one: its transpose, and "F"), uncopied if it can."""
    if isinstance(value, np.ndarray) and hasattr(value, "mask"):
        raise _unsendable(path, "a masked array")
    array = np.asarray(value)
    if array.ndim > MAX_DIMENSIONS or describe(array.dtype) is None:
        raise _unsendable(path, f"an array of dtype {array.dtype}, {array.ndim} dimensions")
    if array.flags.c_contiguous:
        return array, ""
    if array.flags.f_contiguous:
        return array.T, "F"
    return array.copy(order="C"), ""


def bytes_of(array: NDArray[Any]) -> memoryview:
    """The memory of a contiguous array, flat; memoryview alone refuses datetime64."""
    if array.size == 0:
        return memoryview(b"")
    return memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def _foreign(value: Any, path: list[Any]) -> NDArray[Any] | None:
    """The memory of another library's CPU array as numpy's, uncopied; None: it isn't an array."""
    for protocol, convert in (("__dlpack__", np.from_dlpack), ("__array__", np.asarray)):
        if not hasattr(type(value), protocol):
            continue
        try:
            array: NDArray[Any] = convert(value)
        except Exception as exc:  # noqa: BLE001 - each library has errors of its own
            problem: Exception = exc
        else:
            return array
    if "problem" not in locals():
        return None
    hint = "send a CPU copy without gradients: tensor.detach().cpu()"
    what = f"a {type(value).__module__}.{type(value).__qualname__}, and"
    raise LocalWireError(f"value{_place(path)} can't be sent: it is {what} {problem}", hint=hint)


# --- the general form ----------------------------------------------------------------------------


def _strip(value: Any, path: list[Any], entries: list[list[Any]], buffers: list[Buffer]) -> Any:
    """The tree of `value`; arrays, bytes and long texts go to `buffers`."""
    if isinstance(value, (np.ndarray, np.generic)):  # first: some scalars are floats, too
        kind = "a" if isinstance(value, np.ndarray) else "n"
        _strip_array(kind, value, path, entries, buffers)
    elif value is None or isinstance(value, (bool, int, float)):
        return value
    elif isinstance(value, str):
        if len(value) < LONG_TEXT:
            return value
        data = value.encode("utf-8", "surrogatepass")
        entries.append(["s", path, len(data)])
        buffers.append(data)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        entries.append(["b", path, len(data)])
        buffers.append(data)
    elif isinstance(value, (list, tuple, dict)):
        return _strip_container(value, path, entries, buffers)
    else:
        array = _foreign(value, path)
        if array is None:
            raise _unsendable(path, f"a {type(value).__module__}.{type(value).__qualname__}")
        _strip_array("a", array, path, entries, buffers)
    return None


def _strip_array(
    kind: str,
    value: NDArray[Any] | np.generic,
    path: list[Any],
    entries: list[list[Any]],
    buffers: list[Buffer],
) -> None:
    array, order = _sendable(value, path)
    entries.append([kind, path, *_described(array, order)])
    buffers.append(bytes_of(array))


def _strip_container(
    value: list[Any] | tuple[Any, ...] | dict[Any, Any],
    path: list[Any],
    entries: list[list[Any]],
    buffers: list[Buffer],
) -> Any:
    if len(path) >= MAX_DEPTH:
        raise LocalWireError(f"value is nested deeper than {MAX_DEPTH}, or holds itself")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise _unsendable(path, f"a dict with the key {key!r:.40} that is no str")
        return {k: _strip(v, [*path, k], entries, buffers) for k, v in value.items()}
    return [_strip(v, [*path, i], entries, buffers) for i, v in enumerate(value)]


def _unsendable(path: list[Any], what: str) -> LocalWireError:
    return LocalWireError(f"value{_place(path)} can't be sent: it is {what}", hint=_ACCEPTED)


def _place(path: list[Any]) -> str:
    return "".join(f"[{step!r:.40}]" for step in path)
