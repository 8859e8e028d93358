"""A controller without anything of Unix drives a machine with a real sshd and a real agent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.machines import SSHD, machines

from otter_ctl.machine import container
from otter_ctl.machine.facts import Facts, Python, parse
from otter_ctl.machine.steps import data
from otter_ctl.machine.wheelhouse import cache_folder, fetch

AS_WINDOWS = Path(__file__).parents[1] / "helpers" / "as_windows.py"
TOPOLOGY = """
name = "far"

[hosts.phone]
machine = "m1"

[modules.shell]
host = "phone"
runtime = "process"
command = ["sh", "-c", "echo I am up; echo kept > out.txt; exec sleep infinity"]
outputs = ["out.txt"]
"""


@pytest.fixture(scope="module")
def world(require):
    """One machine."""
    require("netns", os.geteuid() == 0 and shutil.which("ip"), "not root")
    require("ssh", SSHD, "no sshd (.ci/debian tests)")
    with machines(1) as made:
        yield made
        assert made.leftovers() == []


def otterctl(world, *words: object, stdin: str = "", code: int = 0, **more: str) -> str:
    """In the controller's namespace, as Windows would run it."""
    netns = ["nsenter", f"--net=/run/netns/{world.ctl}"]
    env = {**world.env, "USERNAME": "root", **more}  # which Windows always sets
    done = subprocess.run(
        [*netns, sys.executable, str(AS_WINDOWS), "otterctl", *map(str, words)], input=stdin,
        env=env, capture_output=True, text=True, check=False, timeout=120, cwd=world.folder,
    )  # fmt: skip
    assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout or done.stderr


def test_all_of_a_meshs_life(world):
    file = world.topology(TOPOLOGY)
    assert "3 to create" in otterctl(world, "plan", file)
    assert "1 modules ready" in otterctl(world, "apply", file)
    assert "I am up" in otterctl(world, "logs", "shell")
    assert otterctl(world, "exec", "shell", "--", "echo", "there") == "there\n"
    assert otterctl(world, "exec", "-i", "shell", "--", "cat", stdin="said\n") == "said\n"
    otterctl(world, "cp", "shell:out.txt", ".")
    assert (world.folder / "out.txt").read_text() == "kept\n"
    (world.folder / "taken").mkdir()
    (world.folder / "taken" / "in.txt").write_text("brought\n")
    otterctl(world, "cp", "taken", "shell:")
    assert otterctl(world, "exec", "shell", "--", "cat", "taken/in.txt") == "brought\n"
    assert "ready" in otterctl(world, "status")
    assert "destroyed" in otterctl(world, "destroy", "--yes")
    (kept,) = (world.folder / "runs" / "far").glob("*/outputs/shell/out.txt")
    assert kept.read_text() == "kept\n"


@pytest.fixture
def packages(world):
    """What is sent to machines is in the cache: in the controller's namespace is no index."""
    done = subprocess.run(["sh"], input=data("probe.sh"), capture_output=True, text=True)
    facts = parse(done.stdout)
    assert isinstance(facts, Facts)
    assert facts.python is not None
    fetch("m1", facts, facts.python)
    inside = Python("python3", container.PYTHON, "", venv=True)
    fetch("agent", replace(facts, libc=container.LIBC), inside)
    return {"OTTER_CACHE": str(cache_folder())}


def test_machines_are_looked_at_and_made(world, packages):
    """The page's first commands; what `add` does over there is a matter of Linux again."""
    [line] = json.loads(otterctl(world, "machine", "ls", "--json"))
    assert (line["name"], line["reachable"]) == ("m1", True)
    checked = json.loads(otterctl(world, "machine", "check", "m1", "--json"))
    states = {check["name"]: check["ok"] for check in checked["checks"]}
    assert states["system"] is states["agent"] is True
    assert checked["usable"]
    told = otterctl(world, "machine", "add", "m1", "--dry-run", **packages)
    assert "make the virtual environment" in told
    assert "packages are sent there" in told


def test_the_agents_image_is_written_for_docker_desktop(world, packages):
    otterctl(world, "machine", "context", "agent", **packages)
    names = {path.name for path in (world.folder / "agent").iterdir()}
    assert names == {".env", "Dockerfile", "compose.yaml", "deps", "own"}
    assert b"\r" not in (world.folder / "agent" / "Dockerfile").read_bytes()


def test_an_agent_in_a_container_is_asked_by_docker(world):
    """The program that it starts there is real, and so is the agent; `docker` is a stand-in."""
    docker = world.folder / "bin" / "docker.EXE"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\nshift 4\nexec {sys.executable} "$@"\n')
    docker.chmod(0o755)
    site = world.folder / "boxes.toml"
    site.write_text(f'[machines.box]\ndocker = "otter-agent"\nsocket = "{world["m1"].socket}"\n')
    path = f"{docker.parent}:{os.environ['PATH']}"
    more = {"OTTER_SITE": str(site), "PATH": path, "PATHEXT": ".EXE"}
    [line] = json.loads(otterctl(world, "machine", "ls", "--json", **more))
    assert (line["name"], line["reachable"], line["why"]) == ("box", True, "")
