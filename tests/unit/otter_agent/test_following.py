"""Nothing that a runtime reports or has is missed: exits while it is listed, what was removed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from helpers.world import HASTE, World, module, settled, spec, until, until_text

from otter_agent import api, following
from otter_agent.runtimes.base import Key
from otter_agent.runtimes.fake import FakeRuntime

KEY = Key("mesh", "m")


async def test_an_exit_while_it_is_listed_is_told(tmp_path, monkeypatch):
    """Listed anew it would be seen, too, but that is half a minute later."""
    monkeypatch.setattr(following, "SOON_S", 0.01)
    monkeypatch.setattr(following, "RELIST_S", 0.01)

    class Ends(FakeRuntime):
        """An instance ends when the listing has been made, and hasn't been handed over."""

        ending = False

        async def list(self):
            found = await super().list()
            if self.ending:
                self.ending = False
                monkeypatch.setattr(following, "RELIST_S", 3600)
                self.die(KEY, 3)
            return found

    world = World(tmp_path)
    world.runtime = Ends()
    async with world.agent() as agent:
        agent.put_mesh(spec(module(restart="no")))
        await settled(agent)
        world.runtime.ending = True
        assert (await until(agent, "mesh", "module", "failed")).text == "exited with 3"


async def test_an_exit_just_before_it_reports_again_is_seen_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(following, "RECONNECT_S", 0.01)
    monkeypatch.setattr(following, "SOON_S", 0.01)
    monkeypatch.setattr(following, "RELIST_S", 3600)

    class Late(FakeRuntime):
        """An instance ends before anybody listens."""

        ending = False

        async def watch(self):
            if self.ending:
                self.ending = False
                self.die(KEY, 3)
            async for instance in super().watch():
                yield instance

    world = World(tmp_path)
    world.runtime = Late()
    async with world.agent() as agent:
        agent.put_mesh(spec(module(restart="no")))
        await settled(agent)
        world.runtime.ending = True
        world.runtime.lose()
        assert (await until(agent, "mesh", "module", "failed")).text == "exited with 3"


@pytest.fixture
async def listed_often(tmp_path, monkeypatch):
    """What ended is started again after a minute: until then only listings see it."""
    monkeypatch.setattr(following, "SOON_S", 0.01)
    monkeypatch.setattr(following, "RELIST_S", 0.01)
    monkeypatch.setattr("helpers.world.HASTE", replace(HASTE, backoff_s=60.0))
    world = World(tmp_path)
    async with world.agent() as agent:
        yield world, agent


async def test_what_was_removed_before_it_starts_again_is_told_and_not_counted(listed_often):
    world, agent = listed_often
    agent.put_mesh(spec(module("m", "exit", "3", restart="always")))
    await until(agent, "mesh", "module", "restarting")
    del world.runtime.world.entries[KEY]
    await until_text(agent, "was removed from outside: made anew")
    (shown,) = agent.mesh("mesh").modules
    assert (shown.state, shown.restarts, shown.reason) == ("restarting", 1, "exited with 3")
    assert sum("made anew" in event.text for event in told(agent)) == 1


async def test_of_what_is_not_to_start_nothing_is_told(listed_often):
    world, agent = listed_often
    agent.put_mesh(spec(module()))
    await settled(agent)
    agent.order("mesh", "m", "stop", None)
    await until(agent, "mesh", "module", "stopped")
    del world.runtime.world.entries[KEY]
    calls = world.runtime.calls
    seen = calls["list"]
    while calls["list"] < seen + 3:
        await asyncio.sleep(0.01)
    assert not [event for event in told(agent) if "made anew" in event.text]


def told(agent) -> list[api.Event]:
    return agent._state.events(mesh="mesh", since=0)
