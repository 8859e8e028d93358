"""Budgets on this machine's own cgroup version: set, read back, felt, killed, removed."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otter_agent.api import Budget
from otter_agent.cgroups import open_cgroups
from otter_agent.errors import CgroupError

pytestmark = [pytest.mark.timed, pytest.mark.netns]


@pytest.fixture
def inside(cgroups) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`inside(group, script)`: a shell that enters the group first, then runs the script."""
    started: list[subprocess.Popen[str]] = []

    def start(group: str, script: str) -> subprocess.Popen[str]:
        enter = "".join(f"echo 0 > {path}; " for path in cgroups.procs_files(group))
        made = subprocess.Popen(
            ["sh", "-c", f"{enter} echo in; {script}"], stdout=subprocess.PIPE, text=True
        )
        started.append(made)
        assert made.stdout.readline() == "in\n"
        return made

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_budgets_are_read_back(cgroups):
    asked = Budget(cpu=0.15, memory_bytes=(64 << 20) + 1, pids=30)
    in_force = cgroups.ensure("m/h", asked)
    assert in_force == Budget(cpu=0.15, memory_bytes=64 << 20, pids=30, period_s=0.007)
    assert cgroups.read("m/h") == in_force
    assert cgroups.ensure("m/h", asked) == in_force
    assert cgroups.ensure("m/h", Budget()) == Budget()


def test_groups_are_those_of_this_agent(cgroups, agent_id):
    other = open_cgroups(agent_id + "x")
    cgroups.ensure("m/h/a", Budget())
    other.ensure("m/h/b", Budget())
    assert cgroups.groups() == ["m", "m/h", "m/h/a"]
    other.remove("")
    assert other.groups() == []
    assert cgroups.read("m/h/a") == Budget()


@pytest.mark.parametrize("order", list(itertools.permutations(["m/h", "m/h/a", "m/h/b"])))
def test_any_order_of_host_and_modules(cgroups, order):
    """Lowering the host below its modules, and raising it again, on a kernel that refuses that."""
    budgets = {"m/h": Budget(cpu=1.0), "m/h/a": Budget(cpu=0.8), "m/h/b": Budget(cpu=0.3)}
    for group in order:
        cgroups.ensure(group, budgets[group])
    assert cgroups.read("m/h/a").cpu == 0.8
    cgroups.ensure("m/h", Budget(cpu=0.5))
    assert cgroups.read("m/h").cpu == 0.5
    assert effective(cgroups, "m/h/a") == 0.5
    assert cgroups.read("m/h/b").cpu == 0.3
    cgroups.ensure("m/h/b", Budget(cpu=0.7))
    assert effective(cgroups, "m/h/b") == 0.5
    cgroups.ensure("m/h", Budget())
    assert [cgroups.read(g).cpu for g in ("m/h", "m/h/a", "m/h/b")] == [None, 0.8, 0.7]


def effective(cgroups, group: str) -> float:
    """The scarcest of a group and its parents."""
    parts = group.split("/")
    found = [cgroups.read("/".join(parts[:n])).cpu for n in range(1, len(parts) + 1)]
    return min(cpu for cpu in found if cpu is not None)


def test_what_was_asked_survives_the_agent(cgroups, agent_id):
    cgroups.ensure("m/h", Budget(cpu=0.5))
    cgroups.ensure("m/h/a", Budget(cpu=0.8))
    open_cgroups(agent_id).ensure("m/h", Budget(cpu=2))
    assert cgroups.read("m/h/a").cpu == 0.8


def test_groups_that_an_engine_made_follow_their_host(cgroups):
    """Docker makes a container's group below ours and sets the quota itself."""
    if cgroups.version != "v1":
        pytest.skip("v2 has no such rule")
    cgroups.ensure("m/h", Budget(cpu=1.0))
    container = Path(cgroups.procs_files("m/h")[0]).parent / "0123abc"
    container.mkdir()
    quota = container / "cpu.cfs_quota_us"
    quota.write_text("90000")
    cgroups.ensure("m/h", Budget(cpu=0.25))
    assert cgroups.read("m/h").cpu == 0.25
    assert int(quota.read_text()) == 1250
    cgroups.ensure("m/h", Budget(cpu=1.0))
    assert int(quota.read_text()) == 90000
    cgroups.ensure("m/h", Budget(cpu=0.25))
    quota.write_text("1000")  # the engine sets another one meanwhile
    cgroups.ensure("m/h", Budget(cpu=1.0))
    assert int(quota.read_text()) == 1000


@pytest.mark.parametrize("cpu", [0.5, 0.1])
def test_scarcity_is_felt_by_single_inferences(cgroups, inside, cpu):
    """40 ms of work take about 40 ms / cpu, not 40 ms out of a long period's quota."""
    cgroups.ensure("m/h/a", Budget(cpu=cpu))
    script = (
        "import time\n"
        "for _ in range(5):\n"
        "    wall, end = time.monotonic(), time.process_time() + 0.04\n"
        "    while time.process_time() < end: pass\n"
        "    print(time.monotonic() - wall, flush=True)\n"
    )
    process = inside("m/h/a", f"exec python3 -c '{script}'")
    took = sorted(float(process.stdout.readline()) for _ in range(5))
    # What others take makes some longer, as a wrong quota would make all.
    assert took[1] == pytest.approx(0.04 / cpu, rel=0.35)


def test_memory_below_use_is_refused(cgroups, inside):
    cgroups.ensure("m/h/a", Budget())
    eat = 'python3 -c "x = bytearray(50 << 20); print(1, flush=True); input()"'
    process = inside("m/h/a", f"exec {eat} < /dev/zero")
    assert process.stdout.readline() == "1\n"
    with pytest.raises(CgroupError, match="bytes are in use, more than the 10,485,760 asked"):
        cgroups.ensure("m/h/a", Budget(memory_bytes=10 << 20))
    assert process.poll() is None
    assert cgroups.read("m/h/a").memory_bytes is None


def test_out_of_memory_is_counted(cgroups, inside):
    cgroups.ensure("m/h/a", Budget(memory_bytes=20 << 20))
    assert cgroups.oom_kills("m/h/a") == 0
    process = inside("m/h/a", 'exec python3 -c "x = bytearray(50 << 20)"')
    assert process.wait(30) == -9
    assert cgroups.oom_kills("m/h/a") == 1


@pytest.mark.parametrize(("limited", "whose"), [("m/h", [False, False]), ("m/h/a", [True, False])])
def test_memory_runs_out_for_whom_it_is_limited(cgroups, inside, limited, whose):
    """Not for a module that only is on the same host; nor for one that has no limit of its own."""
    for group in ("m/h/a/1", "m/h/b/1"):  # as an engine makes them, below its modules'
        cgroups.ensure(group, Budget())
    cgroups.ensure(limited, Budget(memory_bytes=32 << 20))
    sleeps = [inside(f"m/h/{name}/1", "exec sleep 100") for name in "ab"]
    ooms = [cgroups.ooms(process.pid) for process in sleeps]
    assert not any(one.happened() for one in ooms)
    eats = inside("m/h/a/1", "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done")
    assert eats.wait(60) == -9
    v2 = (Path("/sys/fs/cgroup") / "cgroup.controllers").exists()  # it counts who was killed
    assert [one.happened() for one in ooms] == ([True, False] if v2 else whose)
    for one in ooms:
        one.close()


def test_kill_and_remove(cgroups, inside):
    cgroups.ensure("m/h/a", Budget(pids=20))
    process = inside("m/h/a", "sleep 3600 & sleep 3600")
    assert process.pid in cgroups.pids("m")
    with pytest.raises(CgroupError, match="remove"):
        cgroups.remove("m/h/a")
    cgroups.kill("m")
    assert process.wait(10) == -9
    assert cgroups.pids("m") == set()
    assert cgroups.read("m/h/a").pids == 20  # a limit used for killing is put back
    assert cgroups.read("m").pids is None
    cgroups.remove("m/h")
    assert cgroups.groups() == []
    for again in (cgroups.kill, cgroups.remove):
        again("m/h")


def test_kill_wins_against_forking(cgroups, inside):
    cgroups.ensure("m/h/a", Budget(pids=200))
    inside("m/h/a", "b() { b | b & b; }; b 2>/dev/null")
    began = time.monotonic()
    cgroups.kill("m/h/a")
    assert time.monotonic() - began < 5
    cgroups.remove("m")
