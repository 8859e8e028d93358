"""What is written to and read from a v2 tree; the kernel's part is in tests/kernel."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from otter_agent.api import Budget
from otter_agent.cgroups import base
from otter_agent.cgroups.quota import Quota
from otter_agent.cgroups.v2 import CgroupsV2, parse_cpu_max, parse_flat
from otter_agent.errors import CgroupError

GROUP = "otter-a1/m/h"


@pytest.fixture
def tree(tmp_path) -> Path:
    """A tree of plain files, as the kernel makes them with each group."""
    path = tmp_path
    for name in ("", *GROUP.split("/"), "mod"):
        path = path / name
        path.mkdir(exist_ok=True)
        (path / "cgroup.subtree_control").write_text("memory pids")
        (path / "cgroup.procs").write_text("")
        (path / "cpu.max").write_text("max 5000\n")  # as long as what replaces it
        (path / "memory.max").write_text("max\n")
        (path / "memory.swap.max").write_text("max\n")
        (path / "memory.current").write_text(f"{100 << 20}\n")
        (path / "memory.stat").write_text(f"anon 1\nfile {60 << 20}\nshmem {10 << 20}\n")
        (path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
        (path / "pids.max").write_text("max\n")
    return tmp_path


def test_ensure_writes_and_reads_back(tree):
    cgroups = CgroupsV2("a1", tree)
    asked = Budget(cpu=0.5, memory_bytes=64 << 20, pids=100)
    got = cgroups.ensure("m/h", asked)
    assert got == Budget(cpu=0.5, memory_bytes=64 << 20, pids=100, period_s=0.005)
    assert (tree / GROUP / "cpu.max").read_text().startswith("2500 5000")
    assert (tree / GROUP / "memory.swap.max").read_text().startswith("0")


def test_only_the_parents_of_a_group_pass_controllers_on(tree):
    CgroupsV2("a1", tree).ensure("m/h/mod", Budget())
    for path, added in (("", True), ("otter-a1", True), (GROUP, True), (f"{GROUP}/mod", False)):
        text = (tree / path / "cgroup.subtree_control").read_text()
        assert text.startswith("+cpu") is added, path


@pytest.mark.parametrize("there", [True, False])
def test_what_nvidias_driver_limits_memory_by_is_handed_on_where_the_kernel_has_it(tree, there):
    for path in ("", "otter-a1", "otter-a1/m", GROUP, f"{GROUP}/mod"):
        text = "cpu memory pids" + (" rdma dmem" if there else " rdma")
        (tree / path / "cgroup.controllers").write_text(text)
        (tree / path / "cgroup.subtree_control").write_text("cpu memory pids")
    CgroupsV2("a1", tree).ensure("m/h/mod", Budget())
    for path, added in (("", there), ("otter-a1", there), (GROUP, there), (f"{GROUP}/mod", False)):
        text = (tree / path / "cgroup.subtree_control").read_text()
        assert text.startswith("+dmem") is added, path


def test_memory_below_use_is_refused_not_counting_cache(tree):
    cgroups = CgroupsV2("a1", tree)
    with pytest.raises(CgroupError, match=r"52,428,800 bytes are in use, more than the 41,943,040"):
        cgroups.ensure("m/h", Budget(memory_bytes=40 << 20))
    assert (tree / GROUP / "memory.max").read_text() == "max\n"
    cgroups.ensure("m/h", Budget(memory_bytes=60 << 20))


def test_names_and_files(tree):
    cgroups = CgroupsV2("a1", tree)
    assert cgroups.groups() == ["m", "m/h", "m/h/mod"]
    assert cgroups.procs_files("m/h") == [tree / GROUP / "cgroup.procs"]
    assert cgroups.docker_parent("m/h", "cgroupfs") == "/otter-a1/m/h"
    assert cgroups.docker_parent("m/h-1", "cgroupfs") == "/otter-a1/m/h-1"
    assert cgroups.oom_kills("m/h") == 2
    assert cgroups.pids("m/absent") == set()
    with pytest.raises(CgroupError, match="No such file"):
        cgroups.read("m/absent")


class Busy:
    """The kernel, to which somebody belongs for some time yet, on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, for_s: float) -> None:
        self.now_s, self.for_s = 0.0, for_s
        monkeypatch.setattr(Path, "rmdir", self.rmdir)
        monkeypatch.setattr(base.time, "sleep", self.sleep)

    def rmdir(self) -> None:
        if self.now_s < self.for_s:
            raise OSError(errno.EBUSY, "Device or resource busy")

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s
        self.meanwhile()

    def meanwhile(self) -> None:
        """What somebody else does as this one waits."""


def test_a_group_goes_when_its_last_process_has_given_back_what_it_had(tree, monkeypatch):
    """Off the list it is when it begins to end; with much memory and no processor that takes."""
    busy = Busy(monkeypatch, for_s=4.0)
    CgroupsV2("a1", tree).remove("m/h")
    assert busy.now_s >= 4.0


def test_meanwhile_others_have_their_budgets(tree, monkeypatch):
    cgroups, busy = CgroupsV2("a1", tree), Busy(monkeypatch, for_s=0.001)

    def has_its_turn() -> bool:
        if turn := cgroups._lock.acquire(timeout=20):
            cgroups._lock.release()
        return turn

    def another_one() -> None:
        with ThreadPoolExecutor() as pool:
            assert pool.submit(has_its_turn).result()

    busy.meanwhile = another_one
    cgroups.remove("m/h")
    assert busy.now_s > 0


@pytest.mark.parametrize(("inside", "waited_s"), [("", 5), ("1\n", 0)])
def test_a_group_that_somebody_is_in_stays(tree, monkeypatch, inside, waited_s):
    (tree / GROUP / "mod" / "cgroup.procs").write_text(inside)
    busy = Busy(monkeypatch, for_s=100)
    with pytest.raises(CgroupError, match="busy") as caught:
        CgroupsV2("a1", tree).remove("m/h")
    assert caught.value.recoverable
    assert busy.now_s <= waited_s


@pytest.mark.parametrize("group", ["..", "m/../x", "m//h", "/m", "m/h/", ".hidden", "m\n"])
def test_a_group_cannot_lead_elsewhere(tree, group):
    with pytest.raises(CgroupError, match="can't be a group's name"):
        CgroupsV2("a1", tree).remove(group)


def test_too_little_cpu_is_refused(tree):
    with pytest.raises(CgroupError, match=r"m/h: cgroups could not limit the CPU: 0\.0005 cores"):
        CgroupsV2("a1", tree).ensure("m/h", Budget(cpu=0.0005))


def test_formats():
    assert parse_cpu_max("max 100000\n") is None
    assert parse_cpu_max("2500 5000\n") == Quota(2500, 5000)
    assert parse_flat("a 1\nb 2\n") == {"a": 1, "b": 2}
