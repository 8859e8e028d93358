"""A shared medium: shares of time, nothing wasted, never more than there is, and deterministic."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from net.links.cell import Medium
from net.links.chance import chances
from net.links.model import NEVER, Model
from net.links.spec import LinkSpec

PACKET = 1500
RATE = 1e6
"""Bit/s: 12 ms a full packet."""


def packet(number: int, size: int = PACKET) -> bytes:
    return number.to_bytes(4, "big") + bytes(size - 4)


class Cell:
    """Models on one medium, all looked at when something comes of one."""

    def __init__(self, *specs: LinkSpec) -> None:
        self.medium = Medium()
        self.models = [Model(spec, chances(1, str(n))) for n, spec in enumerate(specs)]
        for model in self.models:
            model.share(self.medium, 0.0)

    def fill(self, member: int, count: int, size: int = PACKET, now: float = 0.0) -> None:
        self.models[member].offer([packet(n, size) for n in range(count)], now)

    def take(self, now: float) -> list[list[tuple[float, bytes]]]:
        return [model.take(now) for model in self.models]


def spec(rate: float = RATE, weight: float | None = None, **more) -> LinkSpec:
    more = {"queue_packets": 100_000} | more
    return LinkSpec(rate_bps=rate, medium="cell", medium_weight=weight, **more)


def volume(arrived: list[tuple[float, bytes]]) -> int:
    return sum(len(one) for _, one in arrived)


def test_one_alone_has_all_of_it():
    cell = Cell(spec(), spec(), spec())
    cell.fill(1, 10)
    assert [at for at, _ in cell.take(1.0)[1]] == pytest.approx([0.012 * n for n in range(1, 11)])


def test_two_that_are_backlogged_alternate():
    cell = Cell(spec(), spec())
    cell.fill(0, 3)
    cell.fill(1, 3)
    a, b = cell.take(1.0)
    assert [at for at, _ in a] == pytest.approx([0.012, 0.036, 0.060])
    assert [at for at, _ in b] == pytest.approx([0.024, 0.048, 0.072])


@pytest.mark.slow
def test_a_member_of_half_the_rate_needs_twice_the_time_and_gets_half_the_bytes():
    cell = Cell(spec(RATE), spec(RATE / 2))
    cell.fill(0, 10_000)
    cell.fill(1, 10_000)
    fast, slow = cell.take(60.0)
    assert volume(fast) == pytest.approx(60 * RATE / 8 / 2, rel=0.03)
    assert volume(slow) == pytest.approx(60 * RATE / 2 / 8 / 2, rel=0.03)


@pytest.mark.slow
def test_an_idle_members_share_goes_to_the_others_and_comes_back_at_once():
    cell = Cell(spec(), spec())
    cell.fill(0, 10_000)
    assert volume(cell.take(12.0)[0]) == pytest.approx(12 * RATE / 8, abs=PACKET)
    cell.fill(1, 10_000, now=12.0)  # what it left to the other isn't made up for
    a, b = cell.take(24.0)
    assert volume(a) == pytest.approx(volume(b), abs=2 * PACKET)


def test_delay_and_jitter_come_after_the_medium_and_hold_up_nobody():
    cell = Cell(spec(delay_s=5.0), spec())
    cell.fill(0, 1)
    cell.fill(1, 1)
    a, b = cell.take(10.0)
    assert (a[0][0], b[0][0]) == pytest.approx((5.012, 0.024))


def test_each_has_a_queue_of_its_own():
    cell = Cell(spec(queue_packets=2), spec(queue_packets=5))
    cell.fill(0, 10)
    cell.fill(1, 10)
    a, b = cell.take(10.0)
    assert (len(a), len(b)) == (3, 5)  # the first of all was sent at once and waited nowhere
    assert cell.models[0].tally.dropped == {"queue": 7}


def test_a_medium_tells_whose_turn_it_was():
    cell = Cell(spec(), spec())
    cell.fill(0, 2)
    cell.medium.stirred.clear()
    cell.fill(1, 2)
    assert cell.models[0].next_s == pytest.approx(0.012)
    cell.models[0].take(0.012)
    assert cell.models[1] in cell.medium.stirred
    assert cell.models[1].next_s == pytest.approx(0.024)


def test_a_rate_that_changes_goes_on_with_the_packet_being_sent():
    cell = Cell(spec(), spec())
    cell.fill(0, 1)
    cell.fill(1, 1)
    cell.models[0].change(spec(RATE / 2), 0.006)
    a, b = cell.take(1.0)
    assert a[0][0] == pytest.approx(0.018)
    assert b[0][0] == pytest.approx(0.030)


def test_a_rate_next_to_nothing_holds_up_the_medium_only_until_it_changes():
    cell = Cell(spec(1e-320), spec())
    cell.fill(0, 3)
    cell.fill(1, 3)
    assert cell.take(5.0) == [[], []]
    cell.models[0].change(spec(), 5.0)
    a, b = cell.take(6.0)
    assert [at for at, _ in a] == pytest.approx([5.012, 5.036, 5.060])
    assert [at for at, _ in b] == pytest.approx([5.024, 5.048, 5.072])


def test_who_leaves_sends_alone_and_the_others_go_on():
    cell = Cell(spec(), spec(), spec())
    cell.fill(0, 2)
    cell.fill(1, 2)
    cell.models[0].share(None, 0.006)
    a, b, _ = cell.take(1.0)
    assert [at for at, _ in a] == pytest.approx([0.018, 0.030])  # the one half sent begins anew
    assert [at for at, _ in b] == pytest.approx([0.018, 0.030])
    assert len(cell.medium) == 2


def test_who_comes_with_a_queue_takes_its_turn():
    cell = Cell(spec(), spec())
    alone = Model(spec(), chances(1, "late"))
    alone.offer([packet(0), packet(1)], 0.0)
    cell.fill(0, 2)
    alone.share(cell.medium, 0.006)
    assert [at for at, _ in alone.take(1.0)] == pytest.approx([0.024, 0.048])
    assert [at for at, _ in cell.take(1.0)[0]] == pytest.approx([0.012, 0.036])


@pytest.mark.slow
@pytest.mark.parametrize("discipline", ["codel", "red"])
def test_managed_queues_stay_managed(discipline):
    cell = Cell(spec(queue_discipline=discipline, queue_packets=1000), spec())
    cell.fill(1, 3000)
    for number in range(3000):
        cell.models[0].offer([packet(number)], number * 0.012)
    cell.take(1e6)
    assert cell.models[0].tally.dropped.get("aqm", 0) > 10
    assert cell.models[0].waiting_packets == 0


# --- whatever they are and send -------------------------------------------------------------------

members = st.lists(
    st.tuples(st.floats(0.25, 4.0), st.floats(0.5, 4.0), st.integers(200, PACKET)),
    min_size=2,
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(members)
def test_backlogged_members_get_their_shares_within_3_percent(parts):
    cell = Cell(*(spec(RATE * speed, weight) for speed, weight, _ in parts))
    whole, seconds = sum(weight for _, weight, _ in parts), 30.0
    for number, (speed, weight, size) in enumerate(parts):
        share = seconds * RATE * speed * weight / whole / 8
        cell.fill(number, math.ceil(2 * share / size) + 50, size)
    for (speed, weight, _), arrived in zip(parts, cell.take(seconds), strict=True):
        share = seconds * RATE * speed * weight / whole / 8
        assert volume(arrived) == pytest.approx(share, rel=0.03, abs=2 * PACKET)


offers = st.lists(
    st.tuples(st.floats(0.0, 0.05), st.integers(0, 2), st.integers(1, 8), st.integers(64, PACKET)),
    max_size=60,
)


def all_arrivals(steps, looks=()) -> list[list[tuple[float, bytes]]]:
    cell = Cell(
        spec(delay_s=0.02, jitter_s=0.002, queue_packets=30),
        spec(queue_discipline="codel", weight=2.5),
        spec(RATE / 3, reorder_ratio=0.2, delay_s=0.1, queue_packets=None, queue_s=0.05),
    )
    found: list[list[tuple[float, bytes]]] = [[], [], []]
    now, ahead = 0.0, list(looks)
    for gap, member, count, size in steps:
        now += gap
        while ahead and ahead[0][0] <= now:
            at, who = ahead.pop(0)
            found[who] += cell.models[who].take(at)
        cell.fill(member, count, size, now)
    for who, arrived in enumerate(cell.take(1e6)):
        found[who] += arrived
    return found


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(offers, st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(0, 2)), max_size=30))
def test_what_arrives_does_not_depend_on_when_one_looks(steps, looks):
    assert all_arrivals(steps) == all_arrivals(steps, sorted(looks))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(offers)
def test_the_sum_never_exceeds_the_capacity_and_none_of_it_is_wasted(steps):
    plain = [spec(), spec(weight=3.0), spec()]
    cell = Cell(*plain)
    now, busy_until = 0.0, 0.0
    for gap, member, count, size in steps:
        now += gap
        cell.fill(member, count, size, now)
        busy_until = max(busy_until, now) + count * size * 8 / RATE
    arrived = sorted((at, len(one)) for each in cell.take(1e6) for at, one in each)
    for first in range(len(arrived)):
        so_far = 0
        for at, size in arrived[first:]:
            so_far += size
            assert so_far <= RATE / 8 * (at - arrived[first][0]) + 2 * PACKET
    if arrived:
        assert arrived[-1][0] == pytest.approx(busy_until)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(offers)
def test_one_who_looks_when_told_to_is_never_late(steps):
    """As the helper does: at a model's own time, and again at those that were stirred."""
    cell = Cell(spec(delay_s=0.01), spec(), spec(RATE / 2))
    late: list[float] = []

    def look(until: float) -> None:
        while (at := min(model.next_s for model in cell.models)) <= until:
            for model in cell.models:
                if model.next_s <= at:
                    late.extend(max(at, 0.0) - when for when, _ in model.take(max(at, 0.0)))

    now = 0.0
    for gap, member, count, size in steps:
        look(now + gap)
        now += gap
        cell.fill(member, count, size, now)
        for model in cell.models:
            late.extend(now - when for when, _ in model.take(now))
    look(1e6)
    assert all(one <= 1e-9 for one in late)
    assert all(model.next_s == NEVER and model.waiting_packets == 0 for model in cell.models)


def test_leaving_takes_what_it_asked_with_it():
    asked = spec()
    assert not asked.problems()
    assert "medium" in replace(asked, rate_bps=None).problems()
    assert "medium_weight" in LinkSpec(rate_bps=1.0, medium_weight=2.0).problems()
    assert "medium_weight" in replace(asked, medium_weight=0.0).problems()
