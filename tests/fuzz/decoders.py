"""Every decoder that reads what a peer wrote, and what good input for it looks like.

Each raises nothing but `RemoteWireError` and `MessageTooLarge`, whatever comes, and takes no more
memory than its limit.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
from helpers.datagrams import GREETING, Path, content, datagrams

from net import wire
from net.datagram import control
from net.datagram.options import Options
from net.datagram.receiving import Receiving
from net.errors import MessageTooLarge, RemoteWireError
from net.memory import aligned
from net.messages import Parcel
from net.shared import records
from net.tcp.reader import Reader
from net.values import pack

LIMIT_BYTES = 2**20
Decoder = Callable[[bytes, random.Random], None]

_VALUES = (
    None, b"", b"x" * 64, "text", "é" * 300, [1, {"a": None, "b": [1.5, True]}], np.arange(9.0),
    np.zeros((3, 0, 2), ">i4"), np.asfortranarray(np.ones((4, 5), np.float16)),
    np.zeros(3, [("x", "<f4"), ("t", "<M8[ns]"), ("in", [("b", "?", (2,))])]),
    {"image": np.ones((8, 8, 3), np.uint8), "names": ["a", "b" * 20_000], "n": np.int8(3)},
    {"raw": b"1", "large": np.ones(20_000), "none": None},
    np.array(["é", "long"]), np.array([True, False]), np.arange(20_000),
)  # fmt: skip


def messages() -> list[bytes]:
    """Whole messages, of all forms."""
    return [
        b"".join(wire.encode(
            Parcel(pack(value), 7, n, "b:1" if n % 2 else None, 1.0, 3.0 * (n % 3)),
            seq=n, queued=1.0, sent=2.0,
        ))
        for n, value in enumerate(_VALUES, 1)
    ]  # fmt: skip


def controls() -> list[bytes]:
    """All that the two ends of a stream say besides."""
    return [
        wire.hello("a.x>b.y", "y", "a", run=5, delivery="exactly-once"), wire.accept(1000, 5),
        wire.refuse("no"), wire.ack(9), wire.LAST_WORD,
    ]  # fmt: skip


def stream(data: bytes, chance: random.Random) -> None:
    """A TCP connection, in pieces of any size."""
    reader = Reader(LIMIT_BYTES, messages=chance.random() < 0.9)
    at = 0
    with suppress(RemoteWireError, MessageTooLarge):
        while at < len(data):
            end = at + chance.choice((1, 20, 84, 1000, 100_000))
            for event in reader.feed(data[at:end]):
                assert isinstance(event, wire.Event)
            at = end


def whole(data: bytes, chance: random.Random) -> None:
    """A message in memory, as datagrams and shared memory bring it."""
    block = aligned(len(data))
    block[:] = np.frombuffer(data, np.uint8)
    with suppress(RemoteWireError, MessageTooLarge):
        wire.decode(block, LIMIT_BYTES)


def shared_records() -> list[bytes]:
    """Records of a shared-memory stream."""
    return [
        records.head(kind, 1, 4096, 64) for kind in range(1, 8)
    ] + [records.control(words, LIMIT_BYTES) for words in controls()] + [
        records.ack(5, 6, [(0, 64), (1, 128)])
    ]  # fmt: skip


def shared(data: bytes, chance: random.Random) -> None:
    """A record."""
    with suppress(RemoteWireError, MessageTooLarge):
        found = records.read_head(data, len(data))
        payload = data[records.HEAD_BYTES :]
        if found[0] == records.CONTROL:
            records.read_control(payload)
        elif found[0] == records.ACK:
            records.read_released(found, payload)


def session() -> list[bytes]:
    """Datagrams of a real session: fragments, parity, and what is said besides."""
    path = Path(Options(fec_ratio=0.25))
    path.open()
    path.sender.submit([content(9000)], path.now)
    said = [d for burst in path.sender.poll(path.now + 1) for d in datagrams(burst)]
    report = control.Report(*[1] * (len(control.Report.__dataclass_fields__) - 2))
    return [*said, control.probe(7, 3, 1), control.end(7, 1),
            control.challenge(7, bytes(8), 1400), control.report(7, report),
            control.accept(7, control.Accepted(LIMIT_BYTES, LIMIT_BYTES, 1400)),
            control.refuse(7, "no"), control.hello(7, GREETING, 600)]  # fmt: skip


def datagram(data: bytes, chance: random.Random) -> None:
    """Datagrams at both ends of a session."""
    receiver = Receiving(7, GREETING, LIMIT_BYTES, LIMIT_BYTES, 0.0)
    segment = chance.choice((len(data) or 1, 30, 1400))
    receiver.receive(np.frombuffer(data, np.uint8), segment, 0.1)
    receiver.expire(9.0)
    for read in (control.read_hello, control.read_accept, control.read_refuse,
                 control.read_report, control.read_probe, control.read_end,
                 control.read_challenge):  # fmt: skip
        with suppress(RemoteWireError, MessageTooLarge):
            read(data)


def targets() -> Iterator[tuple[str, Decoder, list[bytes]]]:
    """Name, decoder, good input."""
    yield "stream", stream, messages() + controls()
    yield "whole message", whole, messages()
    yield "shared-memory record", shared, shared_records()
    yield "datagram", datagram, session()
