"""Which version is used, from what is mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from otter_agent.cgroups import detect
from otter_agent.errors import CgroupError

HYBRID = """\
29 23 0:25 / /sys/fs/cgroup ro,nosuid shared:4 - tmpfs tmpfs ro,mode=755
30 29 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate
31 29 0:27 / /sys/fs/cgroup/systemd rw,nosuid shared:6 - cgroup cgroup rw,xattr,name=systemd
33 29 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:7 - cgroup cgroup rw,cpu,cpuacct
34 29 0:31 / /sys/fs/cgroup/memory rw,nosuid shared:8 - cgroup cgroup rw,memory
35 29 0:32 / /sys/fs/cgroup/pids rw,nosuid - cgroup cgroup rw,pids
"""
UNIFIED = "30 23 0:26 / {} rw,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_hybrid_is_v1():
    mounts = detect.parse_mounts(HYBRID)
    assert mounts.controllers["cpu"] == mounts.controllers["cpuacct"]
    assert mounts.controllers["memory"] == Path("/sys/fs/cgroup/memory")
    assert mounts.v2 == Path("/sys/fs/cgroup/unified")
    assert len(mounts.v1) == 4
    assert detect._version(mounts) == "v1"


def test_unified_is_v2(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    assert detect._version(detect.parse_mounts(UNIFIED.format(tmp_path))) == "v2"


def test_escaped_mount_points():
    assert detect.parse_mounts(UNIFIED.format(r"/a\040b")).v2 == Path("/a b")


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpuset io memory\n")
    with pytest.raises(CgroupError, match="lacks cpu, pids"):
        detect._version(detect.parse_mounts(UNIFIED.format(tmp_path)))
    with pytest.raises(
        CgroupError, match="no cgroup v2 is mounted, and v1 lacks cpu, memory, pids"
    ):
        detect._version(detect.parse_mounts(""))
    without_pids = "\n".join(HYBRID.splitlines()[2:-1])
    with pytest.raises(CgroupError, match="v1 lacks pids"):
        detect._version(detect.parse_mounts(without_pids))


@pytest.mark.parametrize("beside", ["", "\n".join(HYBRID.splitlines()[2:4])])
def test_a_raspberry_pi_whose_memory_controller_is_off_is_told_how_to_boot(tmp_path, beside):
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io pids\n")
    with pytest.raises(CgroupError, match="lacks memory") as told:
        detect._version(detect.parse_mounts(UNIFIED.format(tmp_path) + beside))
    assert "cgroup_enable=memory cgroup_memory=1" in told.value.hint
    assert "/boot/firmware/cmdline.txt" in str(told.value)
    (tmp_path / "cgroup.controllers").write_text("cpuset io pids\n")
    with pytest.raises(CgroupError, match="lacks cpu, memory") as told:
        detect._version(detect.parse_mounts(UNIFIED.format(tmp_path)))
    assert "cmdline.txt" not in told.value.hint
