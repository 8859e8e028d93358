"""Datagrams that carry no fragment <-> bytes. Pure; docs/datagrams.md has the tables.

    sender                              receiver
    HELLO (padded to the path's size) ─►
                                      ◄─ CHALLENGE: a token, or REFUSE
    HELLO, with the token             ─►
                                      ◄─ ACCEPT
    FRAGMENT …, PROBE when quiet      ─►
                                      ◄─ REPORT: what came, what is done, what is missing
    END                               ─►
                                      ◄─ ENDED; to what belongs to no session: GONE

Must not know: asyncio, sockets, the clock.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

from net.datagram.fragment import (
    ACCEPT,
    CHALLENGE,
    END,
    ENDED,
    GONE,
    HELLO,
    MAGIC,
    MAX_DATAGRAM,
    PREFIX,
    PROBE,
    REFUSE,
    REPORT,
    VERSION,
)
from net.datagram.options import MAX_DEADLINE_S
from net.datagram.tokens import TOKEN_BYTES
from net.errors import RemoteWireError

MAX_NAME = 300
MAX_JSON = 1100
"""Bytes: fits any path."""
REPORT_BYTES = 1200
"""Bound of a report."""
_MAX_COUNT = 2**62

_LENGTH = struct.Struct("!H")
_REPORT = struct.Struct("!IQQQIIIQIHH")
_ENTRY = struct.Struct("!QIH")
_PROBE = struct.Struct("!QQ")
_END = struct.Struct("!Q")
_CHALLENGE = struct.Struct(f"!{TOKEN_BYTES}sH")


@dataclass(frozen=True, slots=True)
class Greeting:
    """The first thing a sender says.

    Attributes:
        wire: Its version of what messages look like.
        token: What the receiver's challenge said; empty: there was none yet.
    """

    wire: int
    stream: str
    input: str
    sender: str
    deadline_s: float
    partial: bool
    retransmit: bool
    token: bytes = b""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The receiver wants the stream.

    Attributes:
        limit_bytes: Largest message.
        window_bytes: What may be under way to it at a time.
        datagram_bytes: Size of the HELLO that it got: that much passes the path.
    """

    limit_bytes: int
    window_bytes: int
    datagram_bytes: int


@dataclass(frozen=True, slots=True)
class Missing:
    """Fragments of a message that the receiver lacks; no bits: all of it.

    Attributes:
        message: Its number.
        base: Index that the first bit stands for.
        bits: One per fragment, the highest bit of the first byte first; set: missing.
    """

    message: int
    base: int = 0
    bits: bytes = b""


@dataclass(frozen=True, slots=True)
class Report:
    """What the receiver has.

    Attributes:
        number: Of the report.
        largest: Highest packet number that has arrived.
        datagrams: How many have arrived.
        received_bytes: Of these, headers included.
        held_us: Microseconds since the one with the highest number arrived.
        arrived_us: When that one arrived, in microseconds of the receiver's clock, modulo 2^32.
        window_bytes: What may be under way; 0: no new message now.
        floor: All messages up to this number are done with.
        given_up: How many of them were not delivered whole.
        done: Bit i: message floor + 1 + i is done with too.
        missing: What shall be sent again.
    """

    number: int
    largest: int
    datagrams: int
    received_bytes: int
    held_us: int
    arrived_us: int
    window_bytes: int
    floor: int
    given_up: int
    done: bytes = b""
    missing: list[Missing] = field(default_factory=list)


def read_prefix(data: bytes | memoryview) -> tuple[int, int]:
    """Kind and session of any datagram.

    Raises:
        RemoteWireError: It isn't one of ours, or of another version.
    """
    if len(data) < PREFIX.size:
        raise RemoteWireError(f"a datagram of {len(data)} bytes")
    magic, version, kind, session = PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise RemoteWireError("a datagram that isn't OTTER's")
    if version != VERSION:
        raise RemoteWireError(f"datagram version {version}, here is {VERSION}")
    return kind, session


def plain(kind: int, session: int) -> bytes:
    """A datagram without content."""
    return PREFIX.pack(MAGIC, VERSION, kind, session)


def hello(session: int, greeting: Greeting, datagram_bytes: int) -> bytes:
    """The sender's first words, padded with zeros so that they show what passes the path."""
    fields: dict[str, Any] = {
        "wire": greeting.wire,
        "stream": greeting.stream,
        "input": greeting.input,
        "from": greeting.sender,
        "deadline": greeting.deadline_s,
        "partial": greeting.partial,
        "retransmit": greeting.retransmit,
    }
    if greeting.token:
        fields["token"] = greeting.token.hex()
    return _with_json(HELLO, session, fields).ljust(datagram_bytes, b"\0")


def read_hello(data: bytes | memoryview) -> Greeting:
    """As written by `hello`.

    Raises:
        RemoteWireError: It makes no sense.
    """
    fields = _json(data)
    wire, deadline_s = fields.get("wire"), fields.get("deadline")
    if type(wire) is not int or type(deadline_s) not in (int, float):
        raise RemoteWireError("a hello without version or deadline")
    if not 0 < deadline_s <= MAX_DEADLINE_S:  # type: ignore[operator]
        raise RemoteWireError(f"a deadline of {deadline_s!r:.20} s")
    return Greeting(
        wire,
        _text(fields, "stream"),
        _text(fields, "input"),
        _text(fields, "from"),
        float(deadline_s),  # type: ignore[arg-type]
        fields.get("partial") is True,
        fields.get("retransmit") is True,
        _token(fields),
    )


def _token(fields: dict[str, Any]) -> bytes:
    text = fields.get("token", "")
    try:
        token = bytes.fromhex(text)
    except (TypeError, ValueError) as exc:
        raise RemoteWireError("a hello whose token is none") from exc
    if len(token) not in (0, TOKEN_BYTES):
        raise RemoteWireError(f"a hello with a token of {len(token)} bytes")
    return token


def challenge(session: int, token: bytes, datagram_bytes: int) -> bytes:
    """Say hello again, with this: so that the receiver knows that it is heard there."""
    return plain(CHALLENGE, session) + _CHALLENGE.pack(token, datagram_bytes)


def read_challenge(data: bytes | memoryview) -> tuple[bytes, int]:
    """The token, and the size of the HELLO that it answers: that much passes the path.

    Raises:
        RemoteWireError: It is cut short.
    """
    if len(data) != PREFIX.size + _CHALLENGE.size:
        raise RemoteWireError(f"a challenge of {len(data)} bytes")
    token, datagram_bytes = _CHALLENGE.unpack_from(data, PREFIX.size)
    return token, datagram_bytes


def accept(session: int, accepted: Accepted) -> bytes:
    """The receiver's yes."""
    fields = {
        "limit": accepted.limit_bytes,
        "window": accepted.window_bytes,
        "size": accepted.datagram_bytes,
    }
    return _with_json(ACCEPT, session, fields)


def read_accept(data: bytes | memoryview) -> Accepted:
    """As written by `accept`.

    Raises:
        RemoteWireError: It makes no sense.
    """
    fields = _json(data)
    accepted = Accepted(*(_count(fields, key) for key in ("limit", "window", "size")))
    if accepted.datagram_bytes > MAX_DATAGRAM:
        raise RemoteWireError("an accept of an impossible datagram")
    return accepted


def refuse(session: int, reason: str) -> bytes:
    """The receiver's no, for people."""
    return _with_json(REFUSE, session, {"reason": reason[:MAX_NAME]})


def read_refuse(data: bytes | memoryview) -> str:
    """The reason.

    Raises:
        RemoteWireError: It makes no sense.
    """
    return _text(_json(data), "reason")


def report(session: int, said: Report) -> bytes:
    """What the receiver has."""
    head = _REPORT.pack(
        said.number & 0xFFFFFFFF, said.largest, said.datagrams, said.received_bytes, said.held_us,
        said.arrived_us & 0xFFFFFFFF, said.window_bytes, said.floor, said.given_up & 0xFFFFFFFF,
        len(said.done), len(said.missing),
    )  # fmt: skip
    entries = [
        _ENTRY.pack(each.message, each.base, len(each.bits)) + each.bits for each in said.missing
    ]
    return b"".join([plain(REPORT, session), head, said.done, *entries])


def read_report(data: bytes | memoryview) -> Report:
    """As written by `report`.

    Raises:
        RemoteWireError: It makes no sense.
    """
    try:
        fields = _REPORT.unpack_from(data, PREFIX.size)
        done_bytes, entries = fields[9:]
        place = PREFIX.size + _REPORT.size
        done = bytes(data[place : place + done_bytes])
        place += done_bytes
        missing = []
        for _ in range(entries):
            message, base, size = _ENTRY.unpack_from(data, place)
            place += _ENTRY.size
            missing.append(Missing(message, base, bytes(data[place : place + size])))
            place += size
    except struct.error as exc:
        raise RemoteWireError("a report cut short") from exc
    if place != len(data):
        raise RemoteWireError("a report of another length than it says")
    return Report(*fields[:9], done, missing)  # type: ignore[call-arg]


def missing_bytes(missing: Missing) -> int:
    """What an entry adds to a report."""
    return _ENTRY.size + len(missing.bits)


def probe(session: int, packet: int, last: int) -> bytes:
    """All messages up to `last` have been sent; `packet` is the probe's own number."""
    return plain(PROBE, session) + _PROBE.pack(packet, last)


def read_probe(data: bytes | memoryview) -> tuple[int, int]:
    """Packet number and last message.

    Raises:
        RemoteWireError: It is cut short.
    """
    if len(data) != PREFIX.size + _PROBE.size:
        raise RemoteWireError(f"a probe of {len(data)} bytes")
    packet, last = _PROBE.unpack_from(data, PREFIX.size)
    return packet, last


def end(session: int, last: int) -> bytes:
    """Nothing comes after message `last`."""
    return plain(END, session) + _END.pack(last)


def read_end(data: bytes | memoryview) -> int:
    """The last message.

    Raises:
        RemoteWireError: It is cut short.
    """
    if len(data) != PREFIX.size + _END.size:
        raise RemoteWireError(f"an end of {len(data)} bytes")
    return int(_END.unpack_from(data, PREFIX.size)[0])


def ended(session: int) -> bytes:
    """All that was sent is done with."""
    return plain(ENDED, session)


def gone(session: int) -> bytes:
    """The receiver doesn't know this session: it has been started anew."""
    return plain(GONE, session)


def _with_json(kind: int, session: int, fields: dict[str, Any]) -> bytes:
    text = json.dumps(fields, separators=(",", ":")).encode()
    return plain(kind, session) + _LENGTH.pack(len(text)) + text


def _json(data: bytes | memoryview) -> dict[str, Any]:
    start = PREFIX.size + _LENGTH.size
    if len(data) < start:
        raise RemoteWireError("a datagram cut short")
    (length,) = _LENGTH.unpack_from(data, PREFIX.size)
    if length > len(data) - start:
        raise RemoteWireError("a datagram cut short")
    try:
        fields = json.loads(bytes(data[start : start + length]))
    except (ValueError, RecursionError) as exc:
        raise RemoteWireError("a datagram whose JSON is none") from exc
    if not isinstance(fields, dict):
        raise RemoteWireError("a datagram whose JSON is no object")
    return fields


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise RemoteWireError(f"a datagram without a proper {key!r}")
    return value


def _count(fields: dict[str, Any], key: str) -> int:
    value = fields.get(key)
    if type(value) is not int or not 0 < value < _MAX_COUNT:
        raise RemoteWireError(f"a datagram without a proper {key!r}")
    return value
