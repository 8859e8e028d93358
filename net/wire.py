"""Messages -> bytes: versioned, bounded, data only. Pure; docs/wire-format.md has the tables.

    0        4         5      6      7       8          12            20
    | "OTTR" | version | kind | form | flags | metadata | body length | …
    |        |   u8    |  u8  |  u8  |  u8   |   u32    |     u64     |

    control (HELLO, ACCEPT, REFUSE, END): metadata are JSON, there is no body
    ACK:      … | metadata: seq u64
    MESSAGE:  … | reply u16 | 6 unused | seq | run | number | made | queued | sent | expires |
                | reply_to, metadata, zeros | body

A body of buffers that lie at multiples of 64 (from the message's start) begins at one; bytes and
texts follow the metadata at once. Writers give lists of buffers without copying array data; the
reading half for a stream of bytes is `net.tcp.reader`, for a whole message `decode`.

Must not know: asyncio, sockets, the clock.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from net import OTTER_WIRE_VERSION
from net.errors import MessageTooLarge, RemoteWireError
from net.header import (
    ACCEPT,
    ACK,
    END,
    FLAGS,
    HEADER,
    HELLO,
    MAGIC,
    MAX_REPLY_BYTES,
    MAX_TIME,
    MESSAGE,
    MESSAGE_START,
    REFUSE,
    URGENT,
)
from net.layouts import layout, text
from net.memory import ALIGN, Block
from net.messages import Message, Parcel
from net.short import encode as encode_short
from net.values import BYTES, JSON, TEXT, Buffer, dumps

MAX_MESSAGE_BYTES = 2**30
"""Default bound of a whole message, both ways; memory is touched only as bytes arrive."""
MAX_METADATA_BYTES = 4 * 2**20
"""JSON may take 20 times its size in memory once read, so this is what bounds a hostile peer."""
MAX_CONTROL_BYTES = 4096
MAX_NAME = 300

PREAMBLE = struct.Struct("!4sBBBBIQ")
_SEQ = struct.Struct("!Q")
_ACK = struct.Struct("!4sBBBBIQQ")
_TIME = struct.Struct("!d")
_SENT_AT = 68
_ZEROS = bytes(ALIGN)
_SHORT_BYTES = 32 * 1024
_PLAIN_FORMS = frozenset((BYTES, TEXT, JSON))


# --- control -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """The first thing a sender says. `version` is the sender's, maybe not ours.

    Attributes:
        stream: Name of the stream.
        input: The receiver's input.
        sender: Name of the sending module.
        run: A random number of the sender's life; its messages are counted from 1 in each.
        delivery: `at-most-once`, `at-least-once` or `exactly-once`.
    """

    version: int
    stream: str
    input: str
    sender: str
    run: int = 0
    delivery: str = "at-most-once"


@dataclass(frozen=True, slots=True)
class Accept:
    """The receiver wants the stream.

    Attributes:
        limit_bytes: Largest message that it takes.
        done: Up to this number of this run all messages are acknowledged already.
    """

    limit_bytes: int
    done: int = 0


@dataclass(frozen=True, slots=True)
class Refuse:
    """The receiver doesn't want the stream."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ack:
    """The receiver is done with all messages up to this number: none of them is sent again."""

    seq: int


@dataclass(frozen=True, slots=True)
class End:
    """The sender has nothing more to say; the receiver says it back: it is done with all."""


Event = Hello | Accept | Refuse | Ack | Message | End


def hello(
    stream: str, input_name: str, sender: str, *, run: int = 0, delivery: str = "at-most-once"
) -> bytes:
    """The sender's first words."""
    fields = {"stream": stream, "input": input_name, "from": sender}
    return _control(HELLO, {**fields, "run": run, "delivery": delivery})


def accept(limit_bytes: int, done: int = 0) -> bytes:
    """The receiver's yes, how large a message may be, and what needn't be sent again."""
    return _control(ACCEPT, {"limit": limit_bytes, "done": done})


def refuse(reason: str) -> bytes:
    """The receiver's no; `reason` is for people, one line."""
    return _control(REFUSE, {"reason": reason[:MAX_NAME] or "no"})


def ack(seq: int) -> bytes:
    """The receiver's acknowledgement."""
    return _ACK.pack(MAGIC, OTTER_WIRE_VERSION, ACK, 0, 0, _SEQ.size, 0, seq)


def _control(kind: int, fields: dict[str, str | int]) -> bytes:
    metadata = dumps(fields).encode()
    head = PREAMBLE.pack(MAGIC, OTTER_WIRE_VERSION, kind, 0, 0, len(metadata), 0)
    return head + metadata


LAST_WORD = _control(END, {})
"""The sender's last word, and the receiver's receipt for it."""


def control_event(kind: int, version: int, metadata: bytes | memoryview) -> Event:
    """What a peer says with other words than a message.

    Raises:
        RemoteWireError: It makes no sense.
    """
    if kind == ACK:
        if len(metadata) != _SEQ.size:
            raise RemoteWireError("malformed acknowledgement")
        return Ack(*_SEQ.unpack(metadata))
    fields = _json_object(metadata)
    if kind == HELLO:
        words = (_text(fields, "stream"), _text(fields, "input"), _text(fields, "from"))
        if version != OTTER_WIRE_VERSION:
            return Hello(version, *words)
        return Hello(version, *words, _count(fields, "run"), _text(fields, "delivery"))
    if kind == REFUSE:
        return Refuse(_text(fields, "reason"))
    if kind == ACCEPT:
        return Accept(_count(fields, "limit"), _count(fields, "done"))
    return End()


def _json_object(metadata: bytes | memoryview) -> dict[str, Any]:
    import json

    try:
        fields = json.loads(str(metadata, "utf-8"))
    except (ValueError, RecursionError) as exc:
        raise RemoteWireError("metadata is no JSON, or nested too deep") from exc
    if not isinstance(fields, dict):
        raise RemoteWireError("metadata is no JSON object")
    return fields


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise RemoteWireError(f"metadata lacks a proper {key!r}")
    return value


def _count(fields: dict[str, Any], key: str) -> int:
    value = fields.get(key)
    if type(value) is not int or not 0 <= value < 2**64:
        raise RemoteWireError(f"metadata lacks a proper {key!r}")
    return value


# --- messages ------------------------------------------------------------------------------------


def encode(
    parcel: Parcel,
    *,
    seq: int,
    queued: float,
    sent: float,
    limit_bytes: int = MAX_MESSAGE_BYTES,
    flags: int = 0,
) -> list[Buffer]:
    """The buffers of one message, to be written one after the other.

    Args:
        parcel: What is sent; array memory is passed on, not copied.
        seq: Its number on the stream, from 1.
        queued: When the stream took it, seconds since 1970.
        sent: When it goes to the wire, seconds since 1970.
        limit_bytes: Bound of the whole.
        flags: `URGENT` or 0.

    Raises:
        MessageTooLarge: Over the limit.
    """
    packed = parcel.packed
    form, metadata, size = packed.form, packed.metadata, packed.nbytes
    reply = parcel.reply_to.encode() if parcel.reply_to else b""
    if size < _SHORT_BYTES and form in _PLAIN_FORMS and len(reply) <= MAX_REPLY_BYTES:
        total = HEADER.size + len(reply) + len(metadata) + size
        if len(metadata) > MAX_METADATA_BYTES:
            raise MessageTooLarge(len(metadata), MAX_METADATA_BYTES)
        if total > limit_bytes:
            raise MessageTooLarge(total, limit_bytes)
        body = bytes(packed.buffers[0]) if packed.buffers else b""
        return [
            encode_short(
                form, flags, metadata, body, parcel.reply_to, seq, parcel.run, parcel.number,
                parcel.made, queued, sent, parcel.expires,
            )
        ]  # fmt: skip
    rest, zeros = _body(packed.form, packed.buffers, len(reply) + len(packed.metadata))
    length = sum(map(len, rest))
    total = HEADER.size + len(reply) + len(packed.metadata) + len(zeros) + length
    if total > limit_bytes:
        raise MessageTooLarge(total, limit_bytes)
    if len(packed.metadata) > MAX_METADATA_BYTES:
        raise MessageTooLarge(len(packed.metadata), MAX_METADATA_BYTES)
    if len(reply) > MAX_REPLY_BYTES:
        raise MessageTooLarge(len(reply), MAX_REPLY_BYTES)
    head = HEADER.pack(
        MESSAGE_START, packed.form, flags, len(packed.metadata), length,
        len(reply), seq, parcel.run, parcel.number,
        parcel.made, queued, sent, parcel.expires,
    )  # fmt: skip
    return [b"".join((head, reply, packed.metadata, zeros)), *rest]


def _body(form: int, buffers: list[Buffer], before: int) -> tuple[list[Buffer], bytes]:
    """The body's parts, and the zeros in front of it."""
    if form in (BYTES, TEXT):
        return [b for b in buffers if len(b)], b""
    body: list[Buffer] = []
    for buffer in buffers:
        if len(buffer):
            body += (buffer, _ZEROS[: -len(buffer) % ALIGN])
    if not body:
        return body, b""
    body.pop()  # nothing comes after the last one
    return [part for part in body if len(part)], _ZEROS[: -(HEADER.size + before) % ALIGN]


def stamped(first: Buffer, sent: float) -> bytes:
    """The first buffer of an encoded message with another `sent`: it had to wait."""
    return b"".join((first[:_SENT_AT], _TIME.pack(sent), first[_SENT_AT + _TIME.size :]))


def identity(first: Buffer) -> tuple[int, int, str | None, float, float]:
    """Run, number, reply_to, made and queued of an encoded message, from its first buffer."""
    fields = HEADER.unpack_from(first)
    reply, run, number, made, queued = fields[5], *fields[7:11]
    text = bytes(first[HEADER.size : HEADER.size + reply]).decode()
    return run, number, text or None, made, queued


def size_of(parcel: Parcel) -> int:
    """Bytes that the parcel takes as a message."""
    packed = parcel.packed
    reply = len(parcel.reply_to.encode()) if parcel.reply_to else 0
    body, zeros = _body(packed.form, packed.buffers, reply + len(packed.metadata))
    return HEADER.size + reply + len(packed.metadata) + len(zeros) + sum(map(len, body))


class Head:
    """A message's header, checked: lengths within their bounds, times that are times.

    Args:
        memory: At least `HEADER.size` bytes from `at` on.
        at: Where it starts.
        limit_bytes: Bound of the whole message.

    Raises:
        RemoteWireError: It makes no sense.
        MessageTooLarge: It announces more than is allowed.

    Attributes:
        before: Bytes before the body: header, reply, metadata and zeros.
        body: Bytes of the body.
    """

    __slots__ = (
        "before", "body", "expires", "flags", "form", "made", "metadata", "number", "queued",
        "reply", "run", "sent", "seq",
    )  # fmt: skip

    def __init__(self, memory: Any, at: int = 0, limit_bytes: int = MAX_MESSAGE_BYTES) -> None:
        (
            _, self.form, self.flags, self.metadata, self.body, self.reply, self.seq,
             self.run, self.number, self.made, self.queued, self.sent, self.expires,
        ) = HEADER.unpack_from(memory, at)  # fmt: skip
        before = HEADER.size + self.reply + self.metadata
        if self.body and self.form not in (BYTES, TEXT):
            before += -before % ALIGN
        self.before = before
        if self.metadata > MAX_METADATA_BYTES:
            raise MessageTooLarge(self.metadata, MAX_METADATA_BYTES)
        if before + self.body > limit_bytes:
            raise MessageTooLarge(before + self.body, limit_bytes)
        if self.flags & ~FLAGS or self.reply > MAX_REPLY_BYTES or not self.seq:
            raise RemoteWireError("malformed header of a message")
        # False for nan as well.
        if not (
            -MAX_TIME < self.made < MAX_TIME
            and -MAX_TIME < self.queued < MAX_TIME
            and -MAX_TIME < self.sent < MAX_TIME
            and 0 <= self.expires < MAX_TIME
        ):
            raise RemoteWireError("a message's times are no times")

    def message(self, value: Any, reply_to: str | None) -> Message:
        """The message that it is the header of."""
        return Message(
            value, self.seq, self.run, self.number, reply_to, self.made, self.queued, self.sent,
            self.expires, self.before + self.body, self.flags & URGENT != 0,
        )  # fmt: skip

    def reply_to(self, memory: memoryview, at: int = 0) -> str | None:
        """Id of the message that it answers, from the bytes behind the header."""
        if not self.reply:
            return None
        return text(bytes(memory[at + HEADER.size : at + HEADER.size + self.reply]))

    def metadata_in(self, memory: memoryview, at: int = 0) -> memoryview:
        """Its metadata, where they lie."""
        start = at + HEADER.size + self.reply
        return memory[start : start + self.metadata]


def check_preamble(memory: Any, at: int, *, messages: bool) -> tuple[int, int, int]:
    """Check the first 20 bytes of what a peer says; its version, kind and length of metadata.

    Args:
        memory: At least 20 bytes from `at` on.
        at: Where they start.
        messages: Whether a MESSAGE may come.

    Raises:
        RemoteWireError: It isn't OTTER's, of another version, or nothing that may come now.
        MessageTooLarge: A control message announces more than is allowed.
    """
    magic, version, kind, form, flags, metadata, body = PREAMBLE.unpack_from(memory, at)
    if magic != MAGIC:
        raise RemoteWireError("what came is no OTTER message")
    # Any version may say hello and be told no: these two keep their layout for ever.
    if version != OTTER_WIRE_VERSION and kind not in (HELLO, REFUSE):
        raise RemoteWireError(f"wire version {version}, not {OTTER_WIRE_VERSION}")
    if not HELLO <= kind <= ACK:
        raise RemoteWireError(f"unknown kind {kind}")
    if kind == MESSAGE:
        if not messages:
            raise RemoteWireError("a message where none may be yet")
    elif body or form or flags:
        raise RemoteWireError("a control message with a body, a form or flags")
    elif metadata > MAX_CONTROL_BYTES:
        raise MessageTooLarge(metadata, MAX_CONTROL_BYTES)
    return version, kind, metadata


def decode(memory: Block, limit_bytes: int = MAX_MESSAGE_BYTES) -> Message:
    """One whole message that lies in memory; arrays in its value are views of it.

    Args:
        memory: Flat, from a multiple of 64 on, exactly the message. What may still be changed by
            somebody else while this runs can only spoil values: lengths are read once.
        limit_bytes: Bound of the whole.

    Raises:
        RemoteWireError: It isn't one.
        MessageTooLarge: It is over the limit.
    """
    if memory.nbytes < HEADER.size:
        raise RemoteWireError("a message shorter than its header")
    start = bytes(memory[: HEADER.size])
    _, kind, _ = check_preamble(start, 0, messages=True)
    if kind != MESSAGE:
        raise RemoteWireError("no message")
    head = Head(start, 0, limit_bytes)
    if head.before + head.body != memory.nbytes:
        raise RemoteWireError(f"{memory.nbytes} bytes came of {head.before + head.body}")
    said = memoryview(memory[: head.before].tobytes())
    found = layout(head.form, head.metadata_in(said), head.body)
    parts: list[Block] = []
    at, last = head.before, 0
    for size in found.sizes:
        if size:
            at += -last % ALIGN
            last = size
        parts.append(memory[at : at + size])
        at += size
    return head.message(found.value(parts), head.reply_to(said))
