"""There is an end to how much a timeline may make the agent look at."""

from __future__ import annotations

import msgspec
import pytest

from net.links import timeline
from net.links.changes import Change
from net.links.spec import LinkSpec
from net.links.timeline import Course, Event, Timeline
from otter_agent import api
from otter_agent.api.checks import MAX_EVENTS

EVENT = api.TimelineEvent(at_s=0.0, both=("radio",), change={"delay_s": 0.01}, every_s=0.001)


def spec(events: int) -> api.MeshSpec:
    host = "100.64.0.1", "100.64.0.0/24"
    return api.MeshSpec(
        name="m",
        run="r",
        hosts=tuple(api.HostSpec(name=n, address=host[0], block=host[1]) for n in "ab"),
        links=(api.Link(name="radio", a="a", b="b", forward=LinkSpec(), reverse=LinkSpec()),),
        timeline=api.TimelineSpec(events=(EVENT,) * events),
    )


@pytest.mark.slow
def test_a_direction_has_so_many_events_and_no_more() -> None:
    api.check(spec(MAX_EVENTS))
    with pytest.raises(msgspec.ValidationError, match="link radio: 1001 events, at most 1000"):
        api.check(spec(MAX_EVENTS + 1))


def test_what_comes_next_is_looked_for_with_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that say the same again and again would be gone through for minutes."""
    events = [
        Event(number=n, at_s=n * 1e-4, change=Change.of(delay_s=0.01), every_s=0.001)
        for n in range(50)
    ]
    course = Course(LinkSpec(), events)
    monkeypatch.setattr(timeline, "_MOST_LOOKS", 50 * 7)
    looked: list[float] = []
    found = Course.next_change
    monkeypatch.setattr(
        Course, "next_change", lambda self, moment: looked.append(moment) or found(self, moment)
    )
    Timeline({"radio": course}).upcoming(1.0, 1000)
    assert len(looked) == 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loss_ratio": 1.5}, "loss_ratio must be between 0% and 100%"),
        ({"delay_s": -1.0}, "delay_s must be between 0 and 1h"),
        ({"rate_bps": 0.0}, "rate_bps must be above 0"),
        ({"jitter_s": -0.1}, "jitter_s must not be negative"),
    ],
)
def test_a_value_that_no_link_can_have_is_refused_and_not_left_out_in_silence(
    change: dict[str, float], said: str
) -> None:
    event = msgspec.structs.replace(EVENT, change=change, text="radio: strange")
    timed = msgspec.structs.replace(spec(0), timeline=api.TimelineSpec(events=(event,)))
    with pytest.raises(msgspec.ValidationError, match=f"event 'radio: strange': {said}"):
        api.check(timed)


def test_a_part_of_what_goes_together_is_for_whoever_plays_it() -> None:
    event = msgspec.structs.replace(EVENT, change={"jitter_s": 0.01, "loss_correlation": 0.5})
    api.check(msgspec.structs.replace(spec(0), timeline=api.TimelineSpec(events=(event,))))
