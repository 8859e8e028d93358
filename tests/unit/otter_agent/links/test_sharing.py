"""What cells ask for together, and which driver a mesh gets for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.links import sharing
from otter_agent.links.admission import lacking
from otter_agent.links.choose import Choice
from otter_agent.links.fake import FakeLinks


class Even(FakeLinks):
    """Shares only what is one rate."""

    def conflicts(self, asked: Iterable[LinkSpec]) -> dict[str, str]:
        rates = {spec.rate_bps for spec in asked}
        return {"gnb1:up": "rates differ"} if len(rates) > 1 else {}


def mesh(*rates: float, **timeline: tuple[object, ...]) -> api.MeshSpec:
    links = tuple(
        api.Link(
            name=f"gnb1-p{number}",
            a=f"p{number}",
            b="edge",
            forward=LinkSpec(rate_bps=rate, medium="gnb1:up"),
            reverse=LinkSpec(delay_s=0.01),
        )
        for number, rate in enumerate(rates)
    )
    played = api.TimelineSpec(**timeline)  # type: ignore[arg-type]
    return api.MeshSpec(name="m", run="r", hosts=(), modules=(), links=links, timeline=played)


def fits(spec: api.MeshSpec) -> bool:
    choice = Choice(driver=Even(), spare=Choice(driver=FakeLinks()))
    asked = [link.forward for link in spec.links if link.forward is not None]
    return choice.fit_for(asked, sharing.states(spec)) is choice


def event(*links: str, **change: object) -> api.TimelineEvent:
    return api.TimelineEvent(at_s=1.0, both=links, change=change)


def test_one_rate_fits_and_two_do_not() -> None:
    assert fits(mesh(1e6, 1e6))
    assert not fits(mesh(1e6, 2e6))
    assert list(sharing.states(mesh())) == []


def test_a_cells_event_fits_and_a_members_does_not() -> None:
    both = ("gnb1-p0", "gnb1-p1")
    assert fits(mesh(1e6, 1e6, events=(event(*both, rate_bps=2e6),)))
    assert fits(mesh(1e6, 1e6, events=(event("gnb1-p0", delay_s=0.5),)))
    assert not fits(mesh(1e6, 1e6, events=(event("gnb1-p0", rate_bps=2e6),)))


def test_a_members_trace_does_not_fit() -> None:
    use = api.TraceUse(link="gnb1-p0", way="forward", name="walk", blob="0" * 64)
    assert not fits(mesh(1e6, 1e6, traces=(use,)))
    other = api.TraceUse(link="gnb1-p0", way="reverse", name="walk", blob="0" * 64)
    assert fits(mesh(1e6, 1e6, traces=(other,)))


def test_traces_of_all_members_do_not_fit_unless_they_are_one() -> None:
    def use(number: int, **more: Any) -> api.TraceUse:
        given = {"link": f"gnb1-p{number}", "way": "forward", "name": "walk", "blob": "0" * 64}
        return api.TraceUse(**given | more)

    assert fits(mesh(1e6, 1e6, traces=(use(0), use(1))))
    for other in ({"blob": "1" * 64}, {"offset_s": 9.0}, {"scale": {"rate_bps": 2.0}}):
        assert not fits(mesh(1e6, 1e6, traces=(use(0), use(1, **other))))


def test_where_no_other_driver_can_the_cell_is_named() -> None:
    alone = Choice(driver=Even())
    lines = lacking(alone, mesh(1e6, 2e6))
    assert lines == ["cell gnb1: efficiency: fake: rates differ"]
    assert lacking(alone, mesh(1e6, 1e6)) == []
