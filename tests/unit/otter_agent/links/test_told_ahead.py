"""Whoever makes changes at their time: ready before the first, and told nothing in vain."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from net.links.changes import Change
from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.links.book import LinkBook, Planned
from otter_agent.links.choose import Choice
from otter_agent.links.fake import FakeLinks
from otter_agent.links.planning import PlanningThread
from otter_agent.links.ways import Way
from otter_agent.state import State

RADIO = LinkSpec(delay_s=0.02, rate_bps=2e7)
SPEC = api.MeshSpec(
    name="m",
    run="r",
    hosts=tuple(api.HostSpec(name=n, address="100.64.0.1", block="100.64.0.0/24") for n in "ab"),
    links=(api.Link(name="radio", a="a", b="b", forward=RADIO, reverse=RADIO),),
)


class Noting(PlanningThread):
    """Notes what it is told, in order."""

    def __init__(self, driver: FakeLinks) -> None:
        super().__init__(driver)
        self.driver = driver
        self.said: list[str] = []

    def expect(self) -> None:
        self.said.append(f"expect, with {len(self.driver.done)} made")

    def play(self, mesh: str, parts: Any) -> Any:
        self.said.extend("later" if part.now is None else "now" for part in parts.values())
        return super().play(mesh, parts)


def world(path: Path) -> tuple[LinkBook, Noting]:
    driver = FakeLinks(plans=True)
    planner = driver._planner = Noting(driver)
    book = LinkBook(Choice(driver=driver), "id", SPEC, State(path), lambda *said, **more: None)
    return book, planner


def make(book: LinkBook) -> None:
    """As `Network.converge` does."""
    book.kinds()
    book.devices_are_there()


def test_who_makes_changes_is_ready_before_the_first_where_some_will_come(tmp_path: Path) -> None:
    book, planner = world(tmp_path / "state.db")
    make(book)
    assert planner.said == ["now", "now"]
    book.expect(["radio", "unknown"])
    make(book)
    assert planner.said[2:] == ["now", "now", "expect, with 2 made"]


async def test_what_is_told_ahead_isn_t_taken_back_by_what_was_asked_before(tmp_path: Path) -> None:
    """All that is asked counts as changed at first, though devices were made as asked."""
    book, planner = world(tmp_path / "state.db")
    make(book)
    way = Way("radio", "a", "b")
    await book.plan([Planned(way, time.monotonic() + 60.0, Change.of(delay_s=0.1))])
    assert book.planned() == {way}
    assert planner.said.count("later") == 1
    assert planner.said[-1] == "later"
