"""Named volumes and devices of the machine, inside modules."""

from __future__ import annotations

import os
import stat
import subprocess
import uuid

import pytest
from helpers.otter import BIN, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]


@pytest.fixture
def volume(place):
    name = f"v{uuid.uuid4().hex[:8]}"
    yield name
    if place.otter.json("ls"):
        place.otter("destroy", "-m", "data", "--yes", "--no-fetch")
    for one in place.otter.json("volume", "ls"):
        if one["name"].startswith(name):
            place.otter("volume", "rm", one["name"])


def test_a_volume_outlives_its_meshes_until_it_is_removed(place, volume):
    otter = place.otter
    mounts = place.mounts(keep=f'volume = "{volume}"')
    script = "cat /keep/*; echo word > /keep/file; echo made; exec sleep 1000"
    file = place.topology(place.module(script, mounts=mounts))
    otter("apply", file)
    (listed,) = [v for v in otter.json("volume", "ls") if v["name"] == volume]
    assert listed["used_by"] == ["data/m"]
    refused = otter("volume", "rm", volume, code=1)
    assert f"volume {volume} is used by data/m" in refused.stderr
    place.says("made")
    otter("destroy", "-m", "data", "--yes")
    otter("apply", file)
    place.says("word")
    otter("destroy", "-m", "data", "--yes")
    assert otter("volume", "rm", volume).stdout == f"removed {volume}\n"
    assert volume not in [v["name"] for v in otter.json("volume", "ls")]
    assert f"no volume '{volume}'" in otter("volume", "rm", volume, code=1).stderr


def test_modules_share_a_volume_and_one_may_only_read(place, volume):
    mounts = [place.mounts(v=f'volume = "{volume}", readonly = {r}') for r in ("false", "true")]
    writer = place.module("echo shared > /v/f; exec sleep 1000", name="w", mounts=mounts[0])
    script = "until grep -s shared /v/f; do :; done; echo x > /v/g; exec sleep 1000"
    reader = place.module(script, name="r", mounts=mounts[1])
    place.otter("apply", place.topology(writer, reader))
    place.says("shared", "Read-only file system", module="r")


def test_completion_knows_the_volumes_that_can_go(place, volume):
    free, used = f"{volume}-free", f"{volume}-used"
    for name in (free, used):
        if place.otter.json("ls"):
            place.otter("destroy", "-m", "data", "--yes", "--no-fetch")
        mounts = place.mounts(keep=f'volume = "{name}"')
        place.otter("apply", place.topology(place.module(mounts=mounts)))

    def offered():
        """An answer that takes too long for a Tab key is none."""
        env = {**place.otter.env, "_OTTERCTL_COMPLETE": "bash_complete",
               "COMP_WORDS": "otterctl volume rm v", "COMP_CWORD": "3"}  # fmt: skip
        done = subprocess.run([BIN / "otterctl"], env=env, capture_output=True, text=True)
        return done.stdout

    said = wait_for(lambda: free in (said := offered()) and said, "it was never offered")
    assert used not in said


@pytest.fixture
def node():
    """Makes a file in /dev: its type and rights, and the numbers of its device."""
    path = f"/dev/otter-test-{uuid.uuid4().hex[:8]}"

    def make(mode: int, major: int = 0, minor: int = 0) -> str:
        os.mknod(path, mode, os.makedev(major, minor))
        return path

    yield make
    if os.path.exists(path):
        os.unlink(path)


def test_a_device_is_there(place, node):
    zero = node(stat.S_IFCHR | 0o666, 1, 5)
    script = f"head -c 3 {zero} | od -An -tx1; exec sleep 1000"
    place.otter("apply", place.topology(place.module(script, devices=f'["{zero}"]')))
    place.says("00 00 00")


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (None, "/dev/otter-none: No such file or directory"),
        (stat.S_IFBLK, "is a block device"),
        (stat.S_IFREG, "is no device file"),
    ],
)
def test_what_is_no_device_is_refused(place, node, mode, said):
    path = "/dev/otter-none" if mode is None else node(mode | 0o600)  # of a disk that isn't there
    done = place.otter("apply", place.topology(place.module(devices=f'["{path}"]')), code=1)
    assert f"module m: devices: {path}" in done.stderr
    assert said in done.stderr
    assert place.otter.json("ls") == []
