"""Records: round trips, and what no honest peer would say."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net import wire
from net.errors import MessageTooLarge, RemoteWireError
from net.shared import records
from net.shared.incoming import Incoming, decode_small

u64 = st.integers(0, 2**64 - 1)


@pytest.mark.slow
@given(
    st.sampled_from([records.REGION, records.FORGET, records.SLOT, records.PIECE]), u64, u64, u64
)
def test_heads_come_back(kind, a, b, c):
    data = records.head(kind, a, b, c)
    assert records.read_head(data, len(data)) == (kind, a, b, c)


@pytest.mark.slow
@given(u64, u64, st.lists(st.tuples(u64, u64), max_size=records.MAX_RELEASED))
def test_acks_come_back(done, taken, released):
    data = records.ack(done, taken, released)
    head = records.read_head(data, len(data))
    assert head[:3] == (records.ACK, done, taken)
    assert records.read_released(head, data[records.HEAD_BYTES :]) == tuple(released)


def test_words_of_the_wire_come_back():
    words = wire.hello("a.x>b.y", "y", "a", run=7, delivery="exactly-once")
    data = records.control(words, 5)
    assert records.read_head(data, len(data))[:2] == (records.CONTROL, 5)
    event = records.read_control(data[records.HEAD_BYTES :])
    assert event == wire.Hello(2, "a.x>b.y", "y", "a", 7, "exactly-once")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_an_error(data):
    with suppress(RemoteWireError):
        records.read_head(data, len(data))
    with suppress(RemoteWireError, MessageTooLarge):
        records.read_control(data)
    with suppress(RemoteWireError):
        records.read_released((records.ACK, 0, 0, len(data) // 16), data)
    with suppress(RemoteWireError, MessageTooLarge):
        decode_small(data, 1000)


@pytest.mark.parametrize(
    "bad",
    [
        b"", records.head(records.SLOT)[:-1], b"OTSX" + records.head(records.SLOT)[4:],
        records.head(0), records.head(8), records.head(records.SLOT) + b"x",
        b"OTSM\x02" + records.head(records.SLOT)[5:],
        records.head(records.PIECE) + bytes(records.MAX_PAYLOAD + 1),
    ],
)  # fmt: skip
def test_a_bad_head_is_an_error(bad):
    with pytest.raises(RemoteWireError):
        records.read_head(bad, len(bad))


def test_another_version_may_say_hello_and_no():
    data = bytearray(records.control(wire.refuse("no")))
    data[4] = 9
    records.read_head(bytes(data), len(data))


@given(st.binary(min_size=1, max_size=3 * wire.HEADER.size), st.integers(0, 2**64 - 1))
def test_pieces_of_nonsense_allocate_nothing_and_are_an_error(payload, whole):
    incoming = Incoming(10_000, 0, copies=False, released=lambda: None)
    with suppress(RemoteWireError, MessageTooLarge):
        incoming.piece(whole, memoryview(payload))
