"""Who follows the events of several machines misses nothing that happens from then on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.errors import AgentUnreachable, RemoteError
from otter_ctl.spread import Fleet
from otter_ctl.topology.model import Machine

NAMES = ("m1", "m2")


class Agent(AgentClient):
    """Tells those who listen; whoever comes later hears nothing of it."""

    def __init__(self, name: str) -> None:
        super().__init__(Path("/nowhere"), name)
        self.listeners: list[asyncio.Queue[api.Event]] = []
        self.silent = False

    def happens(self, text: str) -> None:
        for listener in self.listeners:
            listener.put_nowait(
                api.Event(seq=1, time=1.0, mesh="m", kind="module", subject="x", text=text)
            )

    @contextlib.asynccontextmanager
    async def events(self, **_: Any) -> AsyncIterator[AsyncIterator[api.Event]]:
        if self.silent:
            raise AgentUnreachable(self.machine, "agent.sock", "no answer")
        heard: asyncio.Queue[api.Event] = asyncio.Queue()
        self.listeners.append(heard)

        async def all_() -> AsyncIterator[api.Event]:
            while True:
                yield await heard.get()

        yield all_()


async def test_what_happens_before_the_first_look_is_heard() -> None:
    agents = {name: Agent(name) for name in NAMES}
    fleet = Fleet(Path("/nowhere"), {name: Machine(name=name) for name in NAMES})
    fleet.agents._clients.update(agents)
    fleet.places._where["m"] = NAMES
    async with fleet.events(mesh="m", follow=True) as events:
        agents["m2"].happens("stopped")
        event = await anext(events)
    assert (event.machine, event.text) == ("m2", "stopped")


async def test_one_that_is_silent_at_first_is_told_of_and_hides_nothing() -> None:
    agents = {name: Agent(name) for name in NAMES}
    agents["m1"].silent = True
    fleet = Fleet(Path("/nowhere"), {name: Machine(name=name) for name in NAMES})
    fleet.agents._clients.update(agents)
    fleet.places._where["m"] = NAMES
    async with fleet.events(mesh="m", follow=True) as events:
        agents["m2"].happens("stopped")
        said = {event.machine: event async for event, _ in _some(events, 2)}
    assert said["m2"].text == "stopped"
    assert said["m1"].state == "lost"


async def _some(events: AsyncIterator[api.Event], count: int) -> AsyncIterator[Any]:
    for number in range(count):
        yield await anext(events), number


async def test_of_a_mesh_only_its_machines_are_asked_for_gpus() -> None:
    """Others of a site file may be off, and take a minute to say nothing."""

    class Gpus(Agent):
        async def gpus(self, mesh: str | None = None, **_: Any) -> api.GpuStates:
            asked.append(self.machine)
            return {self.machine: api.GpuState(why="none")}

    asked: list[str] = []
    agents = {name: Gpus(name) for name in ("m1", "m2", "m3")}
    fleet = Fleet(Path("/nowhere"), {name: Machine(name=name) for name in agents})
    fleet.agents._clients.update({"local": Gpus("local"), **agents})
    fleet.places._where["m"] = NAMES
    assert sorted(await fleet.gpus("m")) == sorted(asked) == ["m1", "m2"]
    assert sorted(await fleet.gpus()) == ["local", "m1", "m2", "m3"]
    asked.clear()
    assert [*await fleet.gpus(verify=True, machine="m3")] == asked == ["m3"]
    with pytest.raises(RemoteError, match="your site file knows no such machine"):
        await fleet.gpus(verify=True, machine="m4")
