"""The agent with the fake runtime: the whole loop, in memory but for sqlite and folders."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest

from otter_agent import api
from otter_agent.agent import Agent
from otter_agent.errors import AgentError, ImageError
from otter_agent.images.fake import FakeImages
from otter_agent.layout import Layout
from otter_agent.machine import Config, Machine
from otter_agent.network import Network
from otter_agent.reconcile import Patience
from otter_agent.runtimes.base import Key, Phase
from otter_agent.runtimes.fake import FakeRuntime
from otter_agent.state import State

DEADLINE_S = 20.0
HASTE = Patience(backoff_s=0.01, moment_s=0.002, ground_s=0.02, step_s=1.0)


class BrokenImages(FakeImages):
    """An image store in which one module's build fails while `broken`."""

    broken = True

    async def ensure(self, module, log):
        if module.name == "broken" and self.broken:
            log("Step 3/4 : RUN false")
            error = ImageError("fake", "build", module.name, "step 3 exited with 1")
            error.tail = ("Step 3/4 : RUN false", "exit status 1")
            raise error
        return await super().ensure(module, log)


def spec(*modules: api.ModuleSpec, name: str = "mesh") -> api.MeshSpec:
    host = api.HostSpec(name="h", address="100.64.0.1", block="100.64.0.0/24")
    names = {"h": host.address} | {m.name: m.address for m in modules}
    return api.MeshSpec(name=name, run="r", hosts=(host,), modules=modules, names=names)


def module(name: str = "m", *words: str, **more) -> api.ModuleSpec:
    return api.ModuleSpec(
        name=name, host="h", address="100.64.0.2", runtime="fake", command=words or ("run",), **more
    )


class World:
    """An agent that can be started and ended as often as a test likes; its runtime lives on."""

    def __init__(self, tmp_path, images=None):
        self.layout = Layout.at(tmp_path)
        self.runtime = FakeRuntime()
        self.images = images or FakeImages()

    @asynccontextmanager
    async def agent(self, idle=None):
        state = State(self.layout.database)
        machine = Machine(
            layout=self.layout, config=Config(idle_exit_s=idle, patience=HASTE),
            agent_id=state.agent_id(),
            network=Network(state.agent_id()), cgroups=None, runtimes={"fake": self.runtime},
            stores={"fake": self.images}, problems={"network": "none here"},
        )  # fmt: skip
        started, stop = asyncio.Event(), asyncio.Event()
        agent = Agent(machine, state, on_idle=stop.set)
        self.stopped = stop
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.serve(started, stop))
            await started.wait()
            try:
                async with asyncio.timeout(DEADLINE_S):
                    yield agent
            finally:
                stop.set()
        state.close()


async def until(agent: Agent, mesh: str, kind: str, state: str, since: int = 0) -> api.Event:
    async for event in agent.events(mesh=mesh, since=since, follow=True):
        if (event.kind, event.state) == (kind, state):
            return event
    raise AssertionError("events ended")


async def settled(agent: Agent, mesh: str = "mesh") -> api.MeshStatus:
    since = 0
    while True:
        status = agent.mesh(mesh)
        if status.settled == status.generation:
            return status
        since = (await until(agent, mesh, "mesh", "settled", since)).seq


def states(status: api.MeshStatus) -> dict[str, str]:
    return {m.name: m.state for m in status.modules}


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


async def test_an_engine_that_hangs_is_told_and_tried_again(tmp_path):
    world = World(tmp_path)
    async with world.agent() as agent:
        world.runtime.faults.delay_s = 3600
        agent.put_mesh(spec(module()))
        async for event in agent.events(mesh="mesh", since=0, follow=True):
            if "no answer within" in event.text:
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


async def test_idle_exit_only_without_meshes(tmp_path):
    world = World(tmp_path)
    async with world.agent(idle=0.05) as agent:
        agent.put_mesh(spec(module()))
        await settled(agent)
        assert not world.stopped.is_set()
        agent.destroy_mesh("mesh")
        await world.stopped.wait()


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


async def until_text(agent: Agent, text: str, since: int = 0) -> api.Event:
    async for event in agent.events(mesh="mesh", since=since, follow=True):
        if text in event.text:
            return event
    raise AssertionError("events ended")


async def test_a_bug_in_a_step_fails_that_module_only(tmp_path, capsys):
    class Buggy(FakeImages):
        async def ensure(self, module, log):
            if module.name == "odd":
                raise ZeroDivisionError("a bug")
            return await super().ensure(module, log)

    world = World(tmp_path, Buggy())
    async with world.agent() as agent:
        agent.put_mesh(spec(module("odd"), module("good")))
        status = await settled(agent)
        assert states(status) == {"odd": "failed", "good": "ready"}
        assert "internal error: ZeroDivisionError" in status.modules[0].reason
    assert "Traceback" in capsys.readouterr().err


async def test_folders_deeper_than_pythons_recursion_are_removed(tmp_path):
    import os

    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        await settled(agent)
        work = world.layout.module("mesh", "m").work
        deep = os.open(work, os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("d", dir_fd=deep)
            deeper = os.open("d", os.O_RDONLY, dir_fd=deep)
            os.close(deep)
            deep = deeper
        os.close(deep)
        agent.destroy_mesh("mesh")
        await until(agent, "mesh", "mesh", "destroyed")
    assert not (world.layout.meshes / "mesh").exists()


async def test_a_build_may_log_from_a_thread_of_its_own(tmp_path):
    class Threaded(FakeImages):
        async def ensure(self, module, log):
            await asyncio.to_thread(log, "from a thread")
            return await super().ensure(module, log)

    world = World(tmp_path, Threaded())
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        await until_text(agent, "from a thread")
        assert states(await settled(agent)) == {"m": "ready"}


async def test_a_mended_module_is_not_blamed_for_the_old_ones_build(tmp_path):
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(FakeImages):
        async def ensure(self, module, log):
            if module.env.get("V") == "1":
                begun.set()
                await go_on.wait()
                raise ImageError("fake", "build", module.name, "version 1 is broken")
            return await super().ensure(module, log)

    world = World(tmp_path, Slow())
    async with world.agent() as agent:
        agent.put_mesh(spec(module(env={"V": "1"})))
        await begun.wait()
        agent.put_mesh(spec(module(env={"V": "2"})))
        go_on.set()
        assert states(await settled(agent)) == {"m": "ready"}


async def test_an_image_that_was_removed_is_made_again_by_the_next_apply(tmp_path):
    made = []

    class Counting(FakeImages):
        async def ensure(self, module, log):
            made.append(module.name)
            return await super().ensure(module, log)

    world = World(tmp_path, Counting())
    world.runtime.faults.fail["create"] = {1}
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        await settled(agent)
        assert len(made) == 2


async def test_a_failed_change_of_limits_leaves_the_module_alone(tmp_path):
    world = World(tmp_path)
    world.runtime.faults.fail["update"] = set(range(1, 100))
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        before = (await settled(agent)).modules[0]
        agent.put_mesh(spec(module(cpu=0.5)))
        status = await settled(agent)
        assert status.state == "degraded"
        assert "update" in status.modules[0].reason
        assert (status.modules[0].pid, status.modules[0].restarts) == (before.pid, 0)


async def test_a_module_whose_build_failed_goes_with_its_spec(tmp_path):
    world = World(tmp_path, BrokenImages())
    async with world.agent() as agent:
        agent.put_mesh(spec(module("broken"), module("good")))
        await settled(agent)
        agent.put_mesh(spec(module("good")))
        assert states(await settled(agent)) == {"good": "ready"}
        assert not world.layout.module("mesh", "broken").base.exists()


async def test_ready_late_is_ready_and_a_mended_question_is_asked_at_once(tmp_path):
    world = World(tmp_path)
    waiting = api.Ready(sdk=True, within_s=0.05)
    async with world.agent() as agent:
        agent.put_mesh(spec(module(ready=waiting)))
        status = await settled(agent)
        assert (status.state, status.modules[0].state) == ("degraded", "running")
        assert "not ready after 0.05 s" in status.modules[0].reason
        last = agent.last_event()
        world.layout.module("mesh", "m").ready.touch()
        await until(agent, "mesh", "module", "ready", last)
        assert agent.mesh("mesh").state == "ready"

        agent.put_mesh(spec(module("n", ready=api.Ready(sdk=True, within_s=3600))))
        await until(agent, "mesh", "module", "running", last)
        agent.put_mesh(spec(module("n")))
        assert states(await settled(agent)) == {"n": "ready"}


async def test_a_module_that_moves_to_another_runtime_is_followed_there(tmp_path):
    world = World(tmp_path, BrokenImages())
    async with world.agent() as agent:
        agent.machine.runtimes["process"] = other = FakeRuntime()  # another one, by that name
        agent.machine.stores["process"] = FakeImages()
        agent.machine.problems.update({"process": "", "network": ""})
        agent.machine.network.plug = agent.machine.network.unplug = lambda *_: None
        agent.machine.network.converge = lambda _: None
        agent.put_mesh(spec(module("broken")))
        assert states(await settled(agent)) == {"broken": "failed"}
        moved = msgspec.structs.replace(module("broken"), runtime="process")
        agent.put_mesh(spec(moved))
        assert states(await settled(agent)) == {"broken": "ready"}
        assert [i.key.module for i in await other.list()] == ["broken"]
        agent.machine.network.remove = lambda _: None
        agent.destroy_mesh("mesh")
        await until(agent, "mesh", "mesh", "destroyed")
        assert await other.list() == []


async def test_a_full_disk_does_not_end_the_agent(tmp_path, monkeypatch):
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        await settled(agent)
        size = agent._state._db.execute("PRAGMA page_count").fetchone()[0]
        agent._state._db.execute(f"PRAGMA max_page_count={size}")  # sqlite's own full disk
        for _ in range(2000):
            agent.emit("mesh", "module", "m", "x" * 500, "")
        await world.runtime.stop(Key("mesh", "m"), 0.0)
        while agent.mesh("mesh").modules[0].restarts == 0:
            await asyncio.sleep(0)
        agent.destroy_mesh("mesh")
        while agent.meshes():
            await asyncio.sleep(0)
        assert await world.runtime.list() == []
