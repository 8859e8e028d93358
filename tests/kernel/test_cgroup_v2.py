"""Budgets and the process runtime on a kernel with cgroup v2 alone."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from helpers.workloads import make_workload, run, until_exit

from otter_agent.api import Budget
from otter_agent.cgroups import open_cgroups, probe
from otter_agent.cgroups.base import Cgroups
from otter_agent.errors import CgroupError, ContainerError
from otter_agent.layout import Layout
from otter_agent.runtimes.base import Phase
from otter_agent.runtimes.process import PIDS_LIMIT, ProcessRuntime

EAT = "x = bytearray(40 << 20); print(1, flush=True)"


@pytest.fixture
def cgroups() -> Iterator[Cgroups]:
    opened = open_cgroups(f"t{uuid.uuid4().hex[:8]}")
    yield opened
    opened.kill("")
    opened.remove("")
    assert opened.groups() == []


@pytest.fixture
async def runtime(cgroups, tmp_path) -> AsyncIterator[ProcessRuntime]:
    layout = Layout.at(tmp_path)
    made = ProcessRuntime(layout, "unused", cgroups, launcher_idle_s=0.1)
    made.layout = layout
    yield made
    for instance in await made.list():
        await made.remove(instance.key)
    await made.aclose()


@pytest.fixture
def inside(cgroups) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`inside(group, script)`: a shell that enters the group first, then runs the script."""
    started: list[subprocess.Popen[str]] = []

    def start(group: str, script: str) -> subprocess.Popen[str]:
        [procs] = cgroups.procs_files(group)
        made = subprocess.Popen(
            ["sh", "-c", f"echo 0 > {procs}; echo in; {script}"], stdout=subprocess.PIPE, text=True
        )
        started.append(made)
        assert made.stdout.readline() == "in\n"
        return made

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_it_is_v2_here(cgroups):
    assert probe().version == cgroups.version == "v2"


def test_budgets_are_read_back(cgroups):
    asked = Budget(cpu=0.15, memory_bytes=64 << 20, pids=30)
    in_force = cgroups.ensure("m/h", asked)
    assert in_force == Budget(cpu=0.15, memory_bytes=64 << 20, pids=30, period_s=0.007)
    assert cgroups.ensure("m/h", Budget()) == Budget()


def test_any_order_of_host_and_modules(cgroups):
    """v2 takes the scarcest of the levels and refuses nothing."""
    cgroups.ensure("m/h/a", Budget(cpu=0.8))
    cgroups.ensure("m/h", Budget(cpu=0.5))
    assert [cgroups.read(g).cpu for g in ("m/h", "m/h/a")] == [0.5, 0.8]


def test_a_module_s_group_takes_processes_and_its_parents_budget_holds(cgroups, inside):
    cgroups.ensure("m/h", Budget(pids=20))
    cgroups.ensure("m/h/a", Budget())
    process = inside("m/h/a", "sleep 3600 & sleep 3600")
    assert process.pid in cgroups.pids("m/h")
    cgroups.ensure("m/h/b", Budget(cpu=1))  # a second module, while the first is there
    cgroups.kill("m")
    assert process.wait(10) == -9
    cgroups.remove("m/h")
    assert cgroups.groups() == []


def test_memory_below_use_is_refused_as_on_v1(cgroups, inside):
    cgroups.ensure("m/h/a", Budget())
    process = inside("m/h/a", f'exec python3 -c "{EAT}; input()" < /dev/zero')
    assert process.stdout.readline() == "1\n"
    with pytest.raises(CgroupError, match="bytes are in use, more than the 10,485,760 asked"):
        cgroups.ensure("m/h/a", Budget(memory_bytes=10 << 20))
    assert process.poll() is None
    assert cgroups.read("m/h/a").memory_bytes is None


def test_out_of_memory_is_counted(cgroups, inside):
    cgroups.ensure("m/h/a", Budget(memory_bytes=20 << 20))
    process = inside("m/h/a", f'exec python3 -c "{EAT}"')
    assert process.wait(60) == -9
    assert cgroups.oom_kills("m/h/a") == 1


def test_scarcity_is_felt_by_single_inferences(cgroups, inside):
    cgroups.ensure("m/h/a", Budget(cpu=0.25))
    script = (
        "import time\n"
        "for _ in range(3):\n"
        "    wall, end = time.monotonic(), time.process_time() + 0.1\n"
        "    while time.process_time() < end: pass\n"
        "    print(time.monotonic() - wall, flush=True)\n"
    )
    process = inside("m/h/a", f"exec python3 -c '{script}'")
    took = sorted(float(process.stdout.readline()) for _ in range(3))
    assert took[1] >= 0.26
    assert took[0] <= 0.54  # the shortest: a timer that comes late gives one period's time, not two


async def test_a_module_runs_is_limited_and_ends(runtime, cgroups):
    cgroups.ensure("m/host", Budget(cpu=1.0))
    work = make_workload(
        runtime.layout, "", ("sleep", "3600"), budget=Budget(cpu=0.5, memory_bytes=64 << 20)
    )
    running = await run(runtime, work)
    in_force = cgroups.read("m/host/mod")
    assert (in_force.cpu, in_force.memory_bytes, in_force.pids) == (0.5, 64 << 20, PIDS_LIMIT)
    assert cgroups.pids("m/host/mod") == {running.pid}
    with pytest.raises(ContainerError, match="in use"):
        await runtime.update(work.key, Budget(memory_bytes=4096))
    stopped = await runtime.stop(work.key, 5.0)
    assert (stopped.phase, stopped.exit_code) == (Phase.EXITED, 143)


async def test_a_module_out_of_memory_says_so(runtime):
    work = make_workload(
        runtime.layout, "", ("python3", "-c", EAT), budget=Budget(memory_bytes=20 << 20)
    )
    await run(runtime, work)
    ended = await until_exit(runtime, work.key)
    assert (ended.exit_code, ended.oom_killed) == (137, True)
