"""The agent with the fake runtime: the whole loop, from desired to actual."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess

import pytest
from helpers.world import BrokenImages, World, module, settled, spec, states, until
from msgspec.structs import replace

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.runtimes.base import Key, Phase
from otter_agent.state import State


async def test_from_nothing_to_ready_and_back(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module("a"), module("b")))
        status = await settled(agent)
        assert status.state == "ready"
        assert states(status) == {"a": "ready", "b": "ready"}
        agent.destroy_mesh("mesh")
        await until(agent, "mesh", "mesh", "destroyed")
        assert await world.runtime.list() == []
        with pytest.raises(AgentError, match="no mesh 'mesh'"):
            agent.mesh("mesh")
    assert not (world.layout.meshes / "mesh").exists()


async def test_the_same_again_restarts_nothing(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        before = await settled(agent)
        assert agent.put_mesh(spec(module())).generation == before.generation
        assert (await settled(agent)).modules[0].pid == before.modules[0].pid


async def test_only_what_changed_is_replaced_and_budgets_change_live(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module("a"), module("b")))
        before = {m.name: m.pid for m in (await settled(agent)).modules}
        agent.put_mesh(spec(module("a", cpu=0.5), module("b", env={"X": "1"})))
        after = {m.name: m.pid for m in (await settled(agent)).modules}
        assert after["a"] == before["a"]
        assert after["b"] != before["b"]


@pytest.mark.slow
async def test_a_module_that_is_gone_from_the_spec_is_removed(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module("a"), module("b")))
        await settled(agent)
        agent.put_mesh(spec(module("a")))
        assert states(await settled(agent)) == {"a": "ready"}
        assert [i.key for i in await world.runtime.list()] == [Key("mesh", "a")]
        agent.put_mesh(spec(module("a"), module("b")))
        assert states(await settled(agent)) == {"a": "ready", "b": "ready"}


async def test_done_when_it_exits_with_zero(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module("m", "exit", "0")))
        assert states(await settled(agent)) == {"m": "done"}


async def test_who_has_ended_is_not_ready_before_word_of_it_comes(tmp_path):
    """An engine's word takes its time; the process is what it is."""
    world = World(tmp_path)
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    world.runtime.world.pids = itertools.chain([zombie.pid], world.runtime.world.pids)
    async with world.agent() as agent:
        agent.put_mesh(spec(module("m", restart="no")))
        await until(agent, "mesh", "module", "running")
        agent.put_mesh(spec(module("m", restart="no"), module("other")))
        assert (await until(agent, "mesh", "module", "ready")).subject == "other"
        world.runtime.die(Key("mesh", "m"), 127)
        assert states(await settled(agent)) == {"m": "failed", "other": "ready"}
    zombie.wait()


@pytest.mark.slow
async def test_a_crash_loop_ends_failed_with_its_last_words(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module("m", "print", "boom", "exit", "3")))
        status = await settled(agent)
        (found,) = status.modules
        assert status.state == "degraded"
        assert (found.state, found.exit_code, found.restarts) == ("failed", 3, 4)
        assert found.log_tail[-1] == "boom"


async def test_a_build_that_fails_harms_no_other_and_is_tried_again_by_the_next_apply(tmp_path):
    images = BrokenImages()
    world = World(tmp_path, images)
    async with world.agent() as agent:
        agent.put_mesh(spec(module("broken"), module("good")))
        status = await settled(agent)
        found = {m.name: m for m in status.modules}
        assert (found["good"].state, found["broken"].state) == ("ready", "failed")
        assert "step 3 exited with 1" in found["broken"].reason
        assert found["broken"].log_tail == ("Step 3/4 : RUN false", "exit status 1")
        assert "RUN false" in world.layout.module("mesh", "broken").build_log.read_text()
        images.broken = False
        agent.put_mesh(spec(module("broken"), module("good")))
        assert states(await settled(agent)) == {"broken": "ready", "good": "ready"}


async def test_what_has_failed_or_was_stopped_stays_so_where_no_new_try_is_asked_for(tmp_path):
    """Another spec, of the same modules: as when a mesh has left another machine."""
    images = BrokenImages()
    world = World(tmp_path, images)
    async with world.agent() as agent:
        agent.put_mesh(spec(module("broken"), module("good"), module("held")))
        await settled(agent)
        agent.order("mesh", "held", "stop", None)
        await until(agent, "mesh", "module", "stopped")
        images.broken = False
        before = await settled(agent)
        same = replace(before.spec, left=("gone",))
        assert agent.put_mesh(same, retry=False).generation == before.generation + 1
        after = await settled(agent)
        assert states(after) == {"broken": "failed", "good": "ready", "held": "stopped"}
        assert [m.reason for m in after.modules] == [m.reason for m in before.modules]
        agent.put_mesh(same)
        assert set(states(await settled(agent)).values()) == {"ready"}


@pytest.mark.parametrize("op", ["create", "start", "release", "update"])
async def test_an_engine_fault_is_tried_again(tmp_path, op):
    world = World(tmp_path)
    world.runtime.faults.fail[op] = {1}
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        if op == "update":
            await settled(agent)
            agent.put_mesh(spec(module(cpu=0.5)))
        assert states(await settled(agent)) == {"m": "ready"}


async def test_a_removal_that_fails_is_tried_again(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        await settled(agent)
        world.runtime.faults.fail["remove"] = {1}
        agent.destroy_mesh("mesh")
        await until(agent, "mesh", "mesh", "destroyed")
        assert await world.runtime.list() == []


@pytest.mark.slow
async def test_an_engine_that_hangs_is_told_and_tried_again(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        world.runtime.faults.delay_s = 3600
        agent.put_mesh(spec(module()))
        async for batch in agent.events(mesh="mesh", since=0, follow=True):
            if any("no answer within" in event.text for event in batch):
                break
        world.runtime.faults.delay_s = 0
        agent.put_mesh(spec(module()))
        while states(await settled(agent)) != {"m": "ready"}:
            agent.put_mesh(spec(module()))


async def test_a_new_agent_adopts_what_runs(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        pid = (await settled(agent)).modules[0].pid
    async with world.agent() as agent:
        status = await settled(agent)
        assert (status.modules[0].pid, status.modules[0].restarts) == (pid, 0)


async def test_a_new_agent_finishes_a_removal(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        await settled(agent)
        world.runtime.faults.fail["remove"] = {1, 2, 3}
        agent.destroy_mesh("mesh")
    async with world.agent() as agent:
        await until(agent, "mesh", "mesh", "destroyed")
        assert await world.runtime.list() == []


async def test_a_new_agent_removes_what_belongs_to_no_mesh(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        await settled(agent)
    state = State(world.layout.database)
    state.forget_mesh("mesh")
    state.close()
    async with world.agent():
        assert await world.runtime.list() == []
    assert not (world.layout.meshes / "mesh").exists()


async def test_killed_behind_its_back_it_comes_back(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        first = (await settled(agent)).modules[0]
        await world.runtime.stop(Key("mesh", "m"), 0.0)
        await until(agent, "mesh", "module", "restarting")
        last = agent.last_event()
        await until(agent, "mesh", "module", "ready", last)
        found = agent.mesh("mesh").modules[0]
        assert found.restarts == 1
        assert found.pid != first.pid


async def test_a_folder_in_the_place_of_a_modules_word_keeps_it_from_no_start(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        await settled(agent)
        word = world.layout.module("mesh", "m").ready
        (word / "folder").mkdir(parents=True)
        await world.runtime.stop(Key("mesh", "m"), 0.0)
        await until(agent, "mesh", "module", "restarting")
        await until(agent, "mesh", "module", "ready", agent.last_event())
        assert agent.mesh("mesh").modules[0].restarts == 1
        assert not word.exists()


async def test_removed_behind_its_back_it_is_made_anew(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        first = (await settled(agent)).modules[0]
        last = agent.last_event()
        await world.runtime.stop(Key("mesh", "m"), 0.0)
        await world.runtime.remove(Key("mesh", "m"))
        await until(agent, "mesh", "module", "ready", last)
        assert agent.mesh("mesh").modules[0].pid != first.pid


@pytest.mark.slow
async def test_idle_exit_only_without_meshes(tmp_path):
    world = World(tmp_path)
    async with world.agent(idle=0.05) as agent:
        agent.put_mesh(spec(module()))
        await settled(agent)
        assert not world.stopped.is_set()
        agent.destroy_mesh("mesh")
        await world.stopped.wait()


async def test_one_that_took_long_to_begin_has_not_been_idle_for_as_long(tmp_path):
    world = World(tmp_path)
    world.runtime.faults.delay_s = 0.1
    async with world.agent(idle=0.05):
        assert not world.stopped.is_set()


async def test_missing_uploads_are_told_not_started(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        file = api.File(target="x", blob="0" * 64)
        with pytest.raises(AgentError, match="uploads are missing"):
            agent.put_mesh(spec(module(files=(file,))))
        assert agent.meshes() == []


async def test_files_and_wiring_reach_the_module(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        data = b"hello"
        blob = world.layout.blobs / api.digest(data)
        blob.parent.mkdir(parents=True)
        blob.write_bytes(data)
        file = api.File(target="in/x.txt", blob=blob.name, executable=True)
        agent.put_mesh(spec(module(files=(file,))))
        await settled(agent)
        paths = world.layout.module("mesh", "m")
        assert (paths.work / "in" / "x.txt").read_bytes() == data
        assert api.decode(paths.wiring_file.read_bytes(), api.Wiring).module == "m"
        assert "100.64.0.2 m" in paths.hosts.read_text()


async def test_phase_of_a_held_instance_is_finished(tmp_path):
    """An agent that died between start and release: the next one releases."""
    world = World(tmp_path)
    world.runtime.faults.fail["release"] = {1, 2, 3, 4}
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        await until(agent, "mesh", "module", "starting")
        while not [i for i in await world.runtime.list() if i.phase is Phase.HELD]:
            await asyncio.sleep(0)
    world.runtime.faults.fail.clear()
    async with world.agent() as agent:
        assert states(await settled(agent)) == {"m": "ready"}
