"""A message of which something is missing -> its value, with masks. Pure.

Zeros stand where nothing came. What may be missing is the content of arrays, or of a value that is
bytes; a message whose header, metadata, texts or scalars are incomplete says nothing reliable.
Must not know: asyncio, sockets, fragments.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from net.errors import RemoteWireError
from net.header import HEADER
from net.layouts import layout
from net.memory import ALIGN
from net.messages import Message
from net.values import BYTES
from net.wire import Head, decode

Bytes = NDArray[np.uint8]
Ranges = list[tuple[int, int]]


def decode_partial(memory: Bytes, missing: Ranges, limit_bytes: int) -> Message:
    """As `wire.decode`, with `missing` set to masks of the value's shape.

    A mask is a bool array, True where an element is missing at least in part: for a value that is
    an array one of its shape, for bytes one per byte; for lists and dicts the same with a mask (or
    None: nothing is missing) in place of each array, and None for everything else.

    Args:
        memory: The message, zeros where it is missing.
        missing: Ranges of bytes, ascending.
        limit_bytes: Bound of the whole.

    Raises:
        RemoteWireError: It isn't a message, or too much is missing to make sense of it.
    """
    head = _head(memory, missing, limit_bytes)
    message = decode(memory, limit_bytes)
    gone = np.zeros(len(memory), np.bool_)
    for start, stop in missing:
        gone[start:stop] = True
    if head.form == BYTES:
        message.missing = gone[head.before :]
        return message
    arrays: dict[int, NDArray[Any]] = {}
    message.missing = _masks(message.value, memory, gone, arrays)
    for start, size in _parts(memory, head):
        if size and start not in arrays and gone[start : start + size].any():
            raise RemoteWireError("what isn't an array is missing in part")
    return message


def _head(memory: Bytes, missing: Ranges, limit_bytes: int) -> Head:
    first = missing[0][0]
    if len(memory) < HEADER.size or first < HEADER.size:
        raise RemoteWireError("a message's header is missing")
    head = Head(memory[: HEADER.size].tobytes(), 0, limit_bytes)
    if first < head.before:
        raise RemoteWireError("a message's metadata are missing in part")
    return head


def _parts(memory: Bytes, head: Head) -> Ranges:
    """Where each buffer starts, and its length."""
    said = memoryview(memory[: head.before].tobytes())
    found = []
    at, last = head.before, 0
    for size in layout(head.form, head.metadata_in(said), head.body).sizes:
        if size:
            at += -last % ALIGN
            last = size
        found.append((at, size))
        at += size
    return found


def _masks(value: Any, memory: Bytes, gone: NDArray[np.bool_], arrays: dict[int, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _masks(each, memory, gone, arrays) for key, each in value.items()}
    if isinstance(value, list):
        return [_masks(each, memory, gone, arrays) for each in value]
    if not isinstance(value, np.ndarray) or not value.size:
        return None
    start = value.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
    if not 0 <= start < len(memory):
        return None
    arrays[start] = value
    part = gone[start : start + value.nbytes]
    if not part.any():
        return None
    mask = part.reshape(value.size, value.itemsize).any(axis=1)
    if value.flags.c_contiguous:
        return mask.reshape(value.shape)
    return mask.reshape(value.shape[::-1]).T
