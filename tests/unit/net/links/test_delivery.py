"""Opportunities one by one, against what mahimahi's link queue does with the same packets."""

import math
from array import array
from dataclasses import replace

import pytest
from helpers.mahimahi import mahimahi
from hypothesis import given
from hypothesis import strategies as st

from net.links.chance import chances
from net.links.delivery import Delivery, Opportunities, Schedule
from net.links.model import Model
from net.links.spec import LinkSpec

TRACE = "ab" * 32
ONE_BY_ONE = LinkSpec(rate_bps=1e6, queue_packets=10**6, delivery=Delivery(trace=TRACE))


def schedule(*times_ms: int) -> Schedule:
    return Schedule(array("d", [t / 1000 for t in times_ms]), times_ms[-1] / 1000)


def model(spec: LinkSpec, plan: Schedule, **options) -> Model:
    return Model(spec, chances(1, "link"), schedule=plan, **options)


def numbered(size: int, number: int) -> bytes:
    return number.to_bytes(4, "big") + bytes(size - 4)


@pytest.mark.slow
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=12).map(sorted).filter(lambda t: t[-1] > 0),
    st.lists(st.tuples(st.integers(0, 200), st.integers(20, 1500)), max_size=40).map(
        lambda offers: sorted(offers, key=lambda one: one[0])
    ),
    st.lists(st.integers(0, 300), max_size=20).map(sorted),
)
def test_what_leaves_when_is_what_mahimahi_lets_leave(times, offers, looks):
    # Packets come between two milliseconds: sums of decimals are off by the last bit.
    plan = schedule(*times)
    one, out, todo = model(ONE_BY_ONE, plan), [], list(looks)
    for number, (at, size) in enumerate(offers):
        while todo and todo[0] <= at:
            out += one.take(todo.pop(0) / 1000)
        one.offer([numbered(size, number)], (at + 0.5) / 1000)
    out += one.take(300 / 1000 + 1e-9)
    expected = mahimahi(times, offers, 300)
    assert [int.from_bytes(p[:4], "big") for _, p in out] == [number for _, number in expected]
    assert [at for at, _ in out] == pytest.approx([at / 1000 for at, _ in expected], abs=1e-9)


def test_a_full_packet_takes_one_and_small_ones_share_it():
    one = model(ONE_BY_ONE, schedule(10, 20, 30))
    one.offer([numbered(1500, 0), numbered(748, 1), numbered(748, 2), numbered(1500, 3)], 0.0)
    arrived = [(round(at, 9), int.from_bytes(p[:4], "big")) for at, p in one.take(1.0)]
    assert arrived == [(0.01, 0), (0.02, 1), (0.02, 2), (0.03, 3)]


def test_what_is_not_used_is_lost_and_a_packet_goes_on_at_the_next():
    one = model(ONE_BY_ONE, schedule(10, 20, 30))
    one.offer([numbered(1000, 0)], 0.025)
    one.offer([numbered(1000, 1)], 0.025)  # 500 bytes of it at 30 ms, the rest at 40
    assert [round(at, 9) for at, _ in one.take(1.0)] == [0.03, 0.04]


def test_several_at_one_moment_and_the_delay_after():
    one = model(replace(ONE_BY_ONE, delay_s=0.1), schedule(5, 5, 9))
    one.offer([numbered(1500, n) for n in range(4)], 0.0)
    assert one.next_s == pytest.approx(0.105)
    assert [round(at, 9) for at, _ in one.take(1.0)] == [0.105, 0.105, 0.109, 0.114]


@pytest.mark.parametrize("loop", [True, False])
def test_offset_stretch_zero_and_shift(loop):
    delivery = Delivery(trace=TRACE, zero_s=100, offset_s=0.02, stretch=2.0, loop=loop)
    chosen = Opportunities(schedule(10, 30, 40), delivery, shift_s=-50.0)
    found = []
    for _ in range(4):
        found.append(chosen.next_s)
        chosen.use()
    expected = [50.02, 50.04, 50.06, 50.1] if loop else [50.02, 50.04, math.inf, math.inf]
    assert found == pytest.approx(expected)


def test_one_at_the_very_beginning_counts():
    delivery = Delivery(trace=TRACE, zero_s=12345.678)
    assert Opportunities(schedule(0, 10), delivery).next_s == 12345.678
    offset = Delivery(trace=TRACE, zero_s=12345.678, offset_s=0.01)
    assert Opportunities(schedule(0, 10, 20), offset).next_s == pytest.approx(12345.678)


@pytest.mark.slow
@given(st.floats(0, 1e5), st.floats(0.5, 2.0), st.integers(0, 10**6))
def test_passing_over_many_is_the_same_as_one_by_one(zero, stretch, ahead_ms):
    delivery = Delivery(trace=TRACE, zero_s=zero, stretch=stretch)
    plan = schedule(3, 3, 7, 11, 11, 50)
    leapt = Opportunities(plan, delivery)
    now = zero + ahead_ms % 1000 / 1000
    leapt.skip(now)
    walked = Opportunities(plan, delivery)
    while walked.next_s <= now:
        walked.use()
    for _ in range(8):
        assert leapt.next_s == walked.next_s
        leapt.use()
        walked.use()


def test_half_the_scale_is_half_the_bytes():
    spec = replace(ONE_BY_ONE, delivery=Delivery(trace=TRACE, scale=0.5))
    one = model(spec, schedule(10, 20))
    one.offer([numbered(1500, n) for n in range(3)], 0.0)
    assert [round(at, 9) for at, _ in one.take(1.0)] == [0.02, 0.04, 0.06]


def test_from_a_rate_to_opportunities_and_back_nothing_is_lost_or_overtaken():
    rate = LinkSpec(rate_bps=8 * 1504 * 100, queue_packets=100)  # 10 ms each
    one = Model(rate, chances(1, "link"))
    one.offer([numbered(1504, n) for n in range(6)], 0.0)
    timed = replace(rate, delivery=Delivery(trace=TRACE))
    one.change(timed, 0.015, schedule(4, 8, 20))  # the second is half sent
    one.change(rate, 0.042)  # 20, 24, 28 and 40 were used
    arrived = [(round(at, 6), int.from_bytes(p[:4], "big")) for at, p in one.take(1.0)]
    assert [number for _, number in arrived] == list(range(6))
    assert [at for at, _ in arrived[:5]] == [0.01, 0.02, 0.024, 0.028, 0.04]
    assert one.waiting_packets == 0


def test_without_a_rate_all_that_waits_leaves():
    one = model(ONE_BY_ONE, schedule(10, 1000))
    one.offer([numbered(1500, n) for n in range(3)], 0.0)
    one.change(LinkSpec(), 0.5)
    assert [round(at, 6) for at, _ in one.take(1.0)] == [0.01, 0.5, 0.5]


def test_a_trace_that_is_over_lets_nothing_pass():
    spec = replace(ONE_BY_ONE, delivery=Delivery(trace=TRACE, loop=False), queue_packets=2)
    one = model(spec, schedule(10, 20))
    one.offer([numbered(1500, n) for n in range(5)], 0.015)
    assert [round(at, 6) for at, _ in one.take(99.0)] == [0.02]
    assert one.next_s == math.inf
    assert one.tally.dropped == {"queue": 3}


@pytest.mark.parametrize("discipline", ["codel", "red"])
def test_disciplines_go_with_it(discipline):
    spec = replace(ONE_BY_ONE, queue_packets=None, queue_s=0.5, queue_discipline=discipline)
    one = model(spec, schedule(*range(10, 1001, 10)))
    for ms in range(3000):
        one.offer([numbered(1500, ms)], ms / 1000)
    passed = one.take(3.0)
    assert len(passed) <= 300
    assert one.tally.dropped["aqm"] > 100


def test_problems():
    alone = replace(ONE_BY_ONE, rate_bps=None, queue_packets=None)
    assert "delivery" in alone.problems()
    assert "delivery" in replace(ONE_BY_ONE, medium="cell").problems()
    wrong = [{"trace": ""}, {"stretch": 0.0}, {"scale": -1.0}, {"zero_s": math.nan}]
    for values in wrong:
        delivery = Delivery(**{"trace": TRACE, **values})
        assert "delivery" in replace(ONE_BY_ONE, delivery=delivery).problems(), values
    assert not ONE_BY_ONE.problems()


def test_one_whose_trace_is_not_there_is_no_model():
    with pytest.raises(ValueError, match="isn't there"):
        Model(ONE_BY_ONE, chances(1))
