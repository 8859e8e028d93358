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


def test_what_was_told_is_kept_and_a_turn_s_end_after_the_file_s_is_no_error(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        wrong: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: wrong.append(what))
        state = State(tmp_path / "state.sqlite")
        state.add_event(1.0, "m", "module", "x", "text")
        told = state.events(mesh=None, since=0)
        killed = State(tmp_path / "state.sqlite")  # what the next life finds
        assert killed.events(mesh=None, since=0) == told != []
        killed.close()
        state.add_event(2.0, "m", "module", "x", "text")
        state.close()
        await asyncio.sleep(0)
        assert wrong == []

    asyncio.run(work())


@pytest.mark.slow
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
