"""Conditions that another machine looks at: its word is taken, once, and of the same run."""

from __future__ import annotations

import pytest

from net.conditions import Condition
from otter_agent import api
from otter_agent.timeline.judge import Memory
from otter_agent.timeline.watch import LATE_S, SAME_RUN_S, Watch

HERE = api.HostSpec(name="here", address="100.64.0.1", block="100.64.0.0/24")


def event(host: str, name: str = "one") -> api.TimelineEvent:
    when = Condition(kind="host", name=host, test="cpu_above", bound=0.5)
    return api.TimelineEvent(at_s=0.0, when=when, hosts=("here",), change={"cpu": 1.0}, text=name)


class Notes:
    """What is kept over lives, in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}

    def note(self, mesh: str, name: str) -> bytes | None:
        return self.kept.get((mesh, name))

    def put_note(self, mesh: str, name: str, body: bytes) -> None:
        self.kept[mesh, name] = body


class Nobody:
    """Sees nothing."""

    async def look(self, conditions):
        return [None for _ in conditions]


class World:
    """An agent's watch of a part of a mesh, with its timeline where it is put."""

    def __init__(self, *events: api.TimelineEvent) -> None:
        self.notes = Notes()
        self.position: float | None = 10.0
        away = (api.Away(machine="m2", hosts=("there",)),)
        timeline = api.TimelineSpec(events=events)
        self.spec = api.MeshSpec(
            name="m", run="r", hosts=(HERE,), machine="m1", away=away, timeline=timeline
        )
        self.changes = 0
        self.begin()

    def begin(self) -> None:
        """A life of the agent."""
        self.watch = Watch(self.spec, Nobody(), self.notes, lambda *_: None, lambda: self.position)
        self.watch.changed = self.count

    def count(self) -> None:
        self.changes += 1


THERE, MINE = event("there"), event("here", "two")


def test_what_is_heard_happens_when_it_is_heard_and_is_kept():
    world = World(THERE, MINE)
    assert [one.when for one in world.watch.statuses()] == [MINE.when.text]
    world.watch.hear({THERE.key: 9.8, MINE.key: 3.0, "unknown": 1.0}, 10.01)
    assert world.watch.fired == {THERE.key: 10.0}  # what it looks at itself nobody else tells
    assert world.watch.news() == {}
    assert world.changes == 1
    world.position = 11.0
    world.watch.hear({THERE.key: 9.8}, 11.0)  # it is told again and again
    assert (world.watch.fired, world.changes) == ({THERE.key: 10.0}, 1)
    world.begin()
    assert world.watch.fired == {THERE.key: 10.0}
    world.watch.hear({THERE.key: 10.9}, 11.0)
    assert world.watch.fired == {THERE.key: 11.0}


def test_what_is_heard_late_began_when_it_did():
    world = World(THERE)
    world.position = 10.0 + LATE_S
    world.watch.hear({THERE.key: 9.9}, world.position)
    assert world.watch.fired == {THERE.key: 9.9}


@pytest.mark.parametrize("theirs", [None, 10.0 + SAME_RUN_S + 0.1, 10.0 - SAME_RUN_S - 0.1])
def test_word_of_another_run_is_none(theirs):
    world = World(THERE)
    world.watch.hear({THERE.key: 9.9}, theirs)
    assert world.watch.fired == {}
    world.position = None
    world.watch.hear({THERE.key: 9.9}, 10.0)
    assert (world.watch.fired, world.changes) == ({}, 0)


def test_another_epoch_forgets_what_was_heard():
    world = World(THERE)
    world.watch.hear({THERE.key: 9.9}, 10.0)
    world.watch.begin_again()
    assert world.watch.fired == {}
    world.begin()
    assert world.watch.fired == {}


def test_what_an_earlier_version_has_kept_does_not_happen_again():
    """It called events by what they happen to as well."""
    world = World(THERE, MINE)
    former = api.digest(api.encode(MINE))[:16]
    assert former != MINE.key
    kept = {former: Memory(fired_s=3.0, fired=1, armed=False)}
    world.notes.put_note("m", "conditions", api.encode(kept))
    world.begin()
    assert world.watch.news() == {MINE.key: 3.0}
