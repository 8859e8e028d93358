"""What a driver that keeps time by itself is told of a trace: its opportunities, once."""

from array import array

import pytest

from net.links.changes import Change
from net.links.delivery import Delivery, Schedule
from net.links.spec import LinkSpec
from net.links.timeline import Course, Event
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
