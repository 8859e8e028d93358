"""Disks under cgroup v2: limits of a host hold for all its modules, and for buffered writes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.otter import wait_for

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

MESH = """
name = "disks"
[hosts.pi]
io = { write = "1MB/s" }
[modules.writer]
runtime = "process"
host = "pi"
command = ["python3", "-c", '''
import os, time
def took(size):
    began = time.monotonic()
    file = os.open("DISK/data", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(file, bytes(size))
    os.fsync(file)
    return time.monotonic() - began
print("buffered", took(1 << 20), flush=True)
while not os.path.exists("on"):
    time.sleep(0.05)
print("unlimited", took(1 << 20), flush=True)
time.sleep(1000)
''']
"""


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A file system on a loop device whose file is in memory: a disk, as far as limits go."""
    subprocess.run(["modprobe", "loop"], check=True)
    image, folder = tmp_path / "image", tmp_path / "disk"
    image.touch()
    os.truncate(image, 16 << 20)
    folder.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def said(otter, word: str) -> float | None:
    lines = [line.split() for line in otter("logs").stdout.splitlines() if word in line]
    return float(lines[-1][-1]) if lines else None


def test_buffered_writes_of_a_host_s_modules_take_the_time_that_its_budget_says(otter, disk):
    otter("apply", otter.topology(MESH.replace("DISK", str(disk))))
    group = Path(f"/sys/fs/cgroup/otter-{otter.agent_id}/disks/pi")
    assert "wbps=1000000" in (group / "io.max").read_text()
    (told,) = otter.json("shape", "show", "pi")["hosts"]
    assert (told["in_force"]["write_bytes_per_s"], told["note"]) == (1_000_000, "")
    took = wait_for(lambda: said(otter, "buffered"), "it never wrote")
    assert took > 0.7  # 1 MiB at 1 MB/s: 1.05 s
    otter("shape", "host", "pi", "--write", "none")
    assert "wbps=1000000" not in (group / "io.max").read_text()
    (otter.root / "a" / "lib" / "meshes" / "disks" / "writer" / "work" / "on").touch()
    wait_for(lambda: said(otter, "unlimited"), "it never wrote again")
    otter("destroy", "--yes", "--no-fetch")
