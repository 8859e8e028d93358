"""The value of a message <-> a JSON tree and raw buffers. Pure; data only, never code.

A value is None, bool, int, float, str, bytes, a numpy array or scalar, or a list or dict (with
string keys) of these. What JSON can say stands in the tree; arrays, bytes and long texts are
buffers of their own, and the tree has `null` in their place:

    {"image": <uint8 [480, 640, 3]>, "text": "a dog"}
    tree     {"image": null, "text": "a dog"}
    entries  [["a", ["image"], "|u1", [480, 640, 3]]]     one per buffer: kind, place, its form
    buffers  [<921600 bytes, the array's own memory>]

Entry kinds: `a` array, `n` numpy scalar (dtype, shape); `b` bytes, `s` UTF-8 text (length).
Must not know: asyncio, sockets, the clock, how the parts lie on the wire.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from net.errors import LocalWireError, RemoteWireError

MAX_DEPTH = 64
"""Deepest nesting of lists and dicts that is sent."""
MAX_BUFFERS = 4096
"""Most arrays, bytes and long texts in one message."""
LONG_TEXT = 16 * 1024
"""Texts of this many characters or more go as a buffer: no escaping, no metadata limit."""
MAX_DIMENSIONS = 32

# What every platform lays out alike. Left out: object (that is pickle), long double (80 bits here,
# 128 there), void and structured types (an extension type such as bfloat16 shows as void).
_DTYPES = re.compile(
    r"\|b1|\|[iu]1|[<>][iu][248]|[<>]f[248]|[<>]c(?:8|16)|\|S[1-9]\d{0,8}|[<>]U[1-9]\d{0,8}"
    r"|[<>][mM]8(?:\[(?:[1-9]\d{0,8})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)
_ACCEPTED = "send numpy arrays, str, bytes, numbers, None, or lists and dicts of these"
_dumps = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make one per call

Entry = list[Any]
"""One buffer's kind, place in the tree, and form; JSON."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A value ready to be sent, as often as need be.

    Attributes:
        tree: JSON text of the tree.
        entries: One per buffer.
        buffers: Flat byte views, without copying where arrays are contiguous.
    """

    tree: str
    entries: list[Entry]
    buffers: list[memoryview]


def pack(value: Any) -> Packed:
    """Take a value apart. Tuples become lists.

    Raises:
        LocalWireError: Something in it can't be sent; the message says where and what can.
    """
    entries: list[Entry] = []
    buffers: list[memoryview] = []
    tree = _strip(value, [], entries, buffers)
    if len(buffers) > MAX_BUFFERS:
        raise LocalWireError(f"a message can't hold more than {MAX_BUFFERS} arrays")
    try:
        return Packed(_dumps(tree), entries, buffers)
    except (ValueError, TypeError) as exc:  # an int of over 4300 digits
        raise LocalWireError(f"value can't be sent: {exc}") from exc


def _strip(value: Any, path: list[Any], entries: list[Entry], buffers: list[memoryview]) -> Any:
    """The tree of `value`; arrays, bytes and long texts go to `buffers`."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        if len(value) < LONG_TEXT:
            return value
        data = value.encode("utf-8", "surrogatepass")
        entries.append(["s", path, len(data)])
        buffers.append(memoryview(data))
    elif isinstance(value, (np.ndarray, np.generic)):
        kind = "a" if isinstance(value, np.ndarray) else "n"
        array = _sendable(value, path)
        entries.append([kind, path, array.dtype.str, list(array.shape)])
        buffers.append(_bytes_of(array))
    elif isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        entries.append(["b", path, len(data)])
        buffers.append(memoryview(data))
    elif isinstance(value, (list, tuple, dict)):
        return _strip_container(value, path, entries, buffers)
    else:
        raise _unsendable(path, f"a {type(value).__module__}.{type(value).__qualname__}")
    return None


def _strip_container(
    value: list[Any] | tuple[Any, ...] | dict[Any, Any],
    path: list[Any],
    entries: list[Entry],
    buffers: list[memoryview],
) -> Any:
    if len(path) >= MAX_DEPTH:
        raise LocalWireError(f"value is nested deeper than {MAX_DEPTH}, or holds itself")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise _unsendable(path, f"a dict with the key {key!r:.40} that is no str")
        return {k: _strip(v, [*path, k], entries, buffers) for k, v in value.items()}
    return [_strip(v, [*path, i], entries, buffers) for i, v in enumerate(value)]


def _sendable(value: NDArray[Any] | np.generic, path: list[Any]) -> NDArray[Any]:
    """A C-contiguous plain array of an accepted type (without a copy if it is one)."""
    if isinstance(value, np.ndarray) and hasattr(value, "mask"):
        raise _unsendable(path, "a masked array")
    array = np.asarray(value)
    if not _DTYPES.fullmatch(array.dtype.str) or array.ndim > MAX_DIMENSIONS:
        raise _unsendable(path, f"an array of dtype {array.dtype}, {array.ndim} dimensions")
    return array if array.flags.c_contiguous else array.copy(order="C")


def _bytes_of(array: NDArray[Any]) -> memoryview:
    """The memory of a contiguous array, flat; memoryview alone refuses datetime64."""
    if array.size == 0:
        return memoryview(bytearray())
    return memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def _unsendable(path: list[Any], what: str) -> LocalWireError:
    where = "".join(f"[{step!r:.40}]" for step in path)
    return LocalWireError(f"value{where} can't be sent: it is {what}", hint=_ACCEPTED)


# --- the receiving side: everything below reads what a peer wrote ---------------------------------


class Slot:
    """Memory for one buffer that is to come, and how it becomes part of the value.

    Args:
        entry: As the peer wrote it.

    Raises:
        RemoteWireError: The entry makes no sense. Nothing is allocated before `memory`.
    """

    __slots__ = ("_dtype", "_filled", "_kind", "_path", "_shape", "nbytes")

    def __init__(self, entry: object) -> None:
        if not isinstance(entry, list) or len(entry) not in (3, 4) or type(entry[1]) is not list:
            raise RemoteWireError("malformed buffer entry")
        self._kind, self._path = entry[0], entry[1]
        self._filled: Any = None
        if self._kind in ("a", "n") and len(entry) == 4 and (self._kind == "a" or not entry[3]):
            self._dtype, self._shape = _dtype(entry[2]), _shape(entry[3])
            self.nbytes = math.prod(self._shape) * self._dtype.itemsize
        elif self._kind in ("b", "s") and len(entry) == 3 and _is_count(entry[2]):
            self.nbytes = entry[2]
        else:
            raise RemoteWireError("malformed buffer entry")

    def memory(self) -> memoryview:
        """The bytes to fill: the received array's own memory.

        Raises:
            RemoteWireError: numpy refuses the shape.
            MemoryError: There isn't that much.
        """
        if self._kind in ("b", "s"):
            # Not bytearray: that would touch all pages before one byte of them has arrived.
            self._filled = np.empty(self.nbytes, np.uint8)
            return memoryview(self._filled)
        try:
            self._filled = np.empty(self._shape, self._dtype)
        except ValueError as exc:
            raise RemoteWireError(f"impossible array shape: {exc}") from exc
        return _bytes_of(self._filled)

    def place(self, tree: Any) -> Any:
        """Put the filled buffer where it belongs; the new tree.

        Raises:
            RemoteWireError: There is no `null` at its place, or a text isn't UTF-8.
        """
        value = self._value()
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

    def _value(self) -> Any:
        if self._kind in ("a", "n"):
            _check_content(self._filled)
            return self._filled if self._kind == "a" else self._filled[()]
        data = self._filled.tobytes()
        if self._kind == "b":
            return data
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as exc:
            raise RemoteWireError("a text isn't UTF-8") from exc


def slots(entries: object) -> list[Slot]:
    """Check what the peer says about its buffers.

    Raises:
        RemoteWireError: It makes no sense.
    """
    if not isinstance(entries, list) or len(entries) > MAX_BUFFERS:
        raise RemoteWireError("malformed list of buffers")
    return [Slot(entry) for entry in entries]


def _step(node: Any, step: object) -> Any:
    """`step` if it leads somewhere from `node`."""
    if isinstance(node, dict) and isinstance(step, str) and step in node:
        return step
    if isinstance(node, list) and _is_count(step) and step < len(node):  # type: ignore[operator]
        return step
    raise RemoteWireError("a buffer's place doesn't exist")


def _dtype(text: object) -> np.dtype[Any]:
    """Only what `_DTYPES` names reaches numpy's own, much wider, parser."""
    if not isinstance(text, str) or not _DTYPES.fullmatch(text):
        raise RemoteWireError(f"array type {text!r:.40} isn't allowed")
    try:
        return np.dtype(text)
    except (TypeError, ValueError, OverflowError) as exc:
        raise RemoteWireError(f"array type {text!r:.40} isn't allowed") from exc


def _shape(sizes: object) -> tuple[int, ...]:
    if (
        not isinstance(sizes, list)
        or len(sizes) > MAX_DIMENSIONS
        or not all(_is_count(n) and n < 2**62 for n in sizes)
    ):
        raise RemoteWireError("malformed array shape")
    return tuple(sizes)


def _check_content(array: NDArray[Any]) -> None:
    """Refuse bits that numpy relies on never to see: a bool of 2, a character beyond Unicode."""
    if array.size == 0 or array.dtype.kind not in "bU":
        return
    raw, most = (np.uint8, 1) if array.dtype.kind == "b" else (np.uint32, 0x10FFFF)
    numbers = array.reshape(-1).view(np.dtype(raw).newbyteorder(array.dtype.byteorder))
    if int(numbers.max()) > most:
        raise RemoteWireError(f"an array holds what isn't {array.dtype.name}")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
