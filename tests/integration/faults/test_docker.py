"""A machine whose Docker engine is down, before a mesh is applied and while it runs."""

from __future__ import annotations

import subprocess

import pytest
from helpers import labs
from helpers.dockerd import unavailable
from helpers.images import busybox_root
from helpers.lab_site import lab_of, site_of
from helpers.otter import wait_for

pytestmark = [pytest.mark.netns, pytest.mark.docker]
MESH = """
name = "boxed"
[hosts.west]
machine = "lab1"
[hosts.hub]
machine = "lab2"
[[links]]
between = ["west", "hub"]
delay = "5ms"
[modules.box]
host = "west"
runtime = "docker"
image = "box:1"
command = ["sleep", "8317"]
[modules.plain]
host = "hub"
runtime = "process"
command = ["sleep", "8317"]
"""


@pytest.fixture
def pair(require):
    for why in (labs.unavailable(), unavailable()):
        require("docker", not why, why)
    with lab_of(2, docker=True) as lab, site_of(lab) as site:
        argv = ["nsenter", "-t", str(lab.pid_of("lab1")), "-m", "-n", "-p", "-C"]
        argv += ["docker", "import", "-", "box:1"]
        subprocess.run(argv, input=busybox_root(), check=True, stdout=subprocess.DEVNULL)
        yield site
        lab.service("lab1", "docker", "start")
        site("destroy", "--all", "--yes", "--no-fetch", code=None)


def test_an_engine_that_is_down(pair):
    site, file = pair, pair.topology(MESH)
    site.lab.service("lab1", "docker", "stop")
    said = site("apply", file, code=1)
    assert "lab1: " in said
    assert "module box: runtime docker can't be used" in said
    assert site.meshes() == {"lab1": [], "lab2": []}
    site.lab.service("lab1", "docker", "start")
    wait_for(lambda: "2 modules ready" in site("apply", file, code=None), "the agent sees it")
    site.lab.service("lab1", "docker", "stop")
    wait_for(lambda: site.states()["box"] != "ready", "told as what it is")
    assert site.json("status")["state"] != "ready"
    assert site.states()["plain"] == "ready"
    site.lab.service("lab1", "docker", "start")
    wait_for(site.is_whole, "whole again by itself")


def test_destroying_while_an_engine_is_down(pair):
    """It says what it waits for; what is left goes as soon as the engine is back."""
    site = pair
    site("apply", site.topology(MESH))
    site.lab.service("lab1", "docker", "stop")
    wait_for(lambda: site.states()["box"] != "ready", "told as what it is")
    process = site.start("destroy", "--yes", "--no-fetch")
    line = ""
    while "is dockerd running" not in line:
        line = process.stderr.readline()
        assert line, "it ended without a word"
    assert line.startswith("boxed: ")
    site.lab.service("lab1", "docker", "start")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert site.meshes() == {"lab1": [], "lab2": []}
