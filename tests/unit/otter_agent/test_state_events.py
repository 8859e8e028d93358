"""What an agent keeps of events: one write for those of a moment, none to tell them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from otter_agent.state import RECENT, State


def test_events_are_told_at_once_and_kept_by_the_end_of_the_turn(tmp_path: Path) -> None:
    """Many at once are one write, and who follows needs no file."""

    async def work() -> None:
        state = State(tmp_path / "state.sqlite")
        made = [
            state.add_event(float(n), "m", "module", f"x{n}", "text") for n in range(RECENT + 5)
        ]
        assert [event.seq for event in made] == list(range(1, RECENT + 6))
        assert state.events(mesh="m", since=made[-3].seq) == made[-2:]
        assert state.events(mesh="other", since=made[-3].seq) == []
        assert state.last_event() == RECENT + 5
        await asyncio.sleep(0)  # the turn ends; nobody says goodbye
        second = State(tmp_path / "state.sqlite")
        assert second.events(mesh=None, since=0) == made
        assert second.last_event() == RECENT + 5
        second.close()
        assert state.events(mesh="m", since=0, limit=7) == made[:7]  # older than what is at hand
        state.close()

    asyncio.run(work())


def test_the_oldest_events_go_also_when_many_come_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otter_agent.state.KEEP_EVENTS", 100)
    state = State(tmp_path / "state.sqlite")
    for n in range(1000):
        state.add_event(float(n), "m", "module", "x", "text")
    state.close()
    again = State(tmp_path / "state.sqlite")
    found = again.events(mesh=None, since=0)
    assert [found[0].seq, found[-1].seq] == [901, 1000]
    again.close()
