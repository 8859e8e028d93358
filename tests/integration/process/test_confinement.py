"""What a process module can and can't see or do, and commands run beside it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.workloads import DEADLINE_S, log_text, make_workload, run, until, until_exit

from otter_agent.api import Budget
from otter_agent.errors import ContainerError
from otter_agent.runtimes.base import Artifact, Phase
from otter_agent.runtimes.process import PIDS_LIMIT

pytestmark = pytest.mark.netns


async def shown(runtime, layout, script: str, **options) -> list[str]:
    """The log of a shell script run as a module."""
    work = make_workload(layout, "", ("sh", "-c", script), **options)
    await run(runtime, work)
    await until_exit(runtime, work.key)
    return await log_text(runtime, work.key)


async def test_capabilities_are_docker_s_default(runtime, layout):
    lines = await shown(runtime, layout, "grep -E '^(Cap|NoNew)' /proc/self/status")
    fields = dict(line.split(":\t") for line in lines)
    assert fields["NoNewPrivs"] == "1"
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(fields[name], 16) == 0xA80425FB, name
    assert int(fields["CapAmb"], 16) == 0


async def test_it_cannot_change_its_network_or_its_budget(runtime, layout):
    script = "ip link add x type dummy; ip route add 10.9.0.0/16 dev lo; ls /sys/fs/cgroup | wc -l"
    lines = await shown(runtime, layout, script)
    assert sum("Operation not permitted" in line for line in lines) == 2
    assert lines[-1] == "0"


async def test_environment_is_complete_and_nothing_else(runtime, layout, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "x")
    artifact = Artifact("", argv=("env",), env={"A": "artifact", "B": "artifact"})
    work = make_workload(layout, "", None, artifact=artifact, env={"A": "work", "OTTER_WORK": "no"})
    await run(runtime, work)
    await until_exit(runtime, work.key)
    got = dict(line.split("=", 1) for line in await log_text(runtime, work.key))
    paths = work.paths
    assert got.pop("PATH").endswith("/bin")
    assert got == {
        "A": "work", "B": "artifact", "HOME": str(paths.work), "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1",
        "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": "", "OTTER_WORK": str(paths.work),
        "OTTER_WIRING": str(paths.wiring_file), "OTTER_STATE": str(paths.state),
    }  # fmt: skip


async def test_folder_descriptors_and_session(runtime, layout):
    script = "pwd; ls /proc/self/fd | wc -l; readlink /proc/self/fd/0; cat /proc/$$/stat"
    lines = await shown(runtime, layout, script)
    stat = lines[3].rpartition(") ")[2].split()
    assert lines[0] == str(layout.module("m", "mod").work)
    assert lines[1:3] == ["4", "/dev/null"]  # 0 to 2, and the one that ls reads
    assert stat[3] == lines[3].split()[0]  # leads a session of its own


async def test_shared_folders_are_read_only(runtime, layout, tmp_path):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "file").write_text("content\n")
    lines = await shown(
        runtime, layout, f"cat {tmp_path}/env/file; touch {tmp_path}/env/x; touch here && echo ok",
        artifact=Artifact("", readonly=(str(tmp_path / "env"),)),
    )  # fmt: skip
    assert lines[0] == "content"
    assert "Read-only file system" in lines[1]
    assert lines[2] == "ok"
    (tmp_path / "env" / "x").touch()  # outside it is as before


def mounts(*places: str) -> list[str]:
    """Lines of the mounts at these places and below; elsewhere others mount and unmount."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [x for x in lines if any(f"{x.split()[4]}/".startswith(f"{p}/") for p in places)]


@pytest.fixture
def namespace(agent_id) -> Iterator[Path]:
    """A named one; the launcher does away with its copies of the mounts of those."""
    name = f"{agent_id}-kept"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield Path("/run/netns", name)
    subprocess.run(["ip", "netns", "delete", name], check=True)


async def test_mounts_stay_inside(runtime, layout, tmp_path, namespace):
    (tmp_path / "env").mkdir()
    artifact = Artifact("", readonly=(str(tmp_path / "env"),))
    places = ("/etc", "/proc", "/sys", "/dev", "/run/secrets", str(tmp_path), str(namespace))
    before = mounts(*places)
    assert f" {namespace} " in before[-1]
    await run(runtime, make_workload(layout, "", ("sleep", "3600"), artifact=artifact))
    assert mounts(*places) == before
    assert "100.64.0.9" not in Path("/etc/hosts").read_text()


async def test_a_program_that_cannot_run_says_so(runtime, layout):
    work = make_workload(layout, "", ("./script",))
    (work.paths.work / "script").write_text("not executable")
    await run(runtime, work)
    assert (await until_exit(runtime, work.key)).exit_code == 126
    assert await log_text(runtime, work.key) == ["otter: cannot run ./script: Permission denied"]


async def test_no_command_is_refused(runtime, layout):
    with pytest.raises(ContainerError, match="no command"):
        await runtime.create(make_workload(layout, ""))


async def test_budget_and_default_pids(runtime, layout, cgroups):
    cgroups.ensure("m/host", Budget(cpu=1.0))
    work = make_workload(layout, "", ("sleep", "3600"), budget=Budget(cpu=0.25))
    await run(runtime, work)
    in_force = cgroups.read("m/host/mod")
    assert (in_force.cpu, in_force.period_s, in_force.pids) == (0.25, 0.005, PIDS_LIMIT)
    await runtime.update(work.key, Budget(cpu=0.5, memory_bytes=1 << 28, pids=10))
    in_force = cgroups.read("m/host/mod")
    assert (in_force.cpu, in_force.memory_bytes, in_force.pids) == (0.5, 1 << 28, 10)
    await runtime.stop(work.key, 0)
    await runtime.start(work.key)  # and what was changed is kept
    assert cgroups.read("m/host/mod") == in_force


async def test_memory_below_use_is_refused_with_the_amount(runtime, layout, cgroups):
    eat = "import time; x = bytearray(64 << 20); print(len(x), flush=True); time.sleep(3600)"
    work = make_workload(layout, "", ("python3", "-c", eat), module="eater")
    running = await run(runtime, work)

    async def printed() -> bool:
        return bool(await log_text(runtime, work.key))

    await until(printed, "the memory is in use")
    with pytest.raises(ContainerError, match=r"\d\d,\d{3},\d{3} bytes are in use"):
        await runtime.update(work.key, Budget(memory_bytes=16 << 20))
    [found] = await runtime.list()
    assert (found.phase, found.pid) == (Phase.RUNNING, running.pid)
    assert cgroups.read("m/host/eater").memory_bytes is None


class Output:
    def __init__(self) -> None:
        self.text = {1: b"", 2: b""}
        self.first = asyncio.Event()

    async def __call__(self, fd: int, data: bytes) -> None:
        self.text[fd] += data
        self.first.set()


async def test_a_command_is_inside(runtime, layout, cgroups):
    work = make_workload(layout, "", ("sleep", "3600"))
    running = await run(runtime, work)
    output = Output()
    script = "readlink /proc/self/ns/net; readlink /proc/self/ns/mnt; pwd; hostname; echo err >&2; "
    script += "grep CapEff /proc/self/status; cat /proc/self/cgroup; kill -9 $$"
    status = await runtime.exec(work.key, ("sh", "-c", script), stdin=None, output=output)
    lines = output.text[1].decode().splitlines()
    assert status == 137
    assert output.text[2] == b"err\n"
    assert lines[:2] == [os.readlink(f"/proc/{running.pid}/ns/{n}") for n in ("net", "mnt")]
    assert lines[2:4] == [str(work.paths.work), "mod"]
    assert int(lines[4].split()[1], 16) == 0xA80425FB
    assert any(line.endswith("/m/host/mod") for line in lines[5:])


async def test_a_cancelled_command_is_killed(runtime, layout, cgroups):
    work = make_workload(layout, "", ("sleep", "3600"))
    running = await run(runtime, work)
    output = Output()
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        argv = ("sh", "-c", "sleep 3600 & echo on; wait")
        task = group.create_task(runtime.exec(work.key, argv, stdin=None, output=output))
        await output.first.wait()
        assert len(cgroups.pids("m/host/mod")) == 3
        task.cancel()

    async def alone() -> bool:
        return cgroups.pids("m/host/mod") == {running.pid}

    await until(alone, "only the module is left")


async def test_commands_die_with_the_agent_s_connection(runtime, layout, cgroups):
    work = make_workload(layout, "", ("sleep", "3600"))
    running = await run(runtime, work)
    output = Output()
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        argv = ("sh", "-c", "echo on; sleep 3600")
        task = group.create_task(expect_lost(runtime, work.key, argv, output))
        await output.first.wait()
        await runtime.aclose()
        await task

    async def alone() -> bool:
        return cgroups.pids("m/host/mod") == {running.pid}

    await until(alone, "only the module is left")


async def expect_lost(runtime, key, argv, output) -> None:
    with pytest.raises(ContainerError, match="went away"):
        await runtime.exec(key, argv, stdin=None, output=output)


async def test_logs_of_any_bytes(runtime, layout):
    script = (
        r"printf 'caf\303\251\n\377bad\n'; head -c 200000 /dev/zero | tr '\0' x; echo; printf end"
    )
    lines = await shown(runtime, layout, script)
    assert lines[:2] == ["café", "�bad"]
    assert "".join(lines[2:-1]) == "x" * 200_000
    assert max(len(line) for line in lines) <= 64 * 1024
    assert lines[-1] == "end"
