"""Messages <-> bytes: versioned, bounded, data only. Pure; docs/wire-format.md has the tables.

    0        4       5      6          8           12         20
    | "OTTR" | version | kind | 0 0 | metadata | body length | metadata … | body … |
    |          |  u8   |  u8  |     |   u32    |     u64     |  JSON      | buffers, each at a
                                                               multiple of 64 from the start

Sender: `hello` … `message(…)` … `END`; receiver: `accept(…)` or `refuse(…)`, and `END` back.
Writers give lists of buffers without copying array data. `Reader` is a state machine that hands
out the memory to fill:

    preamble ──► metadata ──► buffer, padding, buffer, … ──► event ──► preamble
                    └─ (no body) ─────────────────────────────▲

Must not know: asyncio, sockets, the clock.
"""

from __future__ import annotations

import json
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from net import OTTER_WIRE_VERSION
from net.errors import MessageTooLarge, RemoteWireError
from net.values import Packed, Slot, slots

MAGIC = b"OTTR"
ALIGN = 64
"""Buffers start at multiples of this from the message's start: a cache line, enough for SIMD."""
MAX_MESSAGE_BYTES = 2**30
"""Default bound of a whole message, both ways; memory is touched only as bytes arrive."""
MAX_METADATA_BYTES = 4 * 2**20
"""JSON may take 20 times its size in memory once read, so this is what bounds a hostile peer."""
MAX_CONTROL_BYTES = 4096
MAX_NAME = 300
_MAX_TIME = 1e15

HELLO, ACCEPT, REFUSE, MESSAGE, _END = range(1, 6)
_PREAMBLE = struct.Struct("!4sBBHIQ")
_SCRATCH_BYTES = 64 * 1024
_DIRECT_BYTES = 32 * 1024
_PADDING = bytes(ALIGN)
_dumps = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make one per call


@dataclass(frozen=True, slots=True)
class Hello:
    """The first thing a sender says. `version` is the sender's, maybe not ours."""

    version: int
    stream: str
    input: str
    sender: str


@dataclass(frozen=True, slots=True)
class Accept:
    """The receiver wants the stream, with messages of at most `limit_bytes`."""

    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """The receiver doesn't want the stream."""

    reason: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message, all of it. Times are seconds since 1970 by the sender's clock."""

    value: Any
    id: str
    reply_to: str | None
    made: float
    sent: float
    size_bytes: int
    """On the wire, metadata included."""


@dataclass(frozen=True, slots=True)
class End:
    """The sender has nothing more to say; the receiver says it back: all has arrived."""


Event = Hello | Accept | Refuse | Incoming | End


# --- writers -------------------------------------------------------------------------------------


def hello(stream: str, input_name: str, sender: str) -> bytes:
    """The sender's first words."""
    return _control(HELLO, {"stream": stream, "input": input_name, "from": sender})


def accept(limit_bytes: int) -> bytes:
    """The receiver's yes, and how large a message may be."""
    return _control(ACCEPT, {"limit": limit_bytes})


def refuse(reason: str) -> bytes:
    """The receiver's no; `reason` is for people, one line."""
    return _control(REFUSE, {"reason": reason[:MAX_NAME]})


def message(
    packed: Packed,
    *,
    message_id: str,
    reply_to: str | None,
    made: float,
    sent: float,
    limit_bytes: int = MAX_MESSAGE_BYTES,
) -> list[bytes | memoryview]:
    """The buffers of one message, to be written one after the other.

    Args:
        packed: Its value; array memory is passed on, not copied.
        message_id: Unique among all messages of the sender, at most 300 characters.
        reply_to: Id of the message that this one answers.
        made: When the sender made it, seconds since 1970.
        sent: When it went to the wire, seconds since 1970.
        limit_bytes: Bound of the whole.

    Raises:
        MessageTooLarge: Over the limit.
    """
    head = _dumps({"id": message_id, "re": reply_to, "made": made, "sent": sent})
    entries = _dumps(packed.entries) if packed.entries else "[]"
    metadata = f'{head[:-1]},"b":{entries},"v":{packed.tree}}}'.encode()
    if len(metadata) > MAX_METADATA_BYTES:
        raise MessageTooLarge(len(metadata), MAX_METADATA_BYTES)
    body: list[bytes | memoryview] = []
    for buffer in packed.buffers:
        if buffer.nbytes:
            body += (buffer, _PADDING[: -buffer.nbytes % ALIGN])
    if body:
        body.pop()
        metadata += b" " * (-(_PREAMBLE.size + len(metadata)) % ALIGN)
    body_length = sum(len(part) for part in body)
    total = _PREAMBLE.size + len(metadata) + body_length
    if total > limit_bytes:
        raise MessageTooLarge(total, limit_bytes)
    return [_preamble(MESSAGE, len(metadata), body_length) + metadata, *filter(len, body)]


def _control(kind: int, fields: dict[str, str | int]) -> bytes:
    metadata = _dumps(fields).encode()
    return _preamble(kind, len(metadata), 0) + metadata


def _preamble(kind: int, metadata_length: int, body_length: int) -> bytes:
    return _PREAMBLE.pack(MAGIC, OTTER_WIRE_VERSION, kind, 0, metadata_length, body_length)


END = _control(_END, {})
"""The sender's last word, and the receiver's receipt for it."""


# --- reader --------------------------------------------------------------------------------------


class Reader:
    """Bytes in, events out.

    Fill `get_buffer()`, tell `buffer_updated(n)`, then call `next_event()` until it gives None;
    only then ask for a buffer again. Small things pass through one scratch buffer, many to a read;
    the rest of a large array is received into the array itself.

    Args:
        limit_bytes: Bound of a message; nothing is allocated for one that announces more.
        messages: Whether a MESSAGE may come yet. If not, its preamble alone is an error: a peer
            that nobody knows can't make us hold more than a control message.
    """

    def __init__(self, limit_bytes: int = MAX_MESSAGE_BYTES, *, messages: bool = True) -> None:
        self._limit = limit_bytes
        self._messages = messages
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._pending = self._scratch[:0]
        self._direct = False
        self._header = memoryview(bytearray(_PREAMBLE.size))
        self._targets: deque[memoryview] = deque()
        self._failed: RemoteWireError | MessageTooLarge | None = None
        self._kind = self._version = self._body = self._size = 0
        self._fields: dict[str, Any] = {}
        self._slots: list[Slot] = []
        self._start()

    def allow_messages(self) -> None:
        """From the next preamble on a MESSAGE may come."""
        self._messages = True

    def get_buffer(self) -> memoryview:
        """Memory to receive into, never empty."""
        self._direct = len(self._target) - self._filled >= _DIRECT_BYTES
        return self._target[self._filled :] if self._direct else self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` have been written to the start of the last buffer."""
        if self._direct:
            self._filled += nbytes
        else:
            self._pending = self._scratch[:nbytes]

    def feed(self, data: bytes) -> Iterator[Event]:
        """The same for bytes that lie elsewhere: copied in; all events that are complete.

        Raises:
            RemoteWireError: As `next_event`.
            MessageTooLarge: As `next_event`.
        """
        rest = memoryview(data)
        while len(rest):
            buffer = self.get_buffer()
            count = min(len(buffer), len(rest))
            buffer[:count] = rest[:count]
            rest = rest[count:]
            self.buffer_updated(count)
            while (event := self.next_event()) is not None:
                yield event

    def next_event(self) -> Event | None:
        """The next event that is complete; None: more bytes are needed.

        Raises:
            RemoteWireError: The peer broke the protocol. The reader is of no more use.
            MessageTooLarge: It announced more than is allowed; likewise.
        """
        if self._failed is not None:
            raise self._failed
        try:
            while self._fill():
                event = self._stage()
                if event is not None:
                    self._start()
                    return event
        except (RemoteWireError, MessageTooLarge) as exc:
            self._failed = exc
            raise
        return None

    def _fill(self) -> bool:
        """Move pending bytes to the target; whether it is full."""
        missing = len(self._target) - self._filled
        if missing and len(self._pending):
            count = min(missing, len(self._pending))
            self._target[self._filled : self._filled + count] = self._pending[:count]
            self._pending = self._pending[count:]
            self._filled += count
            missing -= count
        return not missing

    def _start(self) -> None:
        self._stage = self._read_preamble
        self._aim(self._header)

    def _aim(self, target: memoryview) -> None:
        self._target, self._filled = target, 0

    def _read_preamble(self) -> Event | None:
        magic, version, kind, zero, metadata, body = _PREAMBLE.unpack(self._header)
        if magic != MAGIC or zero:
            raise RemoteWireError("what came is no OTTER message")
        # Any version may say hello and be told no: these two keep their layout for ever.
        if version != OTTER_WIRE_VERSION and kind not in (HELLO, REFUSE):
            raise RemoteWireError(f"wire version {version}, not {OTTER_WIRE_VERSION}")
        if not HELLO <= kind <= _END:
            raise RemoteWireError(f"unknown kind {kind}")
        if kind == MESSAGE and not self._messages:
            raise RemoteWireError("a message where none may be yet")
        self._size = _PREAMBLE.size + metadata + body
        self._check_lengths(kind, metadata, body)
        self._version, self._kind, self._body = version, kind, body
        self._stage = self._read_metadata
        self._aim(memoryview(bytearray(metadata)))
        return None

    def _check_lengths(self, kind: int, metadata: int, body: int) -> None:
        limit = MAX_METADATA_BYTES if kind == MESSAGE else MAX_CONTROL_BYTES
        if metadata > limit:
            raise MessageTooLarge(metadata, limit)
        if self._size > self._limit:
            raise MessageTooLarge(self._size, self._limit)
        if body and (kind != MESSAGE or (_PREAMBLE.size + metadata) % ALIGN):
            raise RemoteWireError("a body where none may be")

    def _read_metadata(self) -> Event | None:
        try:
            fields = json.loads(str(self._target, "utf-8"))
        except (ValueError, RecursionError) as exc:
            raise RemoteWireError("metadata is no JSON, or nested too deep") from exc
        if not isinstance(fields, dict):
            raise RemoteWireError("metadata is no JSON object")
        if self._kind != MESSAGE:
            return self._control_event(fields)
        self._fields = fields
        self._slots = slots(fields.get("b"))
        self._allocate()
        return self._read_buffer()

    def _allocate(self) -> None:
        """Line up the memory of all buffers and the padding between them."""
        sizes = [slot.nbytes for slot in self._slots]
        body = last = 0
        for size in filter(None, sizes):
            body += -last % ALIGN + size
            last = size
        if body != self._body:
            raise RemoteWireError(f"buffers take {body} bytes, the body has {self._body}")
        last = 0
        for slot in self._slots:
            try:
                memory = slot.memory()
            except MemoryError as exc:
                raise MessageTooLarge(self._size, self._limit) from exc
            if slot.nbytes:
                if last % ALIGN:
                    self._targets.append(memoryview(bytearray(-last % ALIGN)))
                self._targets.append(memory)
                last = slot.nbytes

    def _read_buffer(self) -> Event | None:
        """One buffer or padding is full: on to the next, or done."""
        if self._targets:
            self._stage = self._read_buffer
            self._aim(self._targets.popleft())
            return None
        fields, filled = self._fields, self._slots
        self._fields, self._slots = {}, []
        reply_to = fields.get("re")
        tree = fields.get("v")
        for slot in filled:
            tree = slot.place(tree)
        return Incoming(
            tree,
            _text(fields, "id"),
            None if reply_to is None else _text(fields, "re"),
            _time(fields, "made"),
            _time(fields, "sent"),
            self._size,
        )

    def _control_event(self, fields: dict[str, Any]) -> Event:
        if self._kind == HELLO:
            words = (_text(fields, "stream"), _text(fields, "input"), _text(fields, "from"))
            return Hello(self._version, *words)
        if self._kind == REFUSE:
            return Refuse(_text(fields, "reason"))
        if self._kind == ACCEPT:
            limit = fields.get("limit")
            if type(limit) is not int or limit < 0:
                raise RemoteWireError("metadata lacks a proper 'limit'")
            return Accept(limit)
        return End()


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise RemoteWireError(f"metadata lacks a proper {key!r}")
    return value


def _time(fields: dict[str, Any], key: str) -> float:
    value = fields.get(key)
    if type(value) in (int, float):
        number: float = value  # type: ignore[assignment]
        if abs(number) <= _MAX_TIME:  # false for nan
            return float(number)
    raise RemoteWireError(f"metadata lacks a proper {key!r}")
