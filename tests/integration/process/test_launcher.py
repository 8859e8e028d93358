"""What happens to modules when the agent or the launcher is killed, and that neither leaks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from helpers.workloads import DEADLINE_S, log_text, make_workload, run, until, until_exit

from otter_agent.api import Budget
from otter_agent.errors import ContainerError
from otter_agent.launcher import records
from otter_agent.runtimes.base import Phase
from otter_agent.runtimes.process import ProcessRuntime

pytestmark = pytest.mark.netns


def launcher_pid(layout) -> int:
    return int((layout.launcher / "pid").read_text())


async def until_gone(pid: int) -> None:
    """A zombie is gone: who adopts orphans on this machine may be slow to reap them."""

    async def gone() -> bool:
        try:
            return " Z " in Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True

    await until(gone, f"{pid} is gone")


def fifo(work) -> Path:
    """Where the module waits until the test lets it go on."""
    path = work.paths.work / "go"
    os.mkfifo(path)
    return path


async def test_an_exit_while_no_agent_was_there_is_known(layout, agent_id, cgroups, runtime):
    """The agent is killed with SIGKILL; the module then exits 3."""
    work = make_workload(layout, "", ("sh", "-c", "read x < go; exit 3"))
    go = fifo(work)
    agent = f"""
        import asyncio, signal, os
        from otter_agent.cgroups import open_cgroups
        from otter_agent.layout import Layout
        from otter_agent.runtimes.process import ProcessRuntime
        from helpers.workloads import make_workload, run

        async def main():
            layout = Layout.at({str(layout.run.parent)!r})
            runtime = ProcessRuntime(layout, {agent_id!r}, open_cgroups({agent_id!r}))
            await run(runtime, make_workload(layout, "", ("sh", "-c", "read x < go; exit 3")))
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(agent)],
        env={**os.environ, "PYTHONPATH": "tests"}, timeout=60,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    [found] = await runtime.list()
    assert found.phase is Phase.RUNNING
    with go.open("w") as file:
        file.write("\n")
    ended = await until_exit(runtime, work.key)
    assert (ended.exit_code, ended.spec_digest) == (3, "d1")


async def test_a_killed_launcher_ends_held_modules_and_no_running_ones(layout, runtime):
    held = make_workload(layout, "", ("sleep", "3600"), module="held")
    other = make_workload(layout, "", ("sleep", "3600"), module="other")
    runs = make_workload(layout, "", ("sh", "-c", "read x < go; exit 3"), module="runs")
    go = fifo(runs)
    for work in (held, other):
        await runtime.create(work)
    pids = [(await runtime.start(work.key)).pid for work in (held, other)]
    running = await run(runtime, runs)
    watched = runtime.watch()
    first = anext(watched)
    launcher = launcher_pid(layout)
    os.kill(launcher, signal.SIGKILL)
    with pytest.raises(ContainerError, match="went away") as lost:
        await first
    assert lost.value.recoverable
    await until_gone(launcher)  # it closes its pipes before it lets go of its children
    for pid in pids:
        await until_gone(pid)  # two of them: neither kept the other's pipe open
    phases = {i.key.module: i.phase for i in await runtime.list()}
    assert phases == {"held": Phase.EXITED, "other": Phase.EXITED, "runs": Phase.RUNNING}

    watched = runtime.watch()  # a new launcher adopts it
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        exits = group.create_task(exit_of(runs.key, watched))  # may tell of the held ones too
        await adopted(runtime)
        with go.open("w") as file:
            file.write("\n")
        ended = await exits
    await watched.aclose()
    assert (ended.key, ended.phase, ended.exit_code) == (runs.key, Phase.EXITED, None)
    await until_gone(running.pid)
    assert (await runtime.start(held.key)).phase is Phase.HELD


async def exit_of(key, watched):
    async for instance in watched:
        if instance.key == key:
            return instance
    raise AssertionError(key)


async def adopted(runtime) -> None:
    async def there() -> bool:
        return await runtime._launcher.connect(start=False)

    await until(there, "there is a launcher")


async def test_an_adopted_module_can_be_stopped(layout, runtime):
    work = make_workload(layout, "", ("sh", "-c", "trap '' TERM; sleep 3600 & wait"))
    running = await run(runtime, work)
    os.kill(launcher_pid(layout), signal.SIGKILL)
    stopped = await runtime.stop(work.key, 0.1)
    assert (stopped.phase, stopped.exit_code) == (Phase.EXITED, None)
    await until_gone(running.pid)


async def test_what_a_module_leaves_behind_ends_with_it(layout, runtime, cgroups):
    script = "setsid sleep 3600 & (setsid sh -c 'sleep 3601 & sleep 3602' &) ; exit 4"
    work = make_workload(layout, "", ("sh", "-c", script))
    await run(runtime, work)
    assert (await until_exit(runtime, work.key)).exit_code == 4
    assert cgroups.pids("m/host/mod") == set()


async def test_a_fork_bomb_is_bounded_and_ends(layout, runtime, cgroups):
    bomb = "b() { b | b & b; }; b"
    work = make_workload(layout, "", ("sh", "-c", bomb))
    await runtime.create(work)
    await runtime.start(work.key)
    cgroups.ensure("m/host/mod", Budget(pids=50))
    await runtime.release(work.key)
    assert len(cgroups.pids("m/host/mod")) <= 50
    await runtime.remove(work.key)
    assert cgroups.groups() in ([], ["m", "m/host"])


async def test_the_launcher_ends_when_it_has_nothing_to_do(layout, runtime):
    work = make_workload(layout, "", ("sleep", "3600"))
    await run(runtime, work)
    pid = launcher_pid(layout)
    await runtime.aclose()
    await runtime.remove(work.key)  # which connects again
    assert launcher_pid(layout) == pid
    await runtime.aclose()
    await until_gone(pid)
    assert sorted(p.name for p in layout.launcher.iterdir()) == ["instances", "lock", "log"]
    assert (layout.launcher / "log").read_text() == ""


async def test_modules_of_a_new_agent_see_what_was_mounted_before_it(
    layout, agent_id, cgroups, tmp_path
):
    """Modules get the mounts of their launcher: an idle one of an earlier agent isn't used."""
    first = ProcessRuntime(layout, agent_id, cgroups, launcher_idle_s=60)
    work = make_workload(layout, "", ("true",))
    await run(first, work)
    await until_exit(first, work.key)
    pid = launcher_pid(layout)
    await first.aclose()

    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=True)
    second = ProcessRuntime(layout, agent_id, cgroups, launcher_idle_s=0.1)
    try:
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
            exits = group.create_task(anext(second.watch()))  # finds the idle one, which ends
            await until_gone(pid)
            (disk / "file").write_text("there")
            await second.remove(work.key)
            work = make_workload(layout, "", ("test", "-e", str(disk / "file")))
            await run(second, work)
            assert (await until_exit(second, work.key)).exit_code == 0
            assert (await exits).key == work.key
            await second.remove(work.key)
    finally:
        await second.aclose()
        subprocess.run(["umount", disk], check=True)


async def test_no_launcher_without_modules(layout, runtime):
    assert await runtime.list() == []
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        watch = group.create_task(anext(runtime.watch()))
        await asyncio.sleep(0)
        watch.cancel()
    assert not layout.launcher.exists()


async def test_two_agents_at_once_start_one_launcher(layout, agent_id, cgroups, runtime):
    second = ProcessRuntime(layout, agent_id, cgroups, launcher_idle_s=0.1)
    works = [make_workload(layout, "", ("sleep", "3600"), module=f"m{n}") for n in range(2)]
    async with asyncio.TaskGroup() as group:
        group.create_task(run(runtime, works[0]))
        group.create_task(run(second, works[1]))
    parents = set()
    for instance in await runtime.list():
        stat = Path(f"/proc/{instance.pid}/stat").read_text()
        parents.add(int(stat.rpartition(") ")[2].split()[1]))
    assert parents == {launcher_pid(layout)}
    await second.aclose()


async def test_a_set_up_that_fails_says_why(layout, runtime):
    work = make_workload(layout, "", ("sleep", "3600"))
    work.paths.hosts.unlink()
    await runtime.create(work)
    with pytest.raises(ContainerError, match="No such file"):
        await runtime.start(work.key)
    [found] = await runtime.list()
    assert (found.phase, found.pid) == (Phase.CREATED, None)
    work.paths.hosts.write_text("")
    assert (await runtime.start(work.key)).phase is Phase.HELD


async def test_a_reused_pid_is_not_taken_for_the_module(layout, runtime):
    work = make_workload(layout, "", ("sleep", "3600"))
    running = await run(runtime, work)
    path = f"{records.folder(str(layout.launcher), 'm', 'mod')}/life.json"
    life = records.read(path)
    records.write(path, {**life, "started": life["started"] + 1})
    [found] = await runtime.list()
    assert (found.phase, found.pid, found.exit_code) == (Phase.EXITED, None, None)
    records.write(path, life)
    assert (await runtime.list())[0].pid == running.pid


@pytest.mark.timed
@pytest.mark.slow
async def test_a_hundred_modules_start_quickly_and_cost_the_launcher_nothing(layout, runtime):
    works = [make_workload(layout, "", ("sleep", "3600"), module=f"m{n}") for n in range(100)]
    await run(runtime, works[0])
    before = resident_bytes(launcher_pid(layout))
    fds = len(os.listdir(f"/proc/{launcher_pid(layout)}/fd"))
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(run(runtime, work))
    took = time.monotonic() - began
    assert len({i.pid for i in await runtime.list()}) == 100
    assert len(os.listdir(f"/proc/{launcher_pid(layout)}/fd")) == fds
    assert resident_bytes(launcher_pid(layout)) - before < 100 * 16 * 1024
    assert before < 15 << 20
    assert took < 5, "a second on an idle machine; the bound leaves room for a busy one"
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(runtime.remove(work.key))
    assert time.monotonic() - began < 5
    assert await log_text(runtime, works[0].key) == []


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if "VmRSS" in line)


async def test_a_launcher_that_mounts_no_volumes_starts_nobody_who_has_one(
    layout, agent_id, cgroups
):
    """One of before there were any runs on while modules do: it would pass over the volume."""
    layout.launcher.mkdir(parents=True)
    work = make_workload(layout, "", ("true",), budget=Budget(storage_bytes=8 << 20))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(layout.launcher / records.SOCKET))
        listener.listen(1)

        def answer() -> None:
            there, _ = listener.accept()
            with there:
                asked = json.loads(there.recv(records.MESSAGE_LIMIT))
                there.send(json.dumps({"id": asked["id"], "ok": {}}).encode())
                there.recv(1)

        runtime = ProcessRuntime(layout, agent_id, cgroups)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(answer))
            await runtime.create(work)
            with pytest.raises(ContainerError, match="an earlier agent's, which can't give it its"):
                await runtime.start(work.key)
            await runtime.aclose()
