"""A controller without anything of Unix drives a machine with a real sshd and a real agent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.machines import SSHD, machines

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


def otterctl(world, *words: object, stdin: str = "") -> str:
    """In the controller's namespace, as Windows would run it."""
    netns = ["nsenter", f"--net=/run/netns/{world.ctl}"]
    env = {**world.env, "USERNAME": "root"}  # which Windows always sets
    done = subprocess.run(
        [*netns, sys.executable, str(AS_WINDOWS), "otterctl", *map(str, words)], input=stdin,
        env=env, capture_output=True, text=True, check=False, timeout=120, cwd=world.folder,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


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
