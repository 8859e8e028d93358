"""Changes by hand, for good and for a time: against a model that keeps all that was ever asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from net.links.changes import Change
from otter_agent.links.leases import Lease, Moment, Shape, decode, encode

START = Moment(boot="b1", boot_s=100.0, wall_s=1_000_000.0)


def at(seconds: float, boot: str = "b1", wall_off_s: float = 0.0) -> Moment:
    return Moment(boot=boot, boot_s=100.0 + seconds, wall_s=1_000_000.0 + seconds + wall_off_s)


def test_a_lease_ends_and_all_is_as_if_it_had_never_been() -> None:
    shape = Shape().asked(Change.of(delay_s=0.1), None, START)
    shape = shape.asked(Change.of(delay_s=0.5, loss_ratio=0.1), at(30), at(1))
    assert shape.change().values["delay_s"] == 0.5
    assert shape.next_end(at(10)) == 20
    shape = shape.at(at(30))
    assert shape.change().asked() == {"delay_s": 0.1}
    assert shape.next_end(at(30)) is None


def test_what_is_asked_for_good_meanwhile_stays() -> None:
    shape = Shape().asked(Change.of(delay_s=0.5, loss_ratio=0.1), at(30), START)
    shape = shape.asked(Change.of(delay_s=0.2), None, at(1))
    assert shape.change().asked()["delay_s"] == 0.2
    assert shape.at(at(31)).change().asked() == {"delay_s": 0.2}


def test_a_shorter_lease_over_a_longer_one() -> None:
    shape = Shape().asked(Change.of(delay_s=0.5), at(60), START)
    shape = shape.asked(Change.of(delay_s=0.1), at(10), at(1))
    assert [shape.at(at(s)).change().values.get("delay_s") for s in (5, 20, 70)] == [0.1, 0.5, None]


def test_the_wall_clock_may_be_set_while_the_machine_runs() -> None:
    shape = Shape().asked(Change.of(delay_s=0.5), START.after(60), START)
    assert shape.at(at(1, wall_off_s=9999.0))
    assert not shape.at(at(61, wall_off_s=-9999.0))


def test_over_a_reboot_the_wall_clock_holds() -> None:
    shape = Shape().asked(Change.of(delay_s=0.5), START.after(60), START)
    soon = Moment(boot="b2", boot_s=1.0, wall_s=1_000_030.0)
    late = Moment(boot="b2", boot_s=31.0, wall_s=1_000_060.0)
    assert shape.at(soon).next_end(soon) == 30
    assert not shape.at(late)


def test_kept_as_it_is() -> None:
    change = Change.of(loss_gilbert=(0.1, 0.2, 0.3, 0.4), up=False)
    shape = Shape(lasting=change, leases=(Lease(change=Change.of(rate_bps=None), end=at(5)),))
    assert decode(encode(shape)) == shape


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "delay_s": st.integers(1, 9),
        "loss_ratio": st.just(0.5),
        "loss_gilbert": st.just((0.1, 0.2, 0.3, 0.4)),
        "queue_packets": st.integers(1, 9),
        "queue_s": st.integers(1, 9),
    },
)
CALLS = st.lists(st.tuples(CHANGES, st.none() | st.integers(1, 20), st.integers(0, 4)))


@pytest.mark.slow
@given(CALLS, st.integers(0, 30))
@settings(max_examples=400, deadline=None)
def test_any_calls_end_in_what_all_that_was_asked_makes(
    calls: list[tuple[dict[str, Any], int | None, int]], later: int
) -> None:
    shape, now = Shape(), 0
    asked: list[tuple[Change, float]] = []
    for values, for_s, pause in calls:
        now += pause
        change = Change.of(**values)
        asked.append((change, float("inf") if for_s is None else now + for_s))
        shape = shape.asked(change, None if for_s is None else at(now + for_s), at(now))
    now += later
    model = Change()
    for change, end in asked:
        model = model.then(change) if end > now else model
    assert shape.at(at(now)).change().values == model.values
    assert len(shape.leases) <= len(calls)
