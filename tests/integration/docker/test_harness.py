"""The tests' own engine leaves the machine as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.dockerd import Dockerd, unavailable
from helpers.images import busybox_root

pytestmark = [pytest.mark.timed, pytest.mark.docker]


def traces(mark: str) -> list[str]:
    found = [line for line in Path("/proc/self/mounts").read_text().splitlines() if mark in line]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in process.read_bytes():
                found.append(str(process))
        except OSError:
            continue
    # Any group of the machine may go meanwhile: `walk` passes over it, `glob` fails.
    found += [f"{at}/{mark}" for at, names, _ in os.walk("/sys/fs/cgroup") if mark in names]
    return found


@pytest.mark.parametrize("end", ["running", "crashed"])
def test_leaves_nothing(require, end):
    require("docker", not unavailable(), unavailable())
    devices = sorted(os.listdir("/sys/class/net"))
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    with Dockerd() as engine:
        engine.import_image("b:1", busybox_root(), 'CMD ["sleep", "3600"]')
        made = engine.request("POST", "/containers/create", {"Image": "b:1"})
        engine.request("POST", f"/containers/{made['Id']}/start")
        assert traces(engine.root.name)
        if end == "crashed":
            engine.kill()
    assert traces(engine.root.name) == []
    assert not engine.root.exists()
    assert sorted(os.listdir("/sys/class/net")) == devices
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == forwarding
