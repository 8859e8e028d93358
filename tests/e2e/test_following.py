"""`otterctl events -f`: it goes on with what happens, and ends with its mesh."""

from __future__ import annotations

import json
import subprocess

import pytest

pytestmark = pytest.mark.netns

MESH = 'name = "told"\n[hosts.a]\n[modules.m]\nhost = "a"\nruntime = "process"\n'
MESH += 'command = ["sleep", "1000"]\n'


def test_following_a_mesh_ends_when_it_is_destroyed_and_not_with_an_earlier_one(otter):
    file = otter.topology(MESH)
    otter("apply", file)
    otter("destroy", "-m", "told", "--yes", "--no-fetch")
    otter("apply", file)  # one of this name was destroyed before
    follower = otter.popen("events", "-f", "-m", "told", "--json", stdout=subprocess.PIPE)
    assert follower.stdout is not None
    states: list[str] = []
    while states.count("settled") < 2:  # all that was has been read, and more
        states.append(json.loads(follower.stdout.readline())["state"])
    assert "destroyed" in states
    otter("destroy", "-m", "told", "--yes", "--no-fetch")
    rest, _ = follower.communicate(timeout=20)
    assert follower.returncode == 0
    assert json.loads(rest.splitlines()[-1])["state"] == "destroyed"
