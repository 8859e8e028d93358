"""The knobs of the fake runtime; its life is in the contract suite."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from otter_agent.api import Budget
from otter_agent.errors import ContainerError
from otter_agent.layout import ModulePaths
from otter_agent.runtimes.base import Artifact, Key, Phase, Workload
from otter_agent.runtimes.fake import FIRST_PID, FakeRuntime, Faults, Program

KEY = Key("m", "mod")


def workload(*argv: str) -> Workload:
    return Workload(KEY, "d1", "mod", Artifact(""), argv, {}, "m/h", Budget(cpu=1.0),
                    ModulePaths(Path("/nowhere")))  # fmt: skip


async def started(runtime: FakeRuntime, *argv: str) -> None:
    await runtime.create(workload(*argv))
    await runtime.start(KEY)
    await runtime.release(KEY)


def test_programs():
    assert Program.parse(["print", "a", "print", "b", "after", "0.5", "exit", "3"]) == Program(
        prints=("a", "b"), exit_code=3, after_s=0.5
    )
    assert Program.parse(["python3", "-m", "x"]) == Program()
    assert Program.parse(["stubborn"]).stubborn


async def test_fails_on_the_nth_call():
    runtime = FakeRuntime(Faults(fail={"start": {2}}, recoverable=False))
    await runtime.create(workload("x"))
    await runtime.start(KEY)
    with pytest.raises(ContainerError, match="m/mod: fake could not start: call 2") as failed:
        await runtime.start(KEY)
    assert not failed.value.recoverable
    await runtime.start(KEY)
    assert runtime.calls["start"] == 3


async def test_dies_after_release():
    runtime = FakeRuntime(Faults(die_after_s=0.0, exit_code=9))
    exits = runtime.watch()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        first = group.create_task(anext(exits))
        await started(runtime, "x")
        ended = await first
    assert (ended.phase, ended.exit_code) == (Phase.EXITED, 9)


async def test_delay():
    runtime = FakeRuntime(Faults(delay_s=0.01))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await runtime.list()
    assert loop.time() - began >= 0.01


async def test_told_to_die_and_lost():
    runtime = FakeRuntime()
    exits = runtime.watch()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        first = group.create_task(anext(exits))
        await asyncio.sleep(0)  # it watches from now on
        await started(runtime, "x")
        runtime.die(KEY, 137, oom=True)
        assert (await first).oom_killed
        runtime.lose()
    with pytest.raises(ContainerError, match="went away"):
        await anext(exits)


async def test_budgets_and_pids():
    runtime = FakeRuntime()
    await started(runtime, "x")
    assert runtime.budget(KEY) == Budget(cpu=1.0)
    await runtime.update(KEY, Budget(cpu=0.5))
    assert runtime.budget(KEY) == Budget(cpu=0.5)
    [found] = await runtime.list()
    assert found.pid is not None
    assert found.pid >= FIRST_PID


async def test_an_end_of_an_earlier_life_is_not_this_one_s():
    runtime = FakeRuntime()
    await started(runtime, "after", "0.01", "exit", "1")
    await runtime.stop(KEY, 0.0)
    await runtime.start(KEY)
    await asyncio.sleep(0.02)
    assert [i.phase for i in await runtime.list()] == [Phase.HELD]
