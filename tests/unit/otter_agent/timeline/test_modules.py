"""Events of modules, and on conditions: the agent's whole loop, on the fake runtime."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from helpers.world import DEADLINE_S, World, each, module, settled, spec, until, until_text

from net.conditions import Condition
from otter_agent import api
from otter_agent.agent import Agent
from otter_agent.links import clock
from otter_agent.runtimes.base import Key
from otter_agent.timeline.kept import Kept, encode

A = Key("mesh", "a")
TOLD_S = 1.05
"""Ends are told at most a second after beginnings."""


def event(at_s: float = 0.0, **more: Any) -> api.TimelineEvent:
    more.setdefault("modules", ("a",))
    more.setdefault("text", f"a: {more.get('change') or more.get('action')}")
    return api.TimelineEvent(at_s=at_s, **more)


def mesh(*events: api.TimelineEvent, **more: Any) -> api.MeshSpec:
    made = spec(module("a", **more), module("b"))
    return msgspec.structs.replace(made, timeline=api.TimelineSpec(events=events))


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.002)


def state(agent: Agent, name: str = "a") -> str:
    return {m.name: m.state for m in agent.modules("mesh")}[name]


async def module_is(agent: Agent, state: str, since: int = 0) -> api.Event:
    async for event in each(agent, "mesh", since):
        if (event.kind, event.subject, event.state) == ("module", "a", state):
            return event
    raise AssertionError("events ended")


@pytest.mark.slow
async def test_one_is_stopped_for_a_time_and_started_again(tmp_path):
    stop = event(change={"run": "stopped"}, for_s=1.0, text="a: stop for 1s")
    async with World(tmp_path).agent() as agent:
        agent.put_mesh(mesh(stop))
        stopped = await module_is(agent, "stopped")
        await module_is(agent, "ready", stopped.seq)
        told = [e for e in agent._state.events(mesh="mesh", since=0) if "timeline: " in e.text]
        assert (told[0].kind, told[0].subject, told[0].state) == ("module", "a", "changed")
        asked = agent._state.events(mesh="mesh", since=0)
        assert any(e.text == "stop was asked for by the timeline" for e in asked)


@pytest.mark.slow
async def test_one_that_somebody_stopped_stays_so_when_the_event_is_over(tmp_path):
    async with World(tmp_path).agent() as agent:
        agent.put_mesh(mesh(event(0.05, change={"run": "stopped"}, for_s=TOLD_S)))
        agent.order("mesh", "a", "stop", None)
        agent.order_timeline("mesh", "start", None)
        await until_text(agent, "is over")
        await until(agent, "mesh", "timeline", "running")
        assert state(agent) == "stopped"


@pytest.mark.slow
async def test_what_holds_is_ordered_by_the_next_agent_and_nothing_twice(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(mesh(event(change={"run": "stopped"}, for_s=3600.0)))
        await module_is(agent, "stopped")
        agent.order("mesh", "a", "start", None)  # by hand: holds over the event
        await module_is(agent, "ready", agent.last_event())
    async with world.agent() as agent:
        await settled(agent)
        assert state(agent) == "ready"
        since = agent.last_event()
        agent.order_timeline("mesh", "reset", None)
        await eventually(lambda: agent._state.note("mesh", "runs") == b"{}")
        agent.order_timeline("mesh", "start", None)
        await module_is(agent, "stopped", since)


@pytest.mark.slow
async def test_one_is_paused_and_goes_on(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(mesh(event(change={"run": "paused"}, for_s=TOLD_S)))
        paused = await until_text(agent, "paused by the timeline")
        assert (paused.subject, paused.state) == ("a", "ready")
        await until_text(agent, "is over")
        assert world.runtime.world.entries[A].signals == [signal.SIGSTOP, signal.SIGCONT]
        assert agent.modules("mesh")[0].reason == ""


async def test_what_is_paused_goes_on_to_be_stopped(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(mesh(event(change={"run": "paused"})))
        await until_text(agent, "paused by the timeline")
        agent.order("mesh", "a", "stop", None)
        await module_is(agent, "stopped")
        assert world.runtime.world.entries[A].signals == [signal.SIGSTOP, signal.SIGCONT]


@pytest.mark.parametrize(("action", "said"), [("kill", "killed by signal 9"), ("restart", "")])
async def test_one_is_killed_or_restarted(tmp_path, action, said):
    async with World(tmp_path).agent() as agent:
        agent.put_mesh(mesh(event(0.05, action=action)))
        ready = await module_is(agent, "ready")
        await module_is(agent, "ready", ready.seq)
        assert agent.modules("mesh")[0].restarts == 1
        assert any(said in e.text for e in agent._state.events(mesh="mesh", since=0))


@pytest.mark.slow
async def test_limits_of_one_follow_events_and_their_ramp(tmp_path):
    world = World(tmp_path)
    ramp = event(change={"cpu": 0.5}, ramp_s=0.2, text="a: cpu 0.5 by a ramp of 0.2s")
    async with world.agent() as agent:
        agent.put_mesh(mesh(ramp, cpu=1.0))
        await settled(agent)

        def over() -> bool:  # a busy machine passes some over, but not the last one
            last = agent.player("mesh").status(last=1).last
            return bool(last) and last[0].change == {"cpu": 0.5}

        await eventually(over)
        assert world.runtime.budget(A).cpu == 0.5
        found = {change.change["cpu"] for change in agent.player("mesh").status(last=100).last}
        assert {0.5} <= found <= {1.0, 0.875, 0.75, 0.625, 0.5}
        assert agent.modules("mesh")[0].layers["timeline"] == {"cpu": 0.5}


def when(**more: Any) -> Condition:
    return Condition(**{"kind": "module", "name": "b", "test": "state", "text": "it is so", **more})


@pytest.mark.slow
async def test_an_event_waits_for_its_condition_and_tells_what_fired_it(tmp_path):
    world = World(tmp_path)
    waits = event(change={"run": "stopped"}, when=when(state="stopped"), text="a: stop")
    async with world.agent() as agent:
        agent.put_mesh(mesh(waits))
        await settled(agent)
        assert agent.player("mesh").status().conditions[0].fired_s is None
        agent.order("mesh", "b", "stop", None)
        fired = await until(agent, "mesh", "timeline", "fired")
        assert fired.data["value"] == "stopped"
        assert "a: stop: as it is so; it is stopped" in fired.text
        await module_is(agent, "stopped")
        (told,) = agent.player("mesh").status().conditions
        assert (told.fired, told.fired_s) == (1, fired.data["position_s"])
    async with world.agent() as agent:  # what has happened has happened
        await settled(agent)
        assert state(agent) == "stopped"
        assert agent.player("mesh").status().conditions[0].fired_s == told.fired_s
        since = agent.last_event()
        agent.order("mesh", "b", "start", None)
        agent.order_timeline("mesh", "reset", None)
        agent.order_timeline("mesh", "start", None)
        await module_is(agent, "ready", since)
        assert agent.player("mesh").status().conditions[0].fired == 0


@pytest.mark.slow
async def test_a_strike_on_a_condition_happens_each_time(tmp_path):
    again = event(action="restart", when=when(state="stopped", again=True), text="a: restart")
    async with World(tmp_path).agent() as agent:
        agent.put_mesh(mesh(again))
        await settled(agent)
        for times in (1, 2):
            since = agent.last_event()
            agent.order("mesh", "b", "stop", None)
            await module_is(agent, "ready", since)
            assert agent.modules("mesh")[0].restarts == times
            since = agent.last_event()
            agent.order("mesh", "b", "start", None)
            async for told in each(agent, "mesh", since):
                if (told.subject, told.state) == ("b", "ready"):
                    break
            # It may fire again once it was seen to be otherwise.
            await eventually(lambda: agent.player("mesh").status().conditions[0].value == "ready")


async def test_what_was_over_while_no_agent_was_there_is_ended_by_the_next(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(mesh(event(change={"run": "stopped"}, for_s=3600.0)))
        await module_is(agent, "stopped")
        await eventually(lambda: b"stopped" in (agent._state.note("mesh", "runs") or b""))
        since = agent.last_event()
        over = Kept(state="running", zero=clock.now().after(-3601.0))
        agent._state.put_timeline("mesh", encode(over))
    async with world.agent() as agent:
        await module_is(agent, "ready", since)


@pytest.mark.slow
async def test_one_that_was_stopped_by_an_agent_that_was_killed_then_is_started_again(tmp_path):
    """It was stopped, and nobody had the time to write down that it is."""
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(mesh(event(change={"run": "stopped"}, for_s=3600.0)))
        kept = agent._state.put_note
        notes: list[bytes] = []
        agent._state.put_note = lambda mesh, name, body: notes.append(body)
        await module_is(agent, "stopped")
        await eventually(lambda: len(notes) == 2)
        kept("mesh", "runs", notes[0])
        since = agent.last_event()
    async with world.agent() as agent:
        await settled(agent)
        assert state(agent) == "stopped"
        agent.order_timeline("mesh", "reset", None)
        await module_is(agent, "ready", since)


@pytest.mark.slow
async def test_what_was_asked_of_one_that_is_gone_is_forgotten_by_the_next_agent(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(mesh(event(0.05, change={"run": "stopped"}, for_s=3600.0)))
        agent.order("mesh", "a", "stop", None)
        agent.order_timeline("mesh", "start", None)
        await eventually(lambda: b"stopped" in (agent._state.note("mesh", "runs") or b""))
        agent.put_mesh(spec(module("b")))
        await settled(agent)
    async with world.agent() as agent:
        await settled(agent)
        told = agent._state.events(mesh="mesh", since=0)
        assert not [e for e in told if (e.kind, e.state) == ("timeline", "failed")]
