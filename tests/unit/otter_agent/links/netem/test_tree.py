"""Which qdiscs do what is asked, and what qdiscs mean."""

from __future__ import annotations

import math
import statistics
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.links.delivery import Delivery
from net.links.spec import LinkSpec
from otter_agent.links.netem import tree
from otter_agent.links.netem.options import WHOLE, ByteQueue, Codel, Netem, PacketQueue, Red, Share
from otter_agent.links.netem.tree import IDLE, NOTHING, UNLIMITED, Tree, refusals, spec_of, wanted

sizes = st.one_of(
    st.just({}),
    st.builds(dict, queue_packets=st.integers(1, 10**9)),
    st.builds(dict, queue_bytes=st.integers(1, 1 << 40)),
    st.builds(dict, queue_s=st.floats(1e-9, 3600)),
)
large = st.builds(
    lambda rate, kind, ecn, size, slot: LinkSpec(
        rate_bps=rate, queue_discipline=kind, ecn=ecn and kind != "tail", slot_s=(0.1, 0.2),
        slot_bytes=slot, **size,
    ),
    st.floats(200, 1e13), st.sampled_from(["tail", "codel", "red"]), st.booleans(), sizes,
    st.integers(1, 1 << 40),
)  # fmt: skip
ratios = st.none() | st.floats(0, 1)
specs = st.builds(
    LinkSpec,
    delay_s=st.none() | st.floats(0.001, 3600),
    loss_ratio=ratios,
    rate_bps=st.none() | st.floats(200, 1e12),
    overhead_bytes=st.none() | st.integers(-20, 100),
    duplicate_ratio=ratios,
    corrupt_ratio=ratios,
    queue_packets=st.none() | st.integers(1, 10_000),
)


def test_nothing_asked_is_nothing_there() -> None:
    assert wanted(LinkSpec()) == NOTHING
    assert wanted(LinkSpec(loss_ratio=0.0, delay_s=0.0, up=True)) == NOTHING


def test_a_delay_needs_only_the_half_where_packets_come_in() -> None:
    want = wanted(LinkSpec(delay_s=0.02))
    assert (want.entry, want.share, want.leaf) == (None, None, None)
    assert want.wire == replace(IDLE, overhead=-14)
    assert want.flight is not None
    assert want.flight.latency_ns == 20_000_000


def test_a_loss_needs_only_the_half_where_packets_leave() -> None:
    want = wanted(LinkSpec(loss_ratio=0.5))
    assert want.entry == Netem(loss=round(WHOLE / 2), overhead=-14)
    assert (want.share, want.wire, want.flight) == (None, None, None)


def test_a_rate_needs_both_and_a_queue() -> None:
    want = wanted(LinkSpec(rate_bps=1e6, queue_bytes=15_000))
    assert want.share == Share(rate=125_000)
    assert want.leaf == ByteQueue(limit=15_000)
    assert want.wire == Netem(rate=125_000, overhead=-14)


@pytest.mark.parametrize(
    ("rate_bps", "late_ms", "packets"),
    [(1e5, 10, 1), (1e6, 0.25, 1), (1e7, 0.25, 1), (1e7, 4, 1), (1e7, 4.9, 5), (5e7, 0.8, 1),
     (5e7, 1.1, 5), (1e8, 0.4, 1), (2e8, 0.25, 5)],
)  # fmt: skip
def test_after_a_late_timer_one_packet_goes_unless_timers_are_late_by_more_than_it_takes(
    rate_bps, late_ms, packets
) -> None:
    share = wanted(LinkSpec(rate_bps=rate_bps), late_ns=round(late_ms * 1e6)).share
    assert share is not None
    each_ns = 1500 * 8e9 / rate_bps
    assert math.floor((share.burst_ns + 64) / each_ns) + 1 == packets
    assert share.burst_ns >= 0.8 * each_ns  # that much is lost of no rate


def test_a_rate_comes_last_where_all_have_the_same_delay() -> None:
    """What a late timer of the delay lets go at once is spread again."""
    late = wanted(LinkSpec(rate_bps=1e6, delay_s=0.02))
    assert (late.wire, late.pace) == (replace(IDLE, overhead=-14), Netem(rate=125_000))
    for spec in (
        LinkSpec(rate_bps=1e6, delay_s=0.02, jitter_s=0.001),
        LinkSpec(rate_bps=1e6, delay_s=0.02, reorder_ratio=0.1),
        LinkSpec(rate_bps=1e6, slot_s=(0.1, 0.1)),
    ):
        mixed = wanted(spec, late)
        assert (mixed.wire, mixed.pace) == (Netem(rate=125_000, overhead=-14), IDLE)
    assert wanted(LinkSpec(rate_bps=1e6)).pace is None


def test_a_members_queue_is_that_of_its_medium() -> None:
    spec = LinkSpec(rate_bps=1e6, medium="gnb1", delay_s=0.02)
    up, down = wanted(spec, apart="up"), wanted(spec, apart="down")
    assert (up.entry, up.share, up.leaf) == (None, None, None)
    assert (down.share, down.leaf) == (None, None)
    assert down.entry == Netem(overhead=-14)  # below it is the way to the medium
    assert up.pace == down.pace == Netem(rate=125_000)


def test_what_is_there_stays_without_effect() -> None:
    have = wanted(LinkSpec(rate_bps=1e6, delay_s=0.02, loss_ratio=0.1))
    want = wanted(LinkSpec(), have)
    assert (want.entry, want.wire) == (Netem(overhead=-14), replace(IDLE, overhead=-14))
    assert want.share == Share(rate=UNLIMITED)
    assert want.leaf is None  # any will do: nothing waits
    assert want.flight is not None
    assert (want.flight.latency_ns, want.flight.jitter_ns) == (0, 0)
    assert spec_of(want) == LinkSpec()


@pytest.mark.slow
@given(specs)
def test_what_is_there_stays_whatever_is_asked(spec: LinkSpec) -> None:
    have = wanted(LinkSpec(rate_bps=1e6, delay_s=0.02, loss_ratio=0.1))
    want = wanted(spec, have)
    assert None not in (want.entry, want.share, want.wire, want.flight)
    alone = wanted(spec)
    for part in ("entry", "share", "leaf", "wire", "flight"):
        assert getattr(alone, part) in (None, getattr(want, part))


@pytest.mark.slow
@given(specs)
def test_qdiscs_mean_what_was_asked(spec: LinkSpec) -> None:
    meant = spec_of(wanted(spec))
    assert meant.delay_s == pytest.approx(spec.delay_s, abs=1e-9)
    assert (meant.loss_ratio or 0) == pytest.approx(spec.loss_ratio or 0, abs=1e-9)
    assert (meant.duplicate_ratio or 0) == pytest.approx(spec.duplicate_ratio or 0, abs=1e-9)
    assert meant.rate_bps == pytest.approx(spec.rate_bps, abs=4)
    if spec.rate_bps is not None:
        assert (meant.overhead_bytes or 0) == (spec.overhead_bytes or 0)
        assert meant.queue_packets == spec.queue_packets


@pytest.mark.parametrize("delay_s", [1e-9, 3600.0])
def test_the_shortest_and_the_longest_delay_are_had_to_the_nanosecond(delay_s: float) -> None:
    spec = LinkSpec(delay_s=delay_s)
    assert not spec.problems()
    assert not refusals(spec)
    assert spec_of(wanted(spec)).delay_s == pytest.approx(delay_s, rel=1e-12)


@given(large)
def test_a_queue_of_any_size_fits_the_kernels_numbers_or_is_refused(spec: LinkSpec) -> None:
    assert not spec.problems()
    refused = refusals(spec)
    assert set(refused) <= {"queue_packets", "queue_bytes", "queue_s", "slot_bytes"}
    assert all("2GiB" in why for why in refused.values())
    possible = replace(spec, **dict.fromkeys(refused))
    assert not possible.problems()
    assert not refusals(possible)
    want = wanted(possible)
    for part in (want.entry, want.share, want.leaf, want.wire, want.flight, want.pace):
        assert part is None or part.encode()
    if isinstance(want.leaf, Red):  # red_check_params() of the kernel
        assert want.leaf.most.bit_length() + want.leaf.weight_log2 < 32


@pytest.mark.parametrize("kind", ["tail", "red"])
def test_a_queue_that_nobody_asked_for_is_as_long_as_the_kernel_can(kind) -> None:
    fast = LinkSpec(rate_bps=1e13, queue_discipline=kind)
    assert not refusals(fast)
    leaf = wanted(fast).leaf
    assert isinstance(leaf, ByteQueue | Red)
    assert leaf.limit == 1 << 31


def test_order_is_kept_whatever_the_jitter() -> None:
    want = wanted(LinkSpec(delay_s=0.02, jitter_s=0.01))
    assert want.flight is not None
    # A netem with a rate schedules behind the last packet; at this one none takes a nanosecond.
    assert 65_535 * 10**9 // want.flight.rate == 0
    assert (2**29 + 65_535) * 10**9 // want.flight.rate == 0  # with the tag among its bytes


@pytest.mark.parametrize("kind", ["uniform", "normal", "pareto", "paretonormal"])
def test_jitter_in_the_kernels_numbers_has_the_spread_that_was_asked(kind) -> None:
    asked = LinkSpec(delay_s=0.1, jitter_s=0.01, jitter_distribution=kind)
    flight = wanted(asked).flight
    assert flight is not None
    numbers = struct.unpack(f"={len(flight.table) // 2}h", flight.table)
    assert max(map(abs, numbers)) == 32767
    delays = [flight.jitter_ns * number / 8192 for number in numbers]
    spread = 0.01 / 3**0.5 if kind == "uniform" else 0.01
    assert statistics.fmean(delays) == pytest.approx(0, abs=1e3)
    assert statistics.pstdev(delays) == pytest.approx(spread * 1e9, rel=1e-3)
    assert spec_of(wanted(asked)).jitter_s == pytest.approx(0.01)
    assert spec_of(wanted(asked)).jitter_distribution == kind


def test_a_table_of_the_users_is_told_from_another() -> None:
    one, other = (
        wanted(
            LinkSpec(delay_s=1, jitter_s=0.1, jitter_distribution="table", jitter_table=table)
        ).flight
        for table in ((-1.0, 9.0), (-1.0, 3.0, 9.0))
    )
    assert one is not None
    assert other is not None
    assert one.tag != other.tag
    assert one != other
    low, high = struct.unpack("=2h", one.table)
    assert one.jitter_ns * high / 8192 == pytest.approx(0.9e9, rel=1e-3)
    assert one.jitter_ns * low / 8192 == pytest.approx(-0.1e9, rel=1e-3)


def test_a_correlated_loss_is_a_chain_of_the_same_share() -> None:
    entry = wanted(LinkSpec(loss_ratio=0.01, loss_correlation=0.5)).entry
    assert entry is not None
    assert entry.gilbert is not None
    p, r, h, k1 = entry.gilbert
    assert p / (p + r) == pytest.approx(0.01)
    assert (h, k1) == (0, 0)


def test_down_loses_everything_and_is_no_loss() -> None:
    down = wanted(LinkSpec(up=False, loss_ratio=0.1))
    assert down.entry is not None
    assert down.entry.loss == WHOLE
    assert spec_of(down) == LinkSpec(up=False)
    assert spec_of(wanted(LinkSpec(loss_ratio=1.0))) == LinkSpec(loss_ratio=1.0)


def test_disciplines() -> None:
    codel = wanted(LinkSpec(rate_bps=1e6, queue_discipline="codel", ecn=True)).leaf
    assert isinstance(codel, Codel)
    assert codel.ecn
    red = wanted(LinkSpec(rate_bps=1e6, queue_discipline="red", queue_bytes=60_000)).leaf
    assert isinstance(red, Red)
    assert (red.limit, red.least, red.most) == (60_000, 5_000, 15_000)
    few = wanted(LinkSpec(rate_bps=1e6, queue_packets=7)).leaf
    assert few == PacketQueue(limit=7)


def test_all_that_is_in_flight_at_a_rate_has_room_even_in_small_packets() -> None:
    flight = wanted(LinkSpec(rate_bps=1e9, delay_s=0.3)).flight
    assert flight is not None
    assert flight.limit >= 1e9 * 0.3 / 8 / 64


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (LinkSpec(rate_bps=100.0), "rate_bps"),
        (LinkSpec(rate_bps=1e6, queue_bytes=1 << 31), "queue_bytes"),
        (LinkSpec(rate_bps=4e10, queue_s=5, queue_discipline="red"), "queue_s"),
        (LinkSpec(rate_bps=1e6, queue_packets=10**9, queue_discipline="red"), "queue_packets"),
        (LinkSpec(slot_s=(0.1, 0.1), slot_bytes=1 << 31), "slot_bytes"),
        (LinkSpec(delay_s=10, jitter_s=5), "jitter_s"),
        (LinkSpec(delay_s=1, jitter_s=0.1, jitter_correlation=0.5), "jitter_correlation"),
        (LinkSpec(delay_s=1, reorder_ratio=0.1, reorder_correlation=0.5), "reorder_correlation"),
    ],
)
def test_what_the_kernel_cannot_do_is_refused(spec: LinkSpec, field: str) -> None:
    assert not spec.problems()
    assert set(refusals(spec)) == {field}


def test_opportunities_are_refused_and_what_they_are_on_average_is_left() -> None:
    packets = LinkSpec(rate_bps=1e6, delivery=Delivery(trace="ab"))
    refused = refusals(packets)
    assert list(refused) == ["delivery"]
    assert "`bin`" in refused["delivery"]
    assert replace(packets, **dict.fromkeys(refused)) == LinkSpec(rate_bps=1e6)


def test_what_it_can_do_is_not_refused() -> None:
    for spec in (
        LinkSpec(),
        LinkSpec(delay_s=3600, jitter_s=2),
        LinkSpec(rate_bps=1e13),
        LinkSpec(rate_bps=200),
        LinkSpec(rate_bps=1e6, medium="gnb1", medium_weight=2.0),
    ):
        assert not refusals(spec)


def test_a_tree_that_is_half_there() -> None:
    """As a killed predecessor may leave it."""
    assert spec_of(Tree(share=Share(rate=1000))) == LinkSpec(rate_bps=8000.0)
    assert spec_of(Tree(entry=Netem(loss=WHOLE, overhead=None))) == LinkSpec(loss_ratio=1.0)
    assert tree.wanted(LinkSpec(), Tree(share=Share(rate=1000))).share == Share(rate=UNLIMITED)
