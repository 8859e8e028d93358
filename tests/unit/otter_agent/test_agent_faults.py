"""What goes wrong around the agent: bugs, full disks, late answers, changes in between."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from helpers.world import BrokenImages, World, module, settled, spec, states, until, until_text

from otter_agent import api
from otter_agent.errors import ImageError
from otter_agent.images.fake import FakeImages
from otter_agent.runtimes.base import Key
from otter_agent.runtimes.fake import FakeRuntime


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
async def test_late_word_of_an_earlier_lifes_end_ends_no_later_one(tmp_path):
    """A restart has no pause: the runtime's report may come when the next life runs already."""

    class Slow(FakeRuntime):
        def __init__(self):
            super().__init__()
            self.held_back = asyncio.Event()

        async def watch(self):
            async for instance in super().watch():
                await self.held_back.wait()
                yield instance

    world = World(tmp_path)
    world.runtime = runtime = Slow()
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        await settled(agent)
        last = agent.last_event()
        agent.order("mesh", "m", "restart", None)
        await until(agent, "mesh", "module", "ready", last)
        first = agent.modules("mesh")[0]
        runtime.held_back.set()
        agent.put_mesh(spec(module(), module("other")))  # something to wait for
        await settled(agent)
        assert agent.modules("mesh")[0] == first
        assert first.restarts == 1


async def test_what_only_stopped_telling_can_still_be_used(tmp_path):
    """A launcher that was killed is started by who needs one: an apply at once isn't refused."""
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        await settled(agent)
        said = set()
        world.runtime.lose()
        for _ in range(20):  # whoever hears of it has their turn
            await asyncio.sleep(0)
            said.add(agent.machine.problems["fake"])
        assert said == {""}


async def test_what_stopped_telling_and_does_not_answer_has_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr("otter_agent.following.ANSWER_S", 0.01)
    world = World(tmp_path)
    async with world.agent() as agent:
        agent.put_mesh(spec(module()))
        await settled(agent)
        monkeypatch.setattr(world.runtime, "list", asyncio.Event().wait)
        world.runtime.lose()
        while not agent.machine.problems["fake"]:
            await asyncio.sleep(0.001)
