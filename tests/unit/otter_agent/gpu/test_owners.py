"""Whose a process on a GPU is, by a procfs that is made up: groups, containers, ancestors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from otter_agent import api
from otter_agent.gpu.owners import Owners, Running

TREE = "/otter-a1b2/mesh/edge"
ASR, VQA = Running("mesh", "asr", 100), Running("mesh", "vqa", 200)
V1 = "12:memory:{0}\n11:cpu,cpuacct:{0}\n9:pids:{0}\n5:devices:/\n1:name=systemd:/session\n"
V2 = "0::{0}\n"
Make = Callable[..., None]


@pytest.fixture
def process(tmp_path: Path) -> Make:
    """Makes one: its pid, its group, its parent's pid."""

    def make(pid: int, group: str, parent: int = 1, lines: str = V2) -> None:
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "comm").write_text(f"work-{pid}\n")
        (folder / "cgroup").write_text(lines.format(group))
        (folder / "status").write_text(f"Name:\twork\nPid:\t{pid}\nPPid:\t{parent}\n")

    return make


def owner(proc: Path, pid: int, *running: Running) -> str:
    told = Owners(running, proc).told(api.GpuProcess(pid=pid, kind="compute"))
    assert told.name == (f"work-{pid}" if (proc / str(pid)).exists() else "")
    assert bool(told.mesh) == bool(told.module)
    return told.module


@pytest.mark.parametrize("lines", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize(
    ("of_asr", "of_vqa"),
    [
        (f"{TREE}/asr", f"{TREE}/vqa"),  # processes
        (f"{TREE}/asr/4f5e", f"{TREE}/vqa/9a8b"),  # the engine's own groups below those
        (f"{TREE}/asr", f"{TREE}/asr2"),  # whose name begins alike
        ("/system.slice/otter-a1b2-asr.slice/docker-4f5e.scope",
         "/system.slice/otter-a1b2-vqa.slice/docker-9a8b.scope"),
    ],
)  # fmt: skip
def test_a_process_is_of_the_module_in_whose_group_it_is_or_below(
    tmp_path: Path, process: Make, of_asr: str, of_vqa: str, lines: str
) -> None:
    process(100, of_asr, lines=lines)
    process(200, of_vqa, lines=lines)
    process(101, of_asr, lines=lines)  # whoever started it is gone
    process(102, f"{of_asr}/of/its/own", lines=lines)
    process(201, f"{of_vqa}/of/its/own", lines=lines)
    process(300, "/user.slice", lines=lines)
    process(301, TREE, lines=lines)
    found = {pid: owner(tmp_path, pid, ASR, VQA) for pid in (100, 101, 102, 200, 201, 300, 301)}
    assert found == {
        100: "asr", 101: "asr", 102: "asr", 200: "vqa", 201: "vqa", 300: "", 301: "",
    }  # fmt: skip


@pytest.mark.parametrize("group", ["/", "/shared/by/all", ""])
def test_where_modules_have_no_groups_a_process_is_its_ancestors(
    tmp_path: Path, process: Make, group: str
) -> None:
    process(100, group)
    process(200, group)
    process(101, group, parent=100)
    process(102, group, parent=101)
    process(201, group, parent=200)
    process(300, group)
    found = {pid: owner(tmp_path, pid, ASR, VQA) for pid in (102, 201, 300)}
    assert found == {102: "asr", 201: "vqa", 300: ""}


def test_a_container_whose_first_process_has_a_group_beside_the_others(
    tmp_path: Path, process: Make
) -> None:
    """As who runs systemd, or an engine, in a container."""
    process(100, f"{TREE}/asr/4f5e/init")
    process(101, f"{TREE}/asr/4f5e/work", parent=100)
    assert owner(tmp_path, 101, ASR) == "asr"


def test_who_has_ended_or_has_no_end_of_ancestors_is_nobodys(tmp_path: Path, process: Make) -> None:
    process(400, "/elsewhere", parent=401)
    process(401, "/elsewhere", parent=400)
    assert owner(tmp_path, 400, ASR) == ""
    assert owner(tmp_path, 999, ASR) == ""
