"""What every runtime keeps: the life of an instance, idempotence, re-adoption, logs, exec."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from helpers.workloads import DEADLINE_S, log_text, run, until, until_exit

from otter_agent.api import Budget
from otter_agent.errors import ContainerError
from otter_agent.runtimes.base import Exec, Key, LogPlace, Logs, Phase


async def phase_of(runtime, key: Key) -> Phase | None:
    return next((i.phase for i in await runtime.list() if i.key == key), None)


async def lines(data: list[str]) -> AsyncIterator[bytes]:
    for text in data:
        yield text.encode()


def gone(pid: int | str) -> bool:
    """Whether a process has ended; an orphan's zombie may wait a moment for who adopted it."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


class Collector:
    """An `ExecOutput` that keeps what it gets."""

    def __init__(self) -> None:
        self.got: dict[int, bytes] = {1: b"", 2: b""}

    async def __call__(self, fd: int, data: bytes) -> None:
        self.got[fd] += data


# --- life ----------------------------------------------------------------------------------------


async def test_created_held_running(harness):
    work = harness.make_workload("sleeps")
    made = await harness.runtime.create(work)
    assert (made.phase, made.pid, made.spec_digest) == (Phase.CREATED, None, "d1")
    held = await harness.runtime.start(work.key)
    assert held.phase is Phase.HELD
    assert held.pid is not None
    running = await harness.runtime.release(work.key)
    assert (running.phase, running.pid) == (Phase.RUNNING, held.pid)
    [listed] = await harness.runtime.list()
    assert (listed.key, listed.phase, listed.pid) == (work.key, Phase.RUNNING, held.pid)


async def test_nothing_of_the_module_runs_before_release(harness):
    work = harness.make_workload("prints", "ran")
    await harness.runtime.create(work)
    held = await harness.runtime.start(work.key)
    if harness.real:
        own = os.readlink("/proc/self/ns/net")
        assert os.readlink(f"/proc/{held.pid}/ns/net") != own
    assert await log_text(harness.runtime, work.key) == []
    assert await phase_of(harness.runtime, work.key) is Phase.HELD
    await harness.runtime.release(work.key)
    assert (await until_exit(harness.runtime, work.key)).exit_code == 0
    assert await log_text(harness.runtime, work.key) == ["ran"]


async def test_calls_again_change_nothing(harness):
    work = harness.make_workload("sleeps")
    first = await run(harness.runtime, work)
    assert await harness.runtime.create(work) == first
    assert await harness.runtime.start(work.key) == first
    assert await harness.runtime.release(work.key) == first
    assert len(await harness.runtime.list()) == 1


async def test_another_digest_replaces(harness):
    await run(harness.runtime, harness.make_workload("sleeps"))
    changed = harness.make_workload("exits", 4, digest="d2")
    made = await harness.runtime.create(changed)
    assert (made.phase, made.spec_digest, made.pid) == (Phase.CREATED, "d2", None)
    await harness.runtime.start(changed.key)
    await harness.runtime.release(changed.key)
    assert (await until_exit(harness.runtime, changed.key)).exit_code == 4


@pytest.mark.parametrize("code", [0, 3, 255])
async def test_exit_code(harness, code):
    work = harness.make_workload("exits", code)
    await run(harness.runtime, work)
    ended = await until_exit(harness.runtime, work.key)
    assert (ended.exit_code, ended.pid, ended.oom_killed) == (code, None, False)


async def test_a_missing_program_is_127(real_harness):
    work = real_harness.make_workload("missing")
    await run(real_harness.runtime, work)
    assert (await until_exit(real_harness.runtime, work.key)).exit_code == 127


async def test_start_again_after_exit(harness):
    work = harness.make_workload("prints", "life")
    pids = set()
    for _ in range(2):
        pids.add((await run(harness.runtime, work)).id)
        await until_exit(harness.runtime, work.key)
    assert await log_text(harness.runtime, work.key) == ["life", "life"]


async def test_many_at_once(harness):
    works = [harness.make_workload("sleeps", module=f"m{n}") for n in range(8)]
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(run(harness.runtime, work))
    listed = await harness.runtime.list()
    assert {i.phase for i in listed} == {Phase.RUNNING}
    assert len({i.pid for i in listed}) == 8
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(harness.runtime.remove(work.key))
    assert await harness.runtime.list() == []


# --- the end -------------------------------------------------------------------------------------


async def test_stop_of_a_held_one_is_quick(harness):
    work = harness.make_workload("stubborn")
    await harness.runtime.create(work)
    held = await harness.runtime.start(work.key)
    began = time.monotonic()
    stopped = await harness.runtime.stop(work.key, 30.0)
    assert stopped.phase is Phase.EXITED
    assert time.monotonic() - began < 10
    if harness.real:
        assert gone(held.pid)


async def test_stop_kills_all_processes_after_the_grace(harness):
    work = harness.make_workload("stubborn")
    running = await run(harness.runtime, work)

    async def up() -> bool:
        return await log_text(harness.runtime, work.key) == ["up"]

    await until(up, "it has children")
    children: list[str] = []
    if harness.real:
        with open(f"/proc/{running.pid}/task/{running.pid}/children") as file:
            children = file.read().split()
        assert len(children) == 2
    began = time.monotonic()
    stopped = await harness.runtime.stop(work.key, 0.3)
    assert time.monotonic() - began >= 0.3
    assert (stopped.phase, stopped.exit_code) == (Phase.EXITED, 137)
    assert all(gone(pid) for pid in children)
    assert (await harness.runtime.stop(work.key, 0.0)).exit_code == 137


async def test_absent_is_fine_for_stop_and_remove(harness):
    key = Key("m", "absent")
    stopped = await harness.runtime.stop(key, 1.0)
    assert (stopped.phase, stopped.exit_code) == (Phase.EXITED, None)
    await harness.runtime.remove(key)


@pytest.mark.parametrize("op", ["start", "release"])
async def test_absent_cannot_run(harness, op):
    with pytest.raises(ContainerError, match="m/absent"):
        await getattr(harness.runtime, op)(Key("m", "absent"))


async def test_release_needs_a_start(harness):
    work = harness.make_workload("sleeps")
    await harness.runtime.create(work)
    with pytest.raises(ContainerError):
        await harness.runtime.release(work.key)


async def test_remove_of_a_running_one_leaves_nothing(harness):
    work = harness.make_workload("sleeps")
    running = await run(harness.runtime, work)
    await harness.runtime.remove(work.key)
    assert await harness.runtime.list() == []
    if harness.real:
        assert gone(running.pid)
    await harness.runtime.remove(work.key)


# --- another agent -------------------------------------------------------------------------------


async def test_a_new_agent_finds_what_runs(harness):
    runs = harness.make_workload("sleeps", module="runs", digest="d7")
    waits = harness.make_workload("exits", 5, module="waits")
    ready = harness.make_workload("sleeps", module="ready")
    before = await run(harness.runtime, runs)
    await harness.runtime.create(waits)
    held = await harness.runtime.start(waits.key)
    await harness.runtime.create(ready)
    await harness.reopen()
    found = {i.key.module: i for i in await harness.runtime.list()}
    assert found["runs"] == before
    assert (found["waits"].phase, found["waits"].pid) == (Phase.HELD, held.pid)
    assert found["ready"].phase is Phase.CREATED
    await harness.runtime.release(waits.key)
    assert (await until_exit(harness.runtime, waits.key)).exit_code == 5
    assert (await harness.runtime.stop(runs.key, 5.0)).phase is Phase.EXITED


# --- watching, logs, exec ------------------------------------------------------------------------


async def test_watch_tells_of_an_exit(harness):
    other = harness.make_workload("sleeps", module="other")
    await run(harness.runtime, other)
    work = harness.make_workload("exits", 6)
    exits = harness.runtime.watch()
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        first = group.create_task(anext(exits))
        await asyncio.sleep(0)  # one turn of the loop: it watches from now on
        await run(harness.runtime, work)
        ended = await first
    await exits.aclose()
    assert (ended.key, ended.phase, ended.exit_code) == (work.key, Phase.EXITED, 6)


async def test_logs_tail_and_follow(harness):
    if not isinstance(harness.runtime, Logs):
        pytest.skip("no logs")
    work = harness.make_workload("prints", "one", "two", "three")
    await run(harness.runtime, work)
    await until_exit(harness.runtime, work.key)
    texts = [line.text async for line in harness.runtime.logs(work.key, tail=2, follow=False)]
    assert texts == ["two", "three"]
    followed = harness.runtime.logs(work.key, tail=1, follow=True)
    async with asyncio.timeout(DEADLINE_S):
        assert (await anext(followed)).text == "three"
        await harness.runtime.start(work.key)
        await harness.runtime.release(work.key)
        assert [(await anext(followed)).text for _ in range(3)] == ["one", "two", "three"]
        await until_exit(harness.runtime, work.key)
        await harness.runtime.remove(work.key)
        assert [line.text async for line in followed] == []  # it ends with the instance


@pytest.mark.parametrize(
    ("words", "tail", "there"),
    [
        (("one", "two", "three"), None, 3),
        (("one", "two", "three"), 2, 2),
        (("one",), 0, 0),
        ((), 9, 0),
    ],
)
async def test_who_follows_is_told_once_all_that_was_there_has_come(harness, words, tail, there):
    """Others' logs are put in order with that; the module lives on, and says nothing more."""
    if not isinstance(harness.runtime, Logs):
        pytest.skip("no logs")
    work = harness.make_workload("says", *words)
    await run(harness.runtime, work)

    async def said() -> bool:
        return await log_text(harness.runtime, work.key) == list(words)

    await until(said, "it says all of it")
    got: list[str] = []
    told: list[int] = []
    news = asyncio.Event()

    def caught_up() -> None:
        told.append(len(got))
        news.set()

    async def follow() -> None:
        place = LogPlace(caught_up=caught_up)
        lines = harness.runtime.logs(work.key, tail=tail, follow=True, place=place)
        while True:
            got.append((await anext(lines)).text)

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        following = group.create_task(follow())
        await news.wait()
        following.cancel()
    assert (told[0], got) == (there, list(words)[len(words) - there :])


async def test_exec(harness):
    if not isinstance(harness.runtime, Exec):
        pytest.skip("no exec")
    work = harness.make_workload("sleeps")
    await run(harness.runtime, work)

    async def call(*command: str, stdin: AsyncIterator[bytes] | None = None):
        output = Collector()
        argv = harness.command(*command)
        status = await harness.runtime.exec(work.key, argv, stdin=stdin, output=output)
        return status, output.got[1].decode()

    async with asyncio.timeout(DEADLINE_S):
        assert await call("prints", "hello") == (0, "hello\n")
        assert await call("exits", "9") == (9, "")
        assert await call("cats", stdin=lines(["a", "b" * 200_000])) == (0, "a" + "b" * 200_000)
        assert (await call("missing"))[0] == 127


async def test_exec_needs_a_running_one(harness):
    if not isinstance(harness.runtime, Exec):
        pytest.skip("no exec")
    work = harness.make_workload("sleeps")
    await harness.runtime.create(work)
    with pytest.raises(ContainerError):
        await harness.runtime.exec(
            work.key, harness.command("exits", "0"), stdin=None, output=Collector()
        )


# --- what only a real one has --------------------------------------------------------------------


async def test_network_and_names_are_its_own(real_harness):
    work = real_harness.make_workload("shows_network", module="seer")
    await run(real_harness.runtime, work)
    await until_exit(real_harness.runtime, work.key)
    shown = await log_text(real_harness.runtime, work.key)
    assert shown[:2] == ["lo", "seer"]
    assert "100.64.0.9 other" in shown


async def test_names_change_live(real_harness):
    work = real_harness.make_workload("sleeps")
    running = await run(real_harness.runtime, work)
    work.paths.hosts.write_text("100.64.0.10 newcomer\n")
    with open(f"/proc/{running.pid}/root/etc/hosts") as file:
        assert "newcomer" in file.read()


async def test_budgets_change_in_place(harness):
    work = harness.make_workload("sleeps", budget=Budget(cpu=0.5, memory_bytes=64 << 20))
    running = await run(harness.runtime, work)
    await harness.runtime.update(work.key, Budget(cpu=0.25, memory_bytes=128 << 20))
    [after] = await harness.runtime.list()
    assert after.pid == running.pid
    if harness.real:
        assert (
            cgroup_value(running.pid, "memory", "memory.limit_in_bytes", "memory.max") == 128 << 20
        )


async def test_all_of_its_processes_stand_still_go_on_and_are_killed(harness):
    work = harness.make_workload("stubborn")
    running = await run(harness.runtime, work)

    async def up() -> bool:
        return await log_text(harness.runtime, work.key) == ["up"]

    await until(up, "it has children")
    family = [running.pid, *children(running.pid)] if harness.real else []

    async def stand_still() -> bool:
        return all(state_of(pid) == "T" for pid in family)

    async def go_on() -> bool:
        return all(state_of(pid) in "SR" for pid in family)

    await harness.runtime.signal(work.key, signal.SIGSTOP)
    await until(stand_still, "all of it stands still")
    await harness.runtime.signal(work.key, signal.SIGCONT)
    await until(go_on, "all of it goes on")
    await harness.runtime.signal(work.key, signal.SIGKILL)
    assert (await until_exit(harness.runtime, work.key)).exit_code == 137
    assert all(gone(pid) for pid in family[1:])


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_memory_limit_kills_and_says_so(real_harness):
    work = real_harness.make_workload("eats", budget=Budget(memory_bytes=32 << 20))
    await run(real_harness.runtime, work)
    ended = await until_exit(real_harness.runtime, work.key)
    assert (ended.exit_code, ended.oom_killed) == (137, True)


def cgroup_value(pid: int, controller: str, v1: str, v2: str) -> int:
    """A limit of a process on either version: the lowest of its group and those above."""
    with open(f"/proc/{pid}/cgroup") as file:
        groups = dict(line.strip().split(":", 2)[1:] for line in file)
    if controller in groups:
        top, group, name = Path("/sys/fs/cgroup", controller), groups[controller], v1
    else:
        top, group, name = Path("/sys/fs/cgroup"), groups[""], v2
    own = Path(group.strip("/"))
    levels = [path for path in (own, *own.parents) if path != Path()]
    texts = [(top / level / name).read_text().strip() for level in levels]
    return min(int(text) for text in texts if text != "max")
