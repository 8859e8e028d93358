"""Limits of modules changed by hand: the agent's whole loop, on the fake runtime."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from helpers.world import World, module, settled, spec, until, until_text

from otter_agent import api
from otter_agent.agent import Agent
from otter_agent.budgets.asking import resolve
from otter_agent.budgets.book import NO_GROUPS, BudgetBook
from otter_agent.budgets.subjects import Subject
from otter_agent.cgroups.ungrouped import Ungrouped
from otter_agent.errors import AgentError
from otter_agent.layout import Layout
from otter_agent.runtimes.base import Key
from otter_agent.state import State

A = Key("mesh", "a")


async def shape(agent: Agent, name: str = "a", **more: Any) -> list[api.BudgetStatus]:
    values = {k: more.pop(k) for k in ("cpu", "memory_bytes") if k in more}
    change = api.BudgetChange(kind="module", name=name, set=values, **more)
    return await agent.shape_budgets("mesh", [change], None)


def budget(world: World) -> api.Budget:
    return world.runtime.world.entries[A].budget


async def test_only_what_is_named_changes_and_a_reset_undoes_it(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module("a", cpu=1.0, memory_bytes=1 << 30), module("b")))
        before = [m.pid for m in (await settled(agent)).modules]
        (told,) = await shape(agent, cpu=0.5)
        assert (told.asked.cpu, told.asked.memory_bytes) == (0.5, 1 << 30)
        assert told.layers["topology"] == {"cpu": 1.0, "memory_bytes": 1 << 30}
        assert told.layers["shape"] == {"cpu": 0.5}
        assert budget(world).cpu == 0.5  # in force when the call returns
        await shape(agent, memory_bytes=None)
        assert budget(world) == api.Budget(cpu=0.5)
        assert agent.modules("mesh")[0].asked == api.Budget(cpu=0.5)
        await shape(agent, reset=True)
        assert budget(world) == api.Budget(cpu=1.0, memory_bytes=1 << 30)
        assert [m.pid for m in agent.modules("mesh")] == before


async def test_modules_are_told_to_compute_with_the_whole_cores_of_theirs_or_their_hosts(tmp_path):
    world = World(tmp_path)
    asked = spec(module("a", cpu=2.9), module("b"), module("c", cpu=0.5))
    host = msgspec.structs.replace(asked.hosts[0], cpu=4.0)
    async with world.agent() as agent:
        agent.put_mesh(msgspec.structs.replace(asked, hosts=(host,), overcommit=True))
        await settled(agent)
        entries = world.runtime.world.entries
        told = {key.module: entry.work.threads for key, entry in entries.items()}
        assert told == {"a": 2, "b": 4, "c": 1}


@pytest.mark.slow
async def test_a_change_outlives_the_agent_the_module_and_another_apply(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module("a", cpu=1.0)))
        await settled(agent)
        await shape(agent, cpu=0.5)
    async with world.agent() as agent:
        await settled(agent)
        assert budget(world).cpu == 0.5
        agent.order("mesh", "a", "restart", None)
        await until(agent, "mesh", "module", "ready", agent.last_event())
        assert budget(world).cpu == 0.5
        agent.put_mesh(spec(module("a", "again", cpu=2.0)))
        await settled(agent)
        assert budget(world).cpu == 0.5
        await shape(agent, reset=True)
        assert budget(world).cpu == 2.0


async def test_a_lease_ends_by_itself_also_while_no_agent_was_there(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module("a", cpu=1.0)))
        await settled(agent)
        (told,) = await shape(agent, cpu=0.5, for_s=0.05)
        assert told.reverts_in_s is not None
        event = await until_text(agent, "is over")
        assert (event.kind, event.subject, event.state) == ("module", "a", "ended")
        assert budget(world).cpu == 1.0
        await shape(agent, cpu=0.25, for_s=0.001)
        budget_then = budget(world).cpu
    assert budget_then in (0.25, 1.0)
    async with world.agent() as agent:
        await settled(agent)
        assert budget(world).cpu == 1.0
        assert agent.modules("mesh")[0].layers == {"topology": {"cpu": 1.0}}


async def test_what_is_refused_is_as_if_it_had_not_been_asked(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module("a", cpu=1.0), module("b", cpu=1.0)))
        await settled(agent)
        await shape(agent, cpu=0.75)
        world.runtime.faults.fail["update"] = {world.runtime.calls["update"] + 1}
        (told,) = await shape(agent, cpu=0.5)
        assert told.error
        assert (told.asked.cpu, budget(world).cpu) == (0.75, 0.75)
        assert (await until(agent, "mesh", "module", "failed")).subject == "a"
        assert agent.mesh("mesh").state == "ready"


async def test_one_that_is_stopped_has_it_from_its_next_start_on(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module("a", cpu=1.0)))
        await settled(agent)
        agent.order("mesh", "a", "stop", None)
        await until(agent, "mesh", "module", "stopped")
        await shape(agent, cpu=0.5)
        agent.order("mesh", "a", "start", None)
        await until(agent, "mesh", "module", "running", agent.last_event())
        assert budget(world).cpu == 0.5


async def test_hosts_get_no_more_than_the_machine_has(tmp_path):
    async with World(tmp_path).agent() as agent:
        agent.put_mesh(spec(module("a")))
        await settled(agent)
        change = api.BudgetChange(kind="host", name="h", set={"cpu": 9000.0})
        with pytest.raises(AgentError, match="don't fit this machine") as refused:
            await agent.shape_budgets("mesh", [change], None)
        assert refused.value.code == "overcommit"
        assert agent.mesh("mesh").hosts[0].asked == api.Budget()
        (told,) = await agent.shape_budgets(
            "mesh", [api.BudgetChange(kind="host", name="h", set={"cpu": 0.5})], None
        )
        assert "no cgroups" in told.error  # and so it isn't asked any more
        assert agent.mesh("mesh").hosts[0].asked == api.Budget()


async def test_without_control_groups_nothing_is_taken_for_limited(tmp_path):
    layout, state = Layout.at(tmp_path), State(tmp_path / "state.sqlite")
    mesh = spec(module("a"))
    book = BudgetBook(Ungrouped(layout), mesh, state, lambda *told: None)
    changes = [api.BudgetChange(kind=kind, set={"cpu": 0.5}) for kind in ("host", "module")]
    failed = await book.shape(resolve(changes, book.all(), "mesh"))
    assert set(failed.values()) == {NO_GROUPS}
    assert [book.of(subject) for subject in book.all()] == [api.Budget(), api.Budget()]
    state.close()


async def test_a_change_meanwhile_is_not_taken_back_with_what_is_refused(tmp_path):
    state = State(tmp_path / "state.sqlite")
    book = BudgetBook(None, spec(module("a")), state, lambda *told: None)
    refusing, refused = asyncio.Event(), asyncio.Event()

    async def limit(name: str) -> str:
        if book.of(Subject("module", name)).memory_bytes != 1:
            return ""
        refusing.set()
        await refused.wait()
        return "it uses more"

    book.limit = limit

    async def change(**values: Any) -> dict[Subject, str]:
        asked = api.BudgetChange(kind="module", name="a", set=values)
        return await book.shape(resolve([asked], book.all(), "mesh"))

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        first = group.create_task(change(memory_bytes=1))
        await refusing.wait()
        second = group.create_task(change(cpu=0.5))
        await asyncio.sleep(0)
        refused.set()
    a = Subject("module", "a")
    assert (first.result()[a], second.result()[a]) == ("it uses more", "")
    assert book.of(a) == api.Budget(cpu=0.5)
    state.close()
