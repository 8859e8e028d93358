"""Cells where the kernel has netem: the mesh goes over to the driver that can, and back."""

from __future__ import annotations

import subprocess

import pytest
from helpers.otter import Otter

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

MESH = """
name = "changing"
[defaults.module]
runtime = "process"
[hosts.a]
[hosts.b]
[hosts.c]
[[links]]
name = "radio"
between = ["a", "b"]
delay = "5ms"
[modules.near]
host = "a"
command = ["sleep", "1000"]
[modules.far]
host = "b"
command = ["sleep", "1000"]
"""
CELL = """
[cells.gnb1]
host = "b"
members = ["c"]
uplink = "1mbit"
downlink = "1mbit"
"""


def drivers(otter: Otter) -> set[str]:
    links = otter.json("status")["links"]
    assert all(x["applied"] and not x["error"] for x in links), links
    return {x["driver"] for x in links}


def test_the_first_cell_brings_another_driver_and_the_last_takes_it_along(otter: Otter) -> None:
    otter("apply", otter.topology(MESH))
    assert drivers(otter) == {"netem"}
    command = ("exec", "near", "--", "ping", "-c60", "-i0.1", "-W5", "far")
    with otter.popen(*command, stdout=subprocess.PIPE) as pings:
        assert pings.stdout is not None
        pings.stdout.readline()
        otter("apply", otter.topology(MESH + CELL))
        assert drivers(otter) == {"tun"}
        said = pings.communicate(timeout=60)[0]
    assert " 0 received" not in said
    otter.kill_agent()
    otter.serve()
    assert drivers(otter) == {"tun"}
    otter("apply", otter.topology(MESH))
    assert drivers(otter) == {"netem"}
    assert "0 received" not in otter("exec", "near", "--", "ping", "-c3", "-W5", "far").stdout
