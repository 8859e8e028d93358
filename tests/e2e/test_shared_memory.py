"""Two modules of one host that exchange arrays through shared memory, and what is left of it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import pytest
from helpers.otter import wait_for

pytestmark = pytest.mark.netns

SOURCE = """
import asyncio, net
async def main(mesh):
    n = 0
    while True:
        frame = mesh.output("frames").empty((480, 640, 3), "u1")
        frame[:] = n % 256
        await mesh.output("frames").send(frame)
        n += 1
        await asyncio.sleep(0.01)
net.run(main)
"""
SINK = """
import net
async def main(mesh):
    async for message in mesh.input("frames"):
        frame = message.value
        assert (frame == frame[0, 0, 0]).all() and frame.shape == (480, 640, 3)
        with open("got", "a") as file:
            file.write("view " if not frame.flags.writeable else "copy ")
net.run(main)
"""
MESH = f"""
name = "shared"
[defaults.module]
runtime = "process"
[hosts.a]
[modules.camera]
host = "a"
command = ["{sys.executable}", "-c", '''{SOURCE}''']
[modules.viewer]
host = "a"
command = ["{sys.executable}", "-c", '''{SINK}''']
[[streams]]
from = "camera.frames"
to = "viewer.frames"
transport = "shm"
"""
CONTAINERS = (
    """
name = "shared"
[hosts.h]
[defaults.module]
runtime = "docker"
host = "h"
"""
    + "".join(
        f"""
[modules.{name}]
image = "otter-test/busybox:1"
command = ["sleep", "1000"]
ready = {{ command = ["true"] }}
"""
        for name in "abc"
    )
    + """
[[streams]]
from = "a.x"
to = "b.y"
transport = "shm"
"""
)

BUILT = """
name = "shared"
[hosts.h]
[defaults.module]
runtime = "docker"
host = "h"
restart = "on-failure"
[modules.camera]
build = "camera"
[modules.viewer]
build = "viewer"
[[streams]]
from = "camera.frames"
to = "viewer.frames"
transport = "shm"
[[streams]]
from = "viewer.means"
to = "camera.means"
transport = "shm"
"""
ASKING = """
import asyncio, net, numpy as np
async def main(mesh):
    n = 0
    while True:
        frame = mesh.output("frames").empty((480, 640, 3), "u1")
        frame[:] = n % 256
        await mesh.output("frames").send(frame)
        mean = await mesh.input("means").receive()
        if mean.value.tolist() == [n % 256] * 3:  # else: of a frame of a former life
            n += 1
net.run(main)
"""
ANSWERING = """
import net
async def main(mesh):
    async for message in mesh.input("frames"):
        kind = "copy" if message.value.flags.writeable else "view"
        await mesh.output("means").send(message.value.mean(axis=(0, 1)), reply_to=message)
        print(kind, flush=True)
net.run(main)
"""


def shared_folder(otter):
    return otter.root / "a/lib/meshes/shared/.shared"


def memories(pid):
    """Shared memory of streams that a process has mapped."""
    with open(f"/proc/{pid}/maps") as maps:
        return [line for line in maps if "memfd:otter-stream" in line]


def views(work, kind="view"):
    """Frames that the viewer has seen in its present life; an instance has a fresh folder."""
    with contextlib.suppress(FileNotFoundError):
        return work.read_text().count(kind)
    return 0


def test_frames_are_seen_in_the_cameras_memory_and_outlive_any_kill(shared_otter):
    otter = shared_otter
    otter("apply", otter.topology(MESH))
    work = otter.root / "a/lib/meshes/shared/viewer/work/got"
    (folder,) = shared_folder(otter).iterdir()
    wait_for(lambda: views(work) > 20, "no frames")
    assert "copy" not in work.read_text()
    for victim in ("camera", "viewer"):
        before = otter.modules("shared")
        assert all(memories(module["pid"]) for module in before.values())
        os.kill(before[victim]["pid"], signal.SIGKILL)
        wait_for(
            lambda v=victim, b=before: otter.modules("shared")[v]["pid"] not in (None, b[v]["pid"]),
            f"{victim} isn't started again",
        )
        seen = views(work)
        wait_for(
            lambda s=seen: views(work) > s + 20,
            f"no frames after {victim} was killed",
        )
        other = {"camera": "viewer", "viewer": "camera"}[victim]
        assert otter.modules("shared")[other]["pid"] == before[other]["pid"]
        wait_for(
            lambda o=other: len(memories(otter.modules("shared")[o]["pid"])) == 1,
            "memory of the dead one's time is still mapped",
        )
    assert [path.name for path in folder.iterdir()] == ["s"]

    otter("apply", otter.topology(MESH.replace('transport = "shm"', "")))
    wait_for(lambda: views(work, "copy") > 20, "nothing comes over TCP")
    assert list(shared_folder(otter).iterdir()) == []
    otter("destroy", "--yes", "--no-fetch")
    assert not shared_folder(otter).exists()


def test_across_hosts_it_would_bypass_the_link(shared_otter):
    otter = shared_otter
    text = MESH.replace('[modules.viewer]\nhost = "a"', '[hosts.b]\n[modules.viewer]\nhost = "b"')
    refused = otter("apply", otter.topology(text), code=2)
    assert "shm joins modules of one host: `camera` and `viewer` are on two" in refused.stderr


@pytest.mark.docker
def test_containers_see_the_folders_of_their_own_streams_only(docker_otter, busybox_image):
    otter = docker_otter
    otter("apply", otter.topology(CONTAINERS))
    (folder,) = shared_folder(otter).iterdir()
    place = f"/run/otter-shm/{folder.name}"
    otter("exec", "--user", "nobody", "a", "--", "sh", "-c", f"echo through > {place}/s")
    assert otter("exec", "b", "--", "cat", f"{place}/s").stdout == "through\n"
    assert f"{place}/s" in otter("exec", "b", "--", "cat", "/run/otter/wiring.json").stdout
    assert otter("exec", "c", "--", "ls", "/run/otter-shm", code=1).stdout == ""


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_modules_in_containers_exchange_arrays_and_outlive_any_kill(docker_otter, python_root):
    """Each container has its own view of processes and files: memory crosses by descriptors."""
    otter = docker_otter
    for name, program in (("camera", ASKING), ("viewer", ANSWERING)):
        folder = otter.root / name
        folder.mkdir()
        (folder / "module.py").write_text(program)
    otter("apply", otter.topology(BUILT))

    def seen():
        return otter("logs", "viewer").stdout.count("view")

    wait_for(lambda: seen() > 20, "no frames")
    assert {stream["transport"] for stream in otter.json("status")["streams"]} == {"shm"}
    for victim in ("camera", "viewer"):
        before = otter.modules("shared")
        assert all(memories(module["pid"]) for module in before.values())
        os.kill(before[victim]["pid"], signal.SIGKILL)
        wait_for(
            lambda v=victim, b=before: otter.modules("shared")[v]["pid"] not in (None, b[v]["pid"]),
            f"{victim} isn't started again",
        )
        count = seen()
        wait_for(lambda c=count: seen() > c + 20, f"no frames after {victim} was killed")
    assert "copy" not in otter("logs", "viewer").stdout
    otter("destroy", "--yes", "--no-fetch")
    assert not shared_folder(otter).exists()
    otter("image", "prune")  # the engine is other tests', too
