"""Fragments in any order, twice, damaged or made up: whole messages or none, within bounds."""

from __future__ import annotations

import itertools
import random
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from net.datagram.counters import ReceivedCounters
from net.datagram.fragment import HEADER, HEADER_BYTES, RETRANSMITTED, read_shape, shape_of
from net.datagram.options import MAX_IN_FLIGHT
from net.datagram.outgoing import Outgoing
from net.datagram.reassembly import Finished, Reassembler
from net.errors import MessageTooLarge, RemoteWireError, TransportError

SIZE = 256


def fragments(data: bytes, number: int = 1, fec: float = 0.0, cuts: int = 1) -> list[bytes]:
    """All datagrams of a message, from `cuts` buffers."""
    shape = shape_of(len(data), SIZE, fec)
    edges = [len(data) * i // cuts for i in range(cuts + 1)]
    buffers = [memoryview(data)[a:b] for a, b in itertools.pairwise(edges)]
    message = Outgoing(7, number, shape, buffers, 0.0)
    found, packet = [], 1
    while not message.sent:
        rows, count = message.take(5, packet, 0, 0)
        packet += count
        step = message.stride
        found += [bytes(rows[at : at + step]) for at in range(0, len(rows), step)]
    return found


def receiver(**changed) -> Reassembler:
    options = {"deadline_s": 1.0, "partial": False, "limit_bytes": 2**20, **changed}
    return Reassembler(counters=ReceivedCounters(), **options)


def add(into: Reassembler, datagram: bytes, now: float = 0.0, flags: int = 0) -> list[Finished]:
    head = HEADER.unpack_from(datagram)
    payload = np.frombuffer(datagram, np.uint8)[HEADER_BYTES:]
    return into.add(head[5], head[7:11], head[11] | flags, head[13], payload, now)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.binary(min_size=1, max_size=5000),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    st.integers(0, 2**32),
)
def test_any_order_with_repetitions_gives_the_message(data, cuts, fec, seed):
    datagrams = fragments(data, fec=fec, cuts=cuts)
    chance = random.Random(seed)
    shuffled = datagrams + chance.choices(datagrams, k=3)
    chance.shuffle(shuffled)
    into = receiver()
    finished = [each for datagram in shuffled for each in add(into, datagram)]
    assert [(f.number, f.memory.tobytes(), f.missing) for f in finished] == [(1, data, [])]
    assert finished[0].memory.__array_interface__["data"][0] % 64 == 0
    assert into.floor == 1


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(1, 20_000), st.floats(0.1, 1.0), st.integers(0, 2**32))
def test_as_many_losses_as_parity_are_mended(length, fec, seed):
    data = np.random.default_rng(seed).integers(0, 256, length, np.uint8).tobytes()
    shape = shape_of(length, SIZE, fec)
    datagrams = fragments(data, fec=fec)
    chance = random.Random(seed)
    lost = set()
    for block in range(shape.blocks):
        members = [i for i in range(shape.count) if i % shape.blocks == block]
        lost |= set(chance.sample(members, min(shape.parity, len(members))))
    into = receiver()
    finished = [f for i, d in enumerate(datagrams) if i not in lost for f in add(into, d)]
    assert [f.memory.tobytes() for f in finished] == [data]
    assert into._counters.recovered == len(lost)


def test_messages_dont_wait_for_each_other():
    into = receiver()
    first, second = fragments(b"a" * 600, 1), fragments(b"b" * 600, 2)
    for datagram in first[1:]:
        assert not add(into, datagram)
    assert [f.number for d in second for f in add(into, d)] == [2]
    assert (into.floor, into.done_bits()) == (0, b"\x40")
    assert [(m.message, m.base, m.bits) for m in into.wanted(1.0, 0.1)] == [(1, 0, b"\x80")]
    assert into.wanted(1.05, 0.1) == []  # asked a moment ago
    assert [f.number for f in add(into, first[0], flags=RETRANSMITTED)] == [1]
    assert (into.floor, into.done_bits()) == (2, b"")


def test_nothing_is_asked_for_that_parity_can_mend():
    datagrams = fragments(b"x" * SIZE * 8, fec=0.25)
    into = receiver()
    for datagram in datagrams[2:8]:
        add(into, datagram)
    assert not into.gap
    assert into.wanted(1.0, 0.1) == []
    add(into, datagrams[9])  # the last of parity: now two are missing, and one can be mended
    assert into.gap
    assert [(m.base, m.bits) for m in into.wanted(1.0, 0.1)] == [(0, b"\x80")]
    assert [f.number for f in add(into, datagrams[1], flags=RETRANSMITTED)] == [1]


def test_what_is_not_whole_at_its_deadline_is_given_up():
    into = receiver()
    datagrams = fragments(b"a" * 600)
    add(into, datagrams[0], now=5.0)
    assert into.next_expiry == 6.0
    assert into.expire(5.9) == []
    assert into.expire(6.0) == []
    assert (into._counters.lost, into.floor, into.next_expiry) == (1, 1, None)
    add(into, datagrams[1], now=6.1)
    assert into._counters.late == 1


def test_partly_delivered_with_zeros_and_ranges():
    into = receiver(partial=True)
    datagrams = fragments(b"a" * 1000)
    for i in (0, 2):
        add(into, datagrams[i])
    (finished,) = into.expire(1.0)
    assert finished.missing == [(256, 512), (768, 1000)]
    assert finished.memory.tobytes() == b"a" * 256 + bytes(256) + b"a" * 256 + bytes(232)


def test_messages_of_which_nothing_came_are_asked_for_and_given_up():
    into = receiver()
    add(into, fragments(b"d", 4)[0], now=1.0)
    assert [m.message for m in into.wanted(1.0, 0.1)] == [1, 2, 3]
    into.expire(2.0)
    assert (into.floor, into._counters.lost) == (4, 3)


def test_a_probe_tells_of_a_lost_tail():
    into = receiver()
    datagrams = fragments(b"a" * 1000)
    add(into, datagrams[0])
    assert not into.gap
    into.reach(2, 0.0)
    assert [(m.message, m.bits) for m in into.wanted(0.0, 0.1)] == [(1, b"\xe0"), (2, b"")]


def test_bounded_however_far_the_numbers_leap():
    into = receiver()
    for number in (1, 3, 10**6, 2 * 10**6, 2 * 10**6 + 1):
        add(into, fragments(b"a" * 600, number)[0])
        assert len(into._gaps) + len(into._begun) + len(into._done) <= MAX_IN_FLIGHT + 1
        assert into.highest - into.floor <= MAX_IN_FLIGHT
    with pytest.raises(RemoteWireError, match="far beyond"):
        add(into, fragments(b"a" * 600, 2**60)[0])
    with pytest.raises(RemoteWireError, match="far beyond"):
        into.reach(2**61, 0.0)


def test_bounded_however_much_is_begun():
    into = receiver(limit_bytes=10_000)
    for number in range(1, 50):
        add(into, fragments(b"a" * 9000, number)[0])
        assert into._begun_bytes <= 20_000
    assert into._counters.lost >= 46


def test_a_terabyte_is_refused_before_anything_is_allocated():
    into = receiver()
    payload = np.zeros(256, np.uint8)
    with pytest.raises(MessageTooLarge, match="4294967295 bytes"):
        into.add(1, (2**32 - 1, 256, 1, 0), 0, 0, payload, 0.0)
    assert not into._begun


@pytest.mark.parametrize(
    "fields",
    [
        (0, 256, 1, 0), (1, 0, 1, 0), (1, 255, 1, 0), (1, 257, 1, 0), (1, 65535, 1, 0),
        (1000, 256, 0, 0), (1000, 256, 5, 0), (1000, 256, 4, 0), (1000, 256, 1, 5),
        (256 * 250, 256, 1, 100),
    ],
)  # fmt: skip
def test_impossible_shapes_are_refused(fields):
    with pytest.raises(RemoteWireError):
        read_shape(*fields)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.sampled_from([(600, 256, 1, 0), (2000, 256, 1, 2), (2000, 256, 2, 1), (9, 9, 9, 9)]),
            st.integers(0, 1),
            st.integers(0, 12),
            st.integers(0, 300),
            st.floats(0, 0.3),
        ),
        max_size=60,
    ),
    st.booleans(),
)
def test_whatever_comes_nothing_breaks_and_no_message_comes_twice(events, partial):
    into = receiver(partial=partial, limit_bytes=5000)
    now, seen = 0.0, []
    for number, fields, flags, index, length, pause in events:
        now += pause
        payload = np.zeros(length, np.uint8)
        with suppress(TransportError):
            seen += [f.number for f in into.add(number, fields, flags, index, payload, now)]
        seen += [f.number for f in into.expire(now)]
        into.wanted(now, 0.1)
        assert into._begun_bytes <= 10_000 or len(into._begun) == 1
        assert into.floor <= into.highest
    assert len(seen) == len(set(seen))
