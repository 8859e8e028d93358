"""Parameters of qdiscs to bytes and back; the bytes that matter laid out by hand."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otter_agent.links.netem import filters, tc
from otter_agent.links.netem.filters import ALL, DETOUR, IN, MARKED, OUT, Filter, Where
from otter_agent.links.netem.options import (
    LEAVES,
    WHOLE,
    ByteQueue,
    Codel,
    Netem,
    PacketQueue,
    Red,
    Share,
)

u32 = st.integers(0, WHOLE)
s63 = st.integers(0, 2**63 - 1)
netems = st.builds(
    Netem,
    limit=u32,
    latency_ns=s63,
    jitter_ns=s63,
    table=st.binary(max_size=200).map(lambda data: data + data),
    loss=u32,
    gilbert=st.none() | st.tuples(u32, u32, u32, u32),
    duplicate=u32,
    corrupt=u32,
    reorder=u32,
    rate=st.integers(0, 2**64 - 1),
    tag=st.integers(0, 2**29 - 1),
    slot=st.tuples(s63, s63, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)),
)


def fields(data: bytes, start: int) -> dict[int, bytes]:
    found = {}
    while start < len(data):
        length, key = struct.unpack_from("=HH", data, start)
        found[key & 0x3FFF] = data[start + 4 : start + length]
        start += length + 3 & ~3
    assert start == len(data)
    return found


@pytest.mark.slow
@given(netems)
def test_netem_is_what_it_was(netem: Netem) -> None:
    assert Netem.decode(netem.encode()) == netem


@pytest.mark.slow
@given(st.tuples(u32, u32, u32, u32, u32))
def test_four_states_are_what_they_were(markov: tuple[int, ...]) -> None:
    assert Netem.decode(Netem(markov=markov).encode()).markov == markov


def test_netem_by_hand() -> None:
    data = Netem(
        limit=1000, latency_ns=20_000_000, jitter_ns=1_000_000, loss=WHOLE, table=b"\1\0\2\0"
    ).encode()
    # In the old fields' ticks of 64 ns, and again in ns.
    assert data[:24] == struct.pack("=6I", 312_500, 1000, WHOLE, 0, 0, 15_625)
    found = fields(data, 24)
    assert found[10] == struct.pack("=q", 20_000_000)
    assert found[11] == struct.pack("=q", 1_000_000)
    assert found[2] == b"\1\0\2\0"
    assert 5 not in found  # TCA_NETEM_LOSS: only for models with states


def test_whatever_is_left_out_would_stay_as_it_was_so_all_is_sent() -> None:
    assert {1, 3, 4, 6, 10, 11, 12} <= set(fields(Netem().encode(), 24))


@pytest.mark.parametrize(("rate", "low", "high"), [(125_000, 125_000, None), (2**40, WHOLE, 2**40)])
def test_rates_of_64_bits_have_a_field_of_their_own(rate: int, low: int, high: int | None) -> None:
    found = fields(Netem(rate=rate, tag=7).encode(), 24)
    assert struct.unpack("=IiIi", found[6]) == (low, 7, 0, 0)
    assert found.get(8) == (None if high is None else struct.pack("=Q", high))


@pytest.mark.slow
@given(st.integers(1, 2**64 - 1), st.integers(1, 2**32 - 1).map(lambda n: n * 64))
def test_a_share_is_what_it_was(rate: int, burst_ns: int) -> None:
    share = Share(rate=rate, burst_ns=burst_ns)
    assert Share.decode(share.encode()) == share


@given(u32)
def test_fifos_are_what_they_were(limit: int) -> None:
    for kind in (ByteQueue, PacketQueue):
        assert kind.decode(kind(limit=limit).encode()) == kind(limit=limit)


@given(u32, st.booleans())
def test_codel_is_what_it_was(limit: int, ecn: bool) -> None:
    assert Codel.decode(Codel(limit=limit, ecn=ecn).encode()) == Codel(limit=limit, ecn=ecn)


@pytest.mark.parametrize("us", [5_000, 15_000, 100_000])
def test_codels_times_are_those_from_before_the_kernel_rounded_them(us: int) -> None:
    shown = ((us * 1000 >> 10) * 1024) // 1000
    data = bytearray(Codel(limit=1, target_us=us).encode())
    assert data[4:8] == struct.pack("=I", us)
    data[4:8] = struct.pack("=I", shown)
    assert Codel.decode(bytes(data)).target_us == us


@pytest.mark.slow
@given(
    st.builds(
        Red,
        limit=u32,
        least=st.integers(1, 2**20),
        most=st.integers(2**20, 2**24),
        weight_log2=st.integers(1, 31),
        chance=st.integers(1, WHOLE),
        idle_ns=st.integers(1, 10**10),
        ecn=st.booleans(),
    )
)
def test_red_is_what_it_was(red: Red) -> None:
    assert Red.decode(red.encode()) == red


def test_the_table_of_red_falls_further_the_longer_nothing_came() -> None:
    red = Red(limit=60_000, least=5_000, most=15_000, weight_log2=5, chance=1, idle_ns=10**6)
    table = fields(red.encode(), 0)[2]
    assert len(table) == 256
    assert list(table[:255]) == sorted(table[:255])
    assert (table[0], table[255]) == (0, 31)


def test_every_queue_has_its_kind() -> None:
    assert set(LEAVES) == {"bfifo", "pfifo", "codel", "red"}


def test_a_size_table_without_entries_counts_bytes_of_ip() -> None:
    request = tc.put_qdisc(3, 0x4F010000, tc.ROOT, Netem(overhead=-14), "", new=True)
    found = fields(request.body, 20)
    base = fields(found[8], 0)[1]
    assert struct.unpack("=BBhiIIII", base) == (0, 0, 0, -14, 1, 0, 0, 0)
    seen = tc.parse(request.kind, request.body)
    assert (seen.index, seen.handle, seen.parent) == (3, 0x4F010000, tc.ROOT)
    assert (seen.kind, seen.overhead) == ("netem", -14)
    assert Netem.decode(seen.options, seen.overhead) == Netem(overhead=-14)


def test_a_change_never_makes_anything() -> None:
    made = tc.put_qdisc(3, 0x4F010000, tc.ROOT, Netem(), "", new=True)
    below = tc.put_qdisc(3, 0x4F050000, 0x4F040001, Netem(), "", new=True)
    changed = tc.put_qdisc(3, 0x4F010000, tc.ROOT, Netem(), "", new=False)
    assert (made.flags, below.flags, changed.flags) == (0x608, 0x508, 0x8)


@pytest.mark.parametrize(
    "made",
    [
        Filter(where=Where(index=4, parent=IN, priority=DETOUR, handle=1), to=9),
        Filter(where=Where(index=4, parent=OUT, priority=ALL, handle=1), to=9, mark=7, turn=8),
        Filter(where=Where(index=4, parent=IN, priority=MARKED, handle=7), to=9, inward=True),
        Filter(where=Where(index=4, parent=OUT, priority=MARKED, handle=7), to=0, mark=0),
    ],
)
def test_a_filter_is_known_again(made: Filter) -> None:
    body = made.put("").body
    assert filters.parse(body) == (made.where, made.to)
    others = bytearray(body)
    others[16:20] = struct.pack("=I", 1 << 16 | 0x0300)
    assert filters.parse(bytes(others)) is None
