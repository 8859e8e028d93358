"""The life of a container: held until released, restarted in a fresh namespace, then no trace."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from helpers.workloads import log_text, make_workload, mount_namespace_file, run, until_exit

from otter_agent.api import Budget
from otter_agent.errors import ContainerError
from otter_agent.runtimes.base import Artifact, Key, Phase
from otter_agent.runtimes.containers import Containers

pytestmark = pytest.mark.docker


async def test_held_means_nothing_of_the_module_has_run(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image, ("sh", "-c", "echo ran > /work/mark; sleep 3600"))
    made = await runtime.create(work)
    assert (made.phase, made.pid) == (Phase.CREATED, None)
    held = await runtime.start(work.key)
    assert held.phase is Phase.HELD
    assert (await runtime.list()) == [held]
    assert os.readlink(f"/proc/{held.pid}/ns/net") != os.readlink("/proc/self/ns/net")
    assert not (work.paths.work / "mark").exists()
    running = await runtime.release(work.key)
    assert (running.phase, running.pid) == (Phase.RUNNING, held.pid)
    await _until_exists(work.paths.work / "mark")
    assert (await runtime.release(work.key)) == running  # again: unchanged
    assert (await runtime.start(work.key)).pid == held.pid
    assert [i.phase for i in await runtime.list()] == [Phase.RUNNING]


async def test_a_restart_has_a_fresh_namespace_and_keeps_the_log(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image, ("sh", "-c", "echo life; read x < /work/pipe"))
    os.mkfifo(work.paths.work / "pipe")
    first = await run(runtime, work)
    namespace = os.stat(f"/proc/{first.pid}/ns/net").st_ino
    holder = os.open(f"/proc/{first.pid}/ns/net", os.O_RDONLY)  # its number can't be used again
    stopped = await runtime.stop(work.key, 0)
    assert stopped.phase is Phase.EXITED
    second = await runtime.start(work.key)
    assert second.phase is Phase.HELD
    assert second.id == first.id
    assert os.stat(f"/proc/{second.pid}/ns/net").st_ino != namespace
    os.close(holder)
    await runtime.release(work.key)
    (work.paths.work / "pipe").write_text("x\n")
    assert (await until_exit(runtime, work.key)).exit_code == 0
    assert await log_text(runtime, work.key) == ["life", "life"]


async def test_create_keeps_the_same_and_replaces_another(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image)
    first = await run(runtime, work)
    assert (await runtime.create(work)) == first
    other = make_workload(layout, busybox_image, digest="d2")
    replaced = await runtime.create(other)
    assert replaced.id != first.id
    assert (replaced.phase, replaced.spec_digest) == (Phase.CREATED, "d2")
    assert not Path(f"/proc/{first.pid}").exists()


async def test_stop_asks_first_and_kills_after_the_grace(runtime, layout, busybox_image):
    polite = "trap 'echo bye; exit 7' TERM; echo up; while true; do sleep 0.05; done"
    work = make_workload(layout, busybox_image, ("sh", "-c", polite))
    await run(runtime, work)
    await _until_log(runtime, work.key, "up")
    assert (await runtime.stop(work.key, 20)).exit_code == 7
    assert (await log_text(runtime, work.key))[-1] == "bye"

    deaf = make_workload(layout, busybox_image, ("sleep", "3600"), module="deaf")
    await run(runtime, deaf)
    began = time.monotonic()
    assert (await runtime.stop(deaf.key, 60)).exit_code == 137  # pid 1 without a handler:
    assert time.monotonic() - began < 30  # the kernel drops the signal, so nobody waits


async def test_a_held_container_is_stopped_at_once(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image)
    await runtime.create(work)
    await runtime.start(work.key)
    began = time.monotonic()
    assert (await runtime.stop(work.key, 200)).phase is Phase.EXITED
    assert time.monotonic() - began < 120  # not the grace, on a slow disk too


async def test_absent_is_fine_for_stop_and_remove_only(runtime):
    key = Key("m", "absent")
    stopped = await runtime.stop(key, 1)
    assert (stopped.phase, stopped.exit_code) == (Phase.EXITED, None)
    await runtime.remove(key)
    for call in (runtime.start(key), runtime.release(key), runtime.update(key, Budget())):
        with pytest.raises(ContainerError, match="m/absent"):
            await call


async def test_release_needs_a_start(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image)
    await runtime.create(work)
    with pytest.raises(ContainerError, match="not started"):
        await runtime.release(work.key)


async def test_what_the_module_sees(runtime, layout, busybox_image):
    script = "id -u; pwd; hostname; cat /etc/hosts; env; ls /work /run/otter; ip -o link"
    work = make_workload(
        layout, busybox_image, ("sh", "-c", script), module="see",
        env={"A": "work", "OTTER_WORK": "/no"},
        artifact=Artifact(busybox_image, env={"A": "artifact", "B": "artifact"}),
    )  # fmt: skip
    (work.paths.work / "input.txt").touch()
    await run(runtime, work)
    assert (await until_exit(runtime, work.key)).exit_code == 0
    lines = await log_text(runtime, work.key)
    assert lines[:3] == ["0", "/", "see"]
    assert lines[3:5] == work.paths.hosts.read_text().splitlines()
    for expected in (
        "A=work", "B=artifact", "PYTHONUNBUFFERED=1", "OMP_NUM_THREADS=1", "OTTER_WORK=/work",
        "TF_NUM_INTRAOP_THREADS=1", "TF_NUM_INTEROP_THREADS=1",
        "OTTER_WIRING=/run/otter/wiring.json", "OTTER_STATE=/run/otter-state",
        "input.txt", "wiring.json", "NVIDIA_VISIBLE_DEVICES=void",
    ):  # fmt: skip
        assert expected in lines
    devices = [line for line in lines if "mtu" in line]
    assert len(devices) == 1  # lo and nothing else
    assert " lo:" in devices[0]


async def test_the_wiring_is_read_only_and_the_state_is_not(runtime, layout, busybox_image):
    script = "touch /run/otter/x; touch /.otter/gate; touch /run/otter-state/ready"
    work = make_workload(layout, busybox_image, ("sh", "-c", script))
    await run(runtime, work)
    assert (await until_exit(runtime, work.key)).exit_code == 0
    assert "Read-only file system" in (await log_text(runtime, work.key))[0]
    assert work.paths.ready.exists()


async def test_hosts_change_live(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image)
    up = await run(runtime, work)
    work.paths.hosts.write_text("100.64.0.10 new\n")
    assert mount_namespace_file(up.pid, "/etc/hosts").read_text() == "100.64.0.10 new\n"


async def test_an_unknown_name_fails_fast(runtime, layout, busybox_image):
    """By the container's own clock: an engine's start and end take their time.

    A server that is silent is waited for 5 s, once or more often.
    """
    now = "$(cut -d. -f1 /proc/uptime)"
    script = f"a={now}; nslookup no.such.name && exit 9; [ $(({now} - a)) -lt 5 ]"
    work = make_workload(layout, busybox_image, ("sh", "-c", script))
    await run(runtime, work)
    assert (await until_exit(runtime, work.key)).exit_code == 0


async def test_confinement(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image)
    up = await run(runtime, work)
    status = Path(f"/proc/{up.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    assert int(fields["CapEff"], 16) == 0xA80425FB  # Docker's default set: no CAP_NET_ADMIN
    shown = await runtime.engine.json("GET", f"/containers/{up.id}/json")
    host = shown["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["PidsLimit"] == 4096
    assert not host["Privileged"]
    assert not host["CapAdd"]


async def test_watch_reports_exits(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image, ("sh", "-c", "read x < /work/pipe; exit 3"))
    os.mkfifo(work.paths.work / "pipe")
    await runtime.create(work)
    async with asyncio.timeout(30):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(anext(runtime.watch()))
            await run(runtime, work)
            (work.paths.work / "pipe").write_text("x\n")
            ended = await task
    assert (ended.key, ended.phase, ended.exit_code) == (work.key, Phase.EXITED, 3)
    assert ended.spec_digest == "d1"


async def test_killed_by_docker_kill(runtime, layout, busybox_image, dockerd):
    work = make_workload(layout, busybox_image)
    up = await run(runtime, work)
    dockerd.request("POST", f"/containers/{up.id}/kill")
    ended = await until_exit(runtime, work.key)
    assert (ended.exit_code, ended.oom_killed) == (137, False)


async def test_budget_is_in_force_and_changes_live(runtime, layout, busybox_image):
    budget = Budget(cpu=0.5, memory_bytes=64 << 20)
    work = make_workload(layout, busybox_image, budget=budget)
    up = await run(runtime, work)
    group = "m/host/mod"
    read = runtime._cgroups.read(group)
    assert (read.cpu, read.memory_bytes) == (0.5, 64 << 20)
    assert up.pid in runtime._cgroups.pids(group)
    await runtime.update(work.key, Budget(cpu=0.25))
    read = runtime._cgroups.read(group)
    assert (read.cpu, read.memory_bytes) == (0.25, None)
    assert [i.pid for i in await runtime.list()] == [up.pid]


async def test_a_module_may_ask_for_more_than_its_host_has(runtime, layout, busybox_image):
    runtime._cgroups.ensure("m/host", Budget(cpu=0.2))
    work = make_workload(layout, busybox_image, budget=Budget(cpu=1.5))
    assert (await run(runtime, work)).phase is Phase.RUNNING
    runtime._cgroups.ensure("m/host", Budget(cpu=0.1))
    await runtime.stop(work.key, 0)
    assert (await runtime.start(work.key)).phase is Phase.HELD


EATS = ("sh", "-c", "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done")


async def test_out_of_memory_is_told(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image, EATS, budget=Budget(memory_bytes=32 << 20))
    await run(runtime, work)
    ended = await until_exit(runtime, work.key)
    assert ended.exit_code == 137
    assert ended.oom_killed


async def test_out_of_memory_is_told_where_the_engine_met_the_end_before_its_cause(
    runtime, layout, busybox_image, dockerd, monkeypatch
):
    """It hears of both by two ways, and never corrects what it said first."""
    show = Containers.show

    async def shown_too_early(self, name):
        shown = await show(self, name)
        if shown is not None:
            shown["State"]["OOMKilled"] = False
        return shown

    monkeypatch.setattr(Containers, "show", shown_too_early)
    eats = ("sh", "-c", f"read x < /work/pipe; {EATS[-1]}")
    work = make_workload(layout, busybox_image, eats, budget=Budget(memory_bytes=32 << 20))
    os.mkfifo(work.paths.work / "pipe")
    await runtime.create(work)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        watching = group.create_task(anext(runtime.watch()))
        await run(runtime, work)
        with (work.paths.work / "pipe").open("r+b", buffering=0) as pipe:  # waits for no reader
            pipe.write(b"x\n")
            ended = await watching
    assert (ended.exit_code, ended.oom_killed) == (137, True)
    (listed,) = await runtime.list()
    assert (listed.exit_code, listed.oom_killed) == (137, True)
    # Of another life that was killed, what was of this one isn't told.
    await runtime.start(work.key)
    dockerd.request("POST", f"/containers/{listed.id}/kill")
    ended = await until_exit(runtime, work.key)
    assert (ended.exit_code, ended.oom_killed) == (137, False)


async def test_what_is_made_anew_while_all_is_listed_is_known(
    runtime, layout, busybox_image, dockerd, monkeypatch
):
    """Its end is told: for one that was listed it would be word of an earlier life."""
    work = make_workload(layout, busybox_image, ("sleep", "1000"))
    other = make_workload(layout, busybox_image, ("sleep", "1000"), module="other")
    for one in (work, other):
        await run(runtime, one)
    del runtime._known[other.key]  # so it is looked at
    looks, goes_on, show = asyncio.Event(), asyncio.Event(), Containers.show

    async def slowly(self, name):
        if not looks.is_set():
            looks.set()
            await goes_on.wait()
        return await show(self, name)

    anew = None

    async def its_end():
        async for ended in runtime.watch():
            if anew is not None and ended.id == anew.id:
                return ended.exit_code
        raise AssertionError("the engine went away")

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        monkeypatch.setattr(Containers, "show", slowly)
        watching = group.create_task(its_end())
        listing = group.create_task(runtime.list())
        await looks.wait()
        await runtime.remove(work.key)
        anew = await run(runtime, work)
        goes_on.set()
        await listing
        dockerd.request("POST", f"/containers/{anew.id}/kill")
        assert await watching == 137


async def test_groups_come_back_after_a_reboot(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image, budget=Budget(cpu=0.5))
    await run(runtime, work)
    await runtime.stop(work.key, 0)
    runtime._cgroups.remove("m/host/mod")
    runtime._grouped.clear()  # as in a new agent
    await runtime.start(work.key)
    assert runtime._cgroups.read("m/host/mod").cpu == 0.5


async def _until_exists(path: Path) -> None:
    async with asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.01)


async def _until_log(runtime, key: Key, text: str) -> None:
    async with asyncio.timeout(20):
        async for line in runtime.logs(key, tail=None, follow=True):
            if line.text == text:
                return
