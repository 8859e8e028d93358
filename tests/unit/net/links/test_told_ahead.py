"""What a driver that keeps time by itself is told: opportunities at once, ups and downs before."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.links.changes import Change
from net.links.delivery import Delivery, Schedule
from net.links.spec import LinkSpec
from net.links.timeline import AHEAD_S, Course, Event, Timeline, Walk
from net.links.traces.mahimahi import binned
from net.links.traces.trace import Manner, OneByOne, Played

BASE = LinkSpec(delay_s=0.02, rate_bps=20e6)
ZERO_S = 5000.0
TIMES = array("d", [0.01, 0.02, 0.5])


def packets(**how) -> Course:
    trace = binned(TIMES, 0.5)
    delivery = Delivery(trace="ab", **how)
    played = Played(trace, Manner(loop=delivery.loop, offset_s=delivery.offset_s))
    return Course(BASE, events, played, OneByOne(played, Schedule(TIMES, 0.5), delivery))


events: list[Event] = []


@pytest.fixture(autouse=True)
def no_events():
    events.clear()


def down(number: int, at_s: float, for_s: float | None = None, **more) -> Event:
    return Event(number=number, at_s=at_s, change=Change.of(up=False), for_s=for_s, **more)


def moments(course: Course, until_s: float, since_s: float = 0.0) -> list[float]:
    found, at = [], since_s
    while (at := course.next_change(at)) <= until_s:
        found.append(at)
    return found


def test_opportunities_are_one_change_and_rates_for_who_keeps_no_time():
    course = packets()
    assert moments(course, 2.0)
    assert "delivery" not in course.change(1.0).values
    clocked = course.clocked(ZERO_S)
    assert moments(clocked, 1e6) == []
    spec = clocked.change(123.0).over(BASE)
    assert spec.delivery == Delivery(trace="ab", zero_s=ZERO_S)
    assert spec.rate_bps == pytest.approx(3 * 1500 * 8 / 0.5)
    assert spec.delay_s == BASE.delay_s


def test_after_the_end_of_one_that_is_played_once_its_last_rate_stays():
    clocked = packets(loop=False, offset_s=0.1).clocked(ZERO_S)
    assert moments(clocked, 1e6) == [0.4]
    assert clocked.change(0.39).over(BASE).delivery is not None
    after = clocked.change(0.4).over(BASE)
    assert after.delivery is None
    assert after.rate_bps == packets(loop=False, offset_s=0.1).change(0.4).over(BASE).rate_bps


def test_an_event_that_sets_the_rate_wins_for_as_long_as_it_holds():
    events.append(Event(number=0, at_s=1.0, for_s=1.0, change=Change.of(rate_bps=5e6)))
    clocked = packets().clocked(ZERO_S)
    assert clocked.change(1.5).over(BASE) == LinkSpec(delay_s=0.02, rate_bps=5e6)
    assert clocked.change(2.0).over(BASE).delivery is not None


def test_who_sets_the_rate_by_hand_wants_it():
    spec = packets().clocked(ZERO_S).change(1.0).over(BASE)
    assert Change.of(rate_bps=1e6).over(spec) == LinkSpec(delay_s=0.02, rate_bps=1e6)
    assert Change.of(delay_s=0.5).over(spec).delivery is not None


def test_downs_and_ups_are_told_a_little_before():
    course = Course(BASE, [down(0, 1.0, 0.04)]).clocked(ZERO_S)
    assert moments(course, 9.0) == pytest.approx([0.95, 0.99, 1.0, 1.04])
    assert course.change(0.94).values == {}
    assert course.change(0.96).values == {"flips_s": (ZERO_S + 1.0,)}
    assert course.change(0.995).values["flips_s"] == pytest.approx((ZERO_S + 1, ZERO_S + 1.04))
    held = course.change(1.01).values
    assert held["up"] is False
    assert held["flips_s"] == pytest.approx((ZERO_S + 1.04,))
    assert course.change(1.04).values == {}


def test_what_changes_nothing_is_not_told():
    twice = Course(BASE, [down(0, 1.0), down(1, 2.0)]).clocked(ZERO_S)
    assert twice.change(1.97).values.get("flips_s") is None


def test_by_hand_up_is_up():
    spec = Course(BASE, [down(0, 1.0, 0.04)]).clocked(ZERO_S).change(0.96).over(BASE)
    assert spec.flips_s
    assert Change.of(up=True).over(spec).flips_s is None


_EVENTS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from([None, 1, 2, 3]),
        st.sampled_from([None, 4, 5]),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@given(_EVENTS, st.integers(0, 400))
def test_whoever_flips_by_what_was_told_is_up_when_it_should_be(drawn, at_ms):
    """Told at the moments of a walk, at any moment the last word is right without the next one."""
    made = [
        Event(
            number=number, at_s=at / 100, every_s=every and every / 50,
            for_s=for_ and for_ / 100, change=Change.of(up=up),
        )
        for number, (at, for_, every, up) in enumerate(drawn)
    ]  # fmt: skip
    course = Course(BASE, made)
    walk = Walk(Timeline({"x": course.clocked(ZERO_S)}), 0.0)
    told = course.clocked(ZERO_S).change(0.0)
    now = at_ms / 1000 + 0.0005
    while walk.next_s <= now - AHEAD_S / 2:  # it is told late, by half of what it is told ahead
        for due in walk.to(walk.next_s):
            told = due.change
    spec = told.over(BASE)
    passed = [at for at in spec.flips_s or () if at <= ZERO_S + now]
    up = (spec.up is not False) != len(passed) % 2
    assert up == (course.change(now).over(BASE).up is not False)
