"""Whole disks from mounts, and what is written to and read from the files of limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from otter_agent.api import Budget
from otter_agent.cgroups.base import Cgroups
from otter_agent.cgroups.disks import disks, io_max, parse_io_max, parse_throttles
from otter_agent.cgroups.v1 import CgroupsV1
from otter_agent.cgroups.v2 import CgroupsV2

MOUNTS = r"""
27 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
28 27 254:2 / /home rw - ext4 /dev/vda2 rw
29 27 0:21 / /proc rw - proc proc rw
30 27 7:3 / /snap rw - squashfs /dev/loop3 ro
31 27 7:1 / /image rw - ext4 /dev/loop1 rw
32 27 8:0 / /data\040two rw - xfs /dev/sda rw
33 27 9:9 / /gone rw - xfs /dev/md9 rw
"""


@pytest.fixture
def sys(tmp_path) -> Path:
    """`/sys` of a machine with two partitions, a loop device in a file in memory, and a disk."""
    root = tmp_path / "sys"
    for disk, parts in (("vda 254:0", ("vda1 254:1", "vda2 254:2")), ("loop1 7:1", ()),
                        ("sda 8:0", ())):  # fmt: skip
        name, number = disk.split()
        folder = root / "devices" / name
        folder.mkdir(parents=True)
        (folder / "dev").write_text(f"{number}\n")
        (root / "dev" / "block").mkdir(parents=True, exist_ok=True)
        (root / "dev" / "block" / number).symlink_to(folder)
        for part in parts:
            name, number = part.split()
            (folder / name).mkdir()
            (folder / name / "partition").write_text("1\n")
            (root / "dev" / "block" / number).symlink_to(folder / name)
    (root / "devices" / "loop1" / "loop").mkdir()
    (root / "devices" / "loop1" / "loop" / "backing_file").write_text("/proc/version\n")
    return root


def test_each_disk_once_whatever_is_mounted_from_it(sys, tmp_path):
    (tmp_path / "mounts").write_text(MOUNTS.strip() + "\n")
    assert disks(sys, tmp_path / "mounts") == ["254:0", "7:1", "8:0"]


def test_a_file_on_a_disk_counts_as_that_disk(sys, tmp_path):
    (sys / "devices" / "loop1" / "loop" / "backing_file").write_text("/deleted\n")
    (tmp_path / "mounts").write_text(MOUNTS.strip() + "\n")
    assert disks(sys, tmp_path / "mounts") == ["254:0", "7:1", "8:0"]


def test_lines_of_io_max():
    budget = Budget(read_bytes_per_s=4_000_000, write_iops=500)
    line = io_max("254:0", budget)
    assert line == "254:0 rbps=4000000 wbps=max riops=max wiops=500"
    assert parse_io_max(f"{line}\n8:0 rbps=2000000 wbps=max riops=max wiops=max\n") == {
        "read_bytes_per_s": 2_000_000, "write_iops": 500,
    }  # fmt: skip
    assert parse_io_max("") == {}


def test_lines_of_v1():
    texts = {"read_bytes_per_s": "254:0 4000000\n8:0 3000000\n", "write_iops": ""}
    assert parse_throttles(texts) == {"read_bytes_per_s": 3_000_000}


@pytest.fixture
def v2(tmp_path, monkeypatch) -> Cgroups:
    monkeypatch.setattr("otter_agent.cgroups.v2.disks", lambda: ["254:0"])
    path = tmp_path / "v2"
    for name in ("", "otter-a1", "m", "h"):
        path = path / name
        path.mkdir(exist_ok=True)
        for file, text in {
            "cgroup.subtree_control": "cpu memory pids", "cgroup.controllers": "cpu io memory pids",
            "cpu.max": "max 5000\n", "memory.max": "max\n", "memory.current": "0\n",
            "memory.stat": "file 0\n", "pids.max": "max\n", "io.max": "",
        }.items():  # fmt: skip
            (path / file).write_text(text)
    return CgroupsV2("a1", tmp_path / "v2")


def test_v2_hands_the_controller_on_only_once_somebody_asks(v2, tmp_path):
    control = tmp_path / "v2" / "otter-a1" / "m" / "cgroup.subtree_control"
    v2.ensure("m/h", Budget())
    assert "io" not in control.read_text()
    told = v2.ensure("m/h", Budget(write_bytes_per_s=1000))
    assert control.read_text().startswith("+io")
    assert told.write_bytes_per_s == 1000
    assert v2.no_disks() in ("", "no file system here is on a disk")


def test_v1_gives_a_module_s_limits_to_its_containers_and_a_host_s_to_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("otter_agent.cgroups.v1.disks", lambda: ["254:0"])
    for group in ("m/h", "m/h/a", "m/h/a/0123"):
        folder = tmp_path / "blkio" / "otter-a1" / group
        folder.mkdir(parents=True)
        for name in ("read_bps", "write_bps", "read_iops", "write_iops"):
            (folder / f"blkio.throttle.{name}_device").write_text("")
    cgroups = CgroupsV1("a1", {"blkio": tmp_path / "blkio"}, [])
    cgroups._set_disks("m/h", Budget(read_iops=9))
    cgroups._set_disks("m/h/a", Budget(read_bytes_per_s=77))
    file = "blkio.throttle.read_bps_device"
    of = {g: (tmp_path / "blkio" / "otter-a1" / g / file).read_text()
          for g in ("m/h", "m/h/a", "m/h/a/0123")}  # fmt: skip
    assert of == {"m/h": "254:0 0", "m/h/a": "254:0 77", "m/h/a/0123": "254:0 77"}


def test_v1_gets_no_more_operations_than_its_number_can_hold(tmp_path, monkeypatch):
    monkeypatch.setattr("otter_agent.cgroups.v1.disks", lambda: ["254:0"])
    folder = tmp_path / "blkio" / "otter-a1" / "m" / "h" / "a"
    folder.mkdir(parents=True)
    for name in ("read_bps", "write_bps", "read_iops", "write_iops"):
        (folder / f"blkio.throttle.{name}_device").write_text("")
    cgroups = CgroupsV1("a1", {"blkio": tmp_path / "blkio"}, [])
    cgroups._set_disks("m/h/a", Budget(read_iops=1 << 32, read_bytes_per_s=1 << 40))
    assert (folder / "blkio.throttle.read_iops_device").read_text() == f"254:0 {(1 << 32) - 1}"
    assert (folder / "blkio.throttle.read_bps_device").read_text() == f"254:0 {1 << 40}"
