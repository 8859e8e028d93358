"""What the two ends of a shared-memory stream say on their socket <-> bytes. Pure.

One record is one packet (the socket keeps them apart): a head of 32 bytes, and what follows it.

    0       4         5      6     8     16    24    32
    | "OTSM" | version | kind | 0 0 |  a  |  b  |  c  | payload …        big-endian; a, b, c: u64

    kind       from      a             b          c        payload
    CONTROL    both      memory bytes  -          -        HELLO, ACCEPT, REFUSE or END of net.wire
    REGION     sender    number        size       -        -
    MEMORY     sender    -             -          -        - (follows a REGION, with its memfd)
    FORGET     sender    number        -          -        -
    SLOT       sender    region        offset     length   -
    PIECE      sender    whole length  -          -        a part of a message, one after the other
    ACK        receiver  done          taken      count    count times a slot: region, offset (u64)

A receiver reads descriptors only where a REGION has announced one: asking for them with each record
costs more than all else about a small message.

Must not know: asyncio, sockets, memory.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from net import wire
from net.errors import RemoteWireError

MAGIC = b"OTSM"
VERSION = 1
HEAD_BYTES = 32
MAX_PAYLOAD = 64 * 1024
"""Well below what a Unix socket takes as one packet (its send buffer, 208 KiB by default)."""
MAX_RELEASED = 1024
"""Slots in one ACK."""

CONTROL, REGION, MEMORY, FORGET, SLOT, PIECE, ACK = range(1, 8)
_HEAD = struct.Struct("!4sBB2xQQQ")
_WITH_PAYLOAD = frozenset({CONTROL, PIECE, ACK})
_PREAMBLE_BYTES = wire.PREAMBLE.size


Head = tuple[int, int, int, int]
"""Kind, a, b, c of a record, checked. A tuple: it is made for every record."""


def head(kind: int, a: int = 0, b: int = 0, c: int = 0) -> bytes:
    """The head of a record; for those without payload, all of it."""
    return _HEAD.pack(MAGIC, VERSION, kind, a, b, c)


def control(words: bytes, memory_bytes: int = 0) -> bytes:
    """A record with a control message of `net.wire`.

    Args:
        words: The message.
        memory_bytes: With ACCEPT: most that all regions together may take.
    """
    return head(CONTROL, memory_bytes) + words


def ack(done: int, taken: int, released: Sequence[tuple[int, int]]) -> bytes:
    """What the receiver is through with.

    Args:
        done: No message up to this number is sent again.
        taken: The last number that its module has taken.
        released: Slots (region, offset) that nothing refers to any more, at most `MAX_RELEASED`.
    """
    flat = [number for slot in released for number in slot]
    return head(ACK, done, taken, len(released)) + struct.pack(f"!{len(flat)}Q", *flat)


def read_head(data: bytes | memoryview, length: int) -> Head:
    """Check the head of a record that was `length` bytes long.

    Raises:
        RemoteWireError: The peer doesn't speak this protocol, or not this version of it.
    """
    if length < HEAD_BYTES:
        raise RemoteWireError("a record that is too short")
    magic, version, kind, a, b, c = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise RemoteWireError("what came is no record of a shared-memory stream")
    if version != VERSION and kind != CONTROL:  # any version may say hello and be told no
        raise RemoteWireError(f"shared-memory version {version}, not {VERSION}")
    if not CONTROL <= kind <= ACK:
        raise RemoteWireError(f"unknown record {kind}")
    if length > HEAD_BYTES and kind not in _WITH_PAYLOAD:
        raise RemoteWireError("a payload where none may be")
    if length > HEAD_BYTES + MAX_PAYLOAD:
        raise RemoteWireError("a record that is too long")
    return kind, a, b, c


def read_control(payload: bytes) -> wire.Event:
    """The control message in a record.

    Raises:
        RemoteWireError: It makes no sense.
        MessageTooLarge: It is longer than any is.
    """
    if len(payload) < _PREAMBLE_BYTES:
        raise RemoteWireError("a control record that is too short")
    version, kind, length = wire.check_preamble(payload, 0, messages=False)
    if length != len(payload) - _PREAMBLE_BYTES:
        raise RemoteWireError("a control record whose length is wrong")
    return wire.control_event(kind, version, payload[_PREAMBLE_BYTES:])


def read_released(found: Head, payload: bytes) -> tuple[tuple[int, int], ...]:
    """The slots in an ACK. Raises `RemoteWireError`."""
    count = found[3]
    if count > MAX_RELEASED or len(payload) != 16 * count:
        raise RemoteWireError("an acknowledgement whose length is wrong")
    numbers = struct.unpack(f"!{2 * count}Q", payload)
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))
