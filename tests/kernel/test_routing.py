"""Routes that follow links of the kernel's netem: around one that is down, and back."""

from __future__ import annotations

import subprocess

import pytest
from helpers.otter import wait_for

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

RING = """
name = "ring"
[network]
routing = "shortest"
[defaults.module]
runtime = "process"
[defaults.link]
delay = "1ms"
[hosts.a]
[hosts.b]
[hosts.c]
[[links]]
between = ["a", "b"]
[[links]]
between = ["b", "c"]
[[links]]
between = ["c", "a"]
[[events]]
when = { link = "a-b:a>b", packets = 5 }
link = "a-b"
set = { up = false }
[modules.near]
host = "a"
command = ["sleep", "1000"]
[modules.far]
host = "b"
command = ["sleep", "1000"]
"""


def first_link(otter) -> str:
    """Over which host a sends to host b."""
    address = {h["name"]: h["address"] for h in otter.json("status")["hosts"]}["b"]
    said = subprocess.run(
        ["ip", "netns", "exec", f"otter-{otter.agent_id}+ring+a", "ip", "route", "get", address],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return said.split(" dev ")[1].split()[0]


def test_packets_that_are_counted_take_a_link_down_and_routes_lead_around_it(otter):
    otter("apply", otter.topology(RING))
    assert {link["driver"] for link in otter.json("status")["links"]} == {"netem"}
    assert first_link(otter) == "a-b"
    otter("exec", "near", "--", "ping", "-c10", "-i0.05", "-q", "far", code=None)
    wait_for(lambda: first_link(otter) == "c-a", "nobody goes the other way", 10)
    otter("exec", "near", "--", "ping", "-c1", "-W2", "-q", "far")
    otter("timeline", "reset")
    wait_for(lambda: first_link(otter) == "a-b", "nobody came back", 10)
    otter("exec", "near", "--", "ping", "-c1", "-W2", "-q", "far")
