"""What traces and events ask for is refused when it is applied, not when its time has come."""

from __future__ import annotations

import msgspec
import pytest

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.links.admission import admit_links, lacking
from otter_agent.links.choose import Choice
from otter_agent.links.fake import FakeLinks

TRACE = api.TraceUse(link="radio", way="forward", name="t.csv", blob="a" * 64)
EVENT = api.TimelineEvent(at_s=5.0, both=("radio",), change={"corrupt_ratio": 0.1})


def mesh(timeline: api.TimelineSpec, **more: object) -> api.MeshSpec:
    links = (api.Link(name="radio", a="a", b="b", forward=LinkSpec(), reverse=LinkSpec()),)
    spec = api.MeshSpec(name="m", run="r", links=links, timeline=timeline)
    return msgspec.structs.replace(spec, **more)


def test_what_the_driver_can_do_is_let_in():
    timeline = api.TimelineSpec(traces=(TRACE,), events=(EVENT,))
    admit_links(Choice(driver=FakeLinks()), mesh(timeline))


def test_an_event_that_the_driver_can_t_do_is_named():
    choice = Choice(driver=FakeLinks(refuses={"corrupt_ratio": "not here"}))
    spec = mesh(api.TimelineSpec(events=(EVENT,)))
    with pytest.raises(AgentError, match=r"event at 5 s: link radio:a>b: corrupt: fake: not here"):
        admit_links(choice, spec)
    assert len(lacking(choice, spec)) == 1  # both directions are alike
    admit_links(choice, msgspec.structs.replace(spec, allow_degraded=True))


def test_without_a_driver_nothing_that_changes_is_let_in():
    for timeline in (api.TimelineSpec(traces=(TRACE,)), api.TimelineSpec(events=(EVENT,))):
        with pytest.raises(AgentError, match="no link driver works here"):
            admit_links(Choice(why="no tun"), mesh(timeline))
    admit_links(Choice(why="no tun"), mesh(api.TimelineSpec()))


def test_opportunities_are_refused_where_there_are_none_unless_a_rate_will_do():
    choice = Choice(driver=FakeLinks(refuses={"delivery": "has no opportunities"}))
    packets = msgspec.structs.replace(TRACE, opportunities=True)
    spec = mesh(api.TimelineSpec(traces=(packets,)))
    with pytest.raises(AgentError, match=r"link radio: trace t.csv: fake: has no opportunities"):
        admit_links(choice, spec)
    admit_links(choice, msgspec.structs.replace(spec, allow_degraded=True))
    admit_links(choice, mesh(api.TimelineSpec(traces=(TRACE,))))
