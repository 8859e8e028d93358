"""Events and traces: what holds at which moment, and when it changes."""

from __future__ import annotations

import itertools
import math
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from net.links.changes import Change
from net.links.spec import LinkSpec
from net.links.timeline import RAMP_STEP_S, Course, Event, Timeline, Walk
from net.links.traces.trace import Manner, Played, Trace

BASE = LinkSpec(delay_s=0.02, rate_bps=20e6)


def event(number: int, at_s: float, **more):
    kept = {
        name: more.pop(name) for name in ("for_s", "every_s", "ramp_s", "reset") if name in more
    }
    return Event(number=number, at_s=at_s, change=Change.of(**more), **kept)


def changes(course: Course, end: float) -> list[tuple[float, dict]]:
    """Every moment up to `end` at which something differs from before, and what holds then."""
    found, now = [(0.0, course.change(0.0).asked())], 0.0
    while (now := course.next_change(now)) <= end:
        held = course.change(now).asked()
        if held != found[-1][1]:
            found.append((now, held))
    return found


def test_an_event_lasts():
    course = Course(BASE, [event(0, 10, rate_bps=1e6)])
    assert changes(course, 1e9) == [(0, {}), (10, {"rate_bps": 1e6})]


def test_an_event_for_a_time_ends_by_itself():
    course = Course(BASE, [event(0, 0, loss_ratio=0.5, for_s=5.0)])
    assert changes(course, 1e9) == [(0, {"loss_ratio": 0.5}), (5, {})]


def test_every_begins_again_and_again():
    course = Course(BASE, [event(0, 1, up=False, for_s=0.5, every_s=30.0)])
    assert changes(course, 62) == [
        (0, {}),
        (1, {"up": False}), (1.5, {}),
        (31, {"up": False}), (31.5, {}),
        (61, {"up": False}), (61.5, {}),
    ]  # fmt: skip
    far = 1 + 30.0 * 10**6
    assert course.change(far) == Change.of(up=False)  # and this took no longer


def test_what_holds_longer_than_its_period_holds_on():
    course = Course(BASE, [event(0, 1, up=False, for_s=3.0, every_s=2.0)])
    assert changes(course, 100) == [(0, {}), (1, {"up": False})]


def test_what_begins_later_wins_and_gives_back():
    course = Course(
        BASE,
        [event(0, 0, rate_bps=5e6, delay_s=0.1), event(1, 10, rate_bps=1e6, for_s=10.0)],
    )
    assert changes(course, 99) == [
        (0, {"rate_bps": 5e6, "delay_s": 0.1}),
        (10, {"rate_bps": 1e6, "delay_s": 0.1}),
        (20, {"rate_bps": 5e6, "delay_s": 0.1}),
    ]


def test_of_what_begins_at_one_moment_the_later_in_the_file_wins():
    first, second = event(0, 5, rate_bps=1e6), event(1, 5, rate_bps=2e6)
    for order in ([first, second], [second, first]):
        assert Course(BASE, order).change(5).values["rate_bps"] == 2e6


def test_what_ends_at_a_moment_has_ended_before_what_begins_at_it():
    course = Course(BASE, [event(1, 0, loss_ratio=0.5, for_s=5.0), event(0, 5, delay_s=0.03)])
    assert changes(course, 9) == [(0, {"loss_ratio": 0.5}), (5, {"delay_s": 0.03})]


def test_reset_ends_what_went_before_but_no_trace():
    trace = Trace(array("d", [0.0]), {"loss_ratio": array("d", [0.25])}, 1.0)
    events = [
        event(0, 1, rate_bps=1e6),
        event(1, 1, delay_s=0.1, for_s=100.0),
        Event(number=2, at_s=3, reset=True),
        event(3, 4, rate_bps=2e6),
    ]
    course = Course(BASE, events, Played(trace))
    assert changes(course, 200) == [
        (0, {"loss_ratio": 0.25}),
        (1, {"loss_ratio": 0.25, "rate_bps": 1e6, "delay_s": 0.1}),
        (3, {"loss_ratio": 0.25}),
        (4, {"loss_ratio": 0.25, "rate_bps": 2e6}),
    ]


def test_a_reset_that_sets_as_well():
    course = Course(BASE, [event(0, 1, rate_bps=1e6), event(1, 2, delay_s=0.1, reset=True)])
    assert changes(course, 9)[-1] == (2, {"delay_s": 0.1})


def test_an_event_wins_over_the_trace_while_it_holds():
    trace = Trace(array("d", [0.0, 4.0]), {"rate_bps": array("d", [8e6, 9e6])}, 8.0)
    course = Course(BASE, [event(0, 2, rate_bps=1e6, for_s=4.0)], Played(trace, Manner(loop=False)))
    assert changes(course, 20) == [
        (0, {"rate_bps": 8e6}), (2, {"rate_bps": 1e6}), (6, {"rate_bps": 9e6}),
    ]  # fmt: skip


def test_a_trace_that_is_down():
    trace = Trace(array("d", [0.0]), {"up": array("d", [0.0])}, 1.0)
    assert Course(BASE, (), Played(trace)).change(0).values["up"] is False


def test_a_ramp_leads_from_what_was_to_what_is_asked():
    course = Course(BASE, [event(0, 10, rate_bps=10e6, delay_s=0.04, ramp_s=1.0)])
    steps = changes(course, 20)
    assert len(steps) == round(1.0 / RAMP_STEP_S) + 2
    assert steps[:2] == [(0, {}), (10, {"rate_bps": 20e6, "delay_s": 0.02})]
    middle = dict(steps[1:])[10.5]
    assert middle["rate_bps"] == pytest.approx(15e6)
    assert middle["delay_s"] == pytest.approx(0.03)
    assert steps[-1] == (11.0, {"rate_bps": 10e6, "delay_s": 0.04})


def test_a_ramp_begins_where_another_one_is():
    course = Course(
        BASE, [event(0, 0, rate_bps=10e6, ramp_s=10.0), event(1, 5, rate_bps=20e6, ramp_s=5.0)]
    )
    assert course.change(5).values["rate_bps"] == pytest.approx(15e6)
    assert course.change(7.5).values["rate_bps"] == pytest.approx(17.5e6)
    assert course.change(10).values["rate_bps"] == 20e6


def test_a_ramp_from_nothing_begins_at_none():
    course = Course(LinkSpec(), [event(0, 0, loss_ratio=0.2, rate_bps=1e6, ramp_s=1.0)])
    assert course.change(0.5).values["loss_ratio"] == pytest.approx(0.1)
    assert course.change(0.5).values["rate_bps"] == 1e6  # from without a limit nothing leads there


@pytest.mark.slow
def test_ramps_that_never_get_done_are_bounded():
    events = [
        event(n, n / 100, rate_bps=1e6 * (n % 7 + 1), every_s=1.0, ramp_s=1.0) for n in range(20)
    ]
    assert Course(BASE, events).change(1e6 + 0.3).values["rate_bps"] is not None


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"at_s": -1.0}, "at_s"),
        ({"at_s": math.nan}, "at_s"),
        ({"change": Change()}, "change"),
        ({"for_s": 0.0}, "for_s"),
        ({"every_s": 1e-6}, "every_s"),
        ({"change": Change(), "reset": True, "for_s": 5.0}, "for_s"),
        ({"ramp_s": 2.0, "for_s": 1.0}, "ramp_s"),
        ({"ramp_s": 2.0, "every_s": 1.0}, "ramp_s"),
        ({"ramp_s": 1.0, "change": Change.of(up=False)}, "ramp_s"),
    ],
)
def test_events_that_make_no_sense_say_which_field(wrong, field):
    values = {"number": 0, "at_s": 1.0, "change": Change.of(rate_bps=1e6), **wrong}
    problem = Event(**values).problem()
    assert problem is not None
    assert problem[0] == field


times = st.floats(0, 100) | st.integers(0, 20).map(float)
spans = st.none() | st.floats(1e-3, 50) | st.integers(1, 9).map(float)


@st.composite
def courses(draw):
    found = []
    for number in range(draw(st.integers(0, 4))):
        for_s, every_s = draw(spans), draw(spans)
        longest = min(for_s or 2.0, every_s or 2.0)
        found.append(
            event(
                number,
                draw(times),
                **{draw(st.sampled_from(["rate_bps", "delay_s"])): draw(st.floats(0.1, 9))},
                for_s=for_s,
                every_s=every_s,
                ramp_s=draw(st.just(0.0) | st.floats(1e-3, longest)),
                reset=draw(st.booleans()),
            )
        )
    played = None
    if draw(st.booleans()):
        gaps = draw(st.lists(st.floats(1e-3, 9), min_size=1, max_size=4))
        at = array("d", itertools.accumulate(gaps))
        values = array("d", range(1, len(at) + 1))
        trace = Trace(at, {"rate_bps": values}, at[-1] + gaps[0])
        played = Played(trace, Manner(loop=draw(st.booleans()), offset_s=draw(times)))
    return Course(BASE, found, played)


@pytest.mark.slow
@given(course=courses(), since=st.floats(0, 1000))
@settings(max_examples=300)
def test_between_two_changes_nothing_changes(course, since):
    now, held = since, course.change(since)
    for _ in range(40):
        following = course.next_change(now)
        assert following > now
        if following == math.inf:
            assert course.change(1e8) == held
            break
        assert course.change(math.nextafter(following, -math.inf)) == held
        assert course.change(min((now + following) / 2, math.nextafter(following, 0))) == held
        now, held = following, course.change(following)


@pytest.mark.slow
@given(
    found=st.lists(courses(), min_size=1, max_size=4),
    stops=st.lists(st.floats(0, 60), min_size=1, max_size=8).map(sorted),
)
@settings(max_examples=100)
def test_whoever_walks_is_where_whoever_jumps_is(found, stops):
    timeline = Timeline(dict(enumerate(found)))
    walk, held, before = Walk(timeline, 0.0), timeline.state(0.0), 0.0
    for stop in stops:
        due = walk.to(stop)
        assert [one.at_s for one in due] == sorted(one.at_s for one in due)
        for one in due:
            assert before < one.at_s <= stop
            assert held[one.key] != one.change
            held[one.key] = one.change
        assert held == timeline.state(stop)
        before = stop


def test_a_walk_from_the_epoch_on_begins_with_what_holds_at_it():
    trace = Trace(array("d", [0.0, 1.0]), {"rate_bps": array("d", [1e6, 2e6])}, 2.0)
    timeline = Timeline(
        {
            "traced": Course(BASE, played=Played(trace, Manner(offset_s=1.5))),
            "down": Course(BASE, [event(0, 0, up=False, for_s=1.0)]),
            "later": Course(BASE, [event(0, 3, up=False)]),
        }
    )
    walk = Walk(timeline, None)
    assert walk.to(-0.001) == []
    assert [(due.at_s, due.key) for due in walk.to(0.0)] == [(0, "traced"), (0, "down")]
    assert [(due.at_s, due.key) for due in walk.to(1.0)] == [(0.5, "traced"), (1, "down")]


def test_a_walk_that_was_held_up_tells_what_it_passed_over():
    course = Course(BASE, [event(0, 0, up=False, for_s=0.5, every_s=1.0)])
    walk = Walk(Timeline({"radio": course}), 0.0)
    assert walk.to(10.2) == []  # it is down again
    (due,) = walk.to(20.7)
    assert (due.at_s, due.passed, due.change.asked()) == (20.5, 20, {})
    assert walk.next_s == 21.0


@pytest.mark.slow
def test_the_next_changes_of_all_directions_by_time():
    timeline = Timeline(
        {
            "a": Course(BASE, [event(0, 2, rate_bps=1e6, every_s=2.0)]),
            "b": Course(BASE, [event(1, 2, rate_bps=2e6), event(2, 3, rate_bps=3e6)]),
        }
    )
    found = [(due.at_s, due.key) for due in timeline.upcoming(0.0, 5)]
    assert found == [(2, "a"), (2, "b"), (3, "b")]  # `a` says the same every 2 s
    assert timeline.upcoming(None, 1)[0].at_s == 2
    early = Timeline({"a": Course(BASE, [event(0, 0, up=False)])})
    assert [due.at_s for due in early.upcoming(None, 5)] == [0]


def test_a_long_way_is_gone_in_one_step():
    course = Course(BASE, [event(0, 0, up=False, for_s=0.001, every_s=0.002)])
    walk = Walk(Timeline({"radio": course}), 0.0)
    (due,) = walk.to(1e6 + 0.0015)
    assert due.change == course.change(1e6 + 0.0015) == Change()
    assert due.passed == 64
    assert walk.next_s > 1e6


def test_a_step_may_be_taken_in_parts():
    down = [event(0, 1, up=False)]
    walk = Walk(Timeline({n: Course(BASE, down) for n in range(5)}), 0.0)
    assert [due.key for due in walk.to(1.0, 3)] == [0, 1, 2]
    assert walk.next_s == 1.0
    assert [due.key for due in walk.to(1.0, 3)] == [3, 4]
    assert walk.next_s == math.inf


def test_a_course_knows_whether_it_takes_its_direction_down():
    trace = Trace(array("d", [0.0, 1.0]), {"up": array("d", [1.0, 0.0])}, 2.0)
    assert Course(LinkSpec(), (), Played(trace)).turns
    assert not Course(LinkSpec(), (), Played(trace, Manner(without=("up",)))).turns
    assert Course(LinkSpec(), [Event(number=0, at_s=0.0, change=Change.of(up=False))]).turns
    late = Event(number=0, at_s=0.0, change=Change.of(delay_s=0.1))
    assert not Course(LinkSpec(), [late]).turns
