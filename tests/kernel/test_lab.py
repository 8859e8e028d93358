"""A lab where cgroup v2 is all there is, as on Debian 12, Ubuntu and WSL2: budgets hold there."""

from __future__ import annotations

import json
import subprocess

import pytest
from helpers import dockerd, labs
from helpers.images import busybox_root, static_busybox
from helpers.labs import inside, ssh

from otter_ctl.lab.lab import Lab

MESH = """
name = "inside"
[hosts.phone]
cpu = 0.5
memory = "64MiB"
[modules.client]
host = "phone"
command = ["sleep", "infinity"]
runtime = "process"
"""


@pytest.fixture(scope="module")
def lab(require):
    """One machine, with an agent."""
    why = labs.unavailable()
    require("netns", not why, why)
    # The guest's root is an overlay, on which there can be no upper part of another.
    with labs.new_folder("/dev/shm") as folder:
        one = Lab(folder)
        one.up(1, docker=False, layers=labs.layers())
        own = one.folder.id()
        yield one
        one.down()
        assert labs.leftovers(folder, own) == []


def test_a_host_on_a_machine_has_the_budget_that_it_asks_for(lab):
    assert ssh(lab, "lab1", "cut -d: -f3 /proc/1/cgroup") == "/init"
    ssh(lab, "lab1", f"cat > /tmp/inside.toml <<'END'\n{MESH}\nEND")
    ssh(lab, "lab1", "otterctl apply /tmp/inside.toml")
    [host] = json.loads(ssh(lab, "lab1", "otterctl status --json"))["hosts"]
    assert (host["in_force"]["cpu"], host["in_force"]["memory_bytes"]) == (0.5, 64 << 20)
    ssh(lab, "lab1", "otterctl destroy --yes --no-fetch")


def test_a_container_on_a_machine_has_its_limit(lab, require):
    require("docker", not dockerd.unavailable(), dockerd.unavailable())
    require("docker", static_busybox(), "no static busybox (apt: busybox-static)")
    lab.up(2, docker=True, bare=True)
    argv = ["nsenter", "-t", str(lab.pid_of("lab2")), "-m", "-n", "-p", "-C", "docker"]
    subprocess.run([*argv, "import", "-", "box:1"], input=busybox_root(), check=True)
    limited = ("docker", "run", "--rm", "--network", "none", "--memory", "50m", "box:1")
    assert inside(lab, "lab2", *limited, "cat", "/sys/fs/cgroup/memory.max") == str(50 << 20)
