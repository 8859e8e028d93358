"""A host moves between cells: its ways are others, its address isn't, and nobody restarts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.otter import Otter, wait_for

pytestmark = [pytest.mark.timed, pytest.mark.netns]

MESH = """
name = "mobile"
[defaults.module]
runtime = "process"
[hosts.phone]
[hosts.tablet]
[hosts.mast]
count = 2
[hosts.core]
[[links]]
between = ["mast-*", "core"]
[cells.near]
host = "mast-1"
members = ["phone"]
uplink = "20mbit"
downlink = "20mbit"
delay = "5ms"
[cells.far]
host = "mast-2"
members = ["tablet"]
uplink = "20mbit"
downlink = "20mbit"
delay = "200ms"
[[events]]
at = "200ms"
host = "phone"
attach = { cell = "far", gap = "40ms" }
[modules.caller]
host = "phone"
command = ["sleep", "1000"]
[modules.called]
host = "core"
command = ["sleep", "1000"]
"""


def present(otter: Otter) -> dict[str, list[str]]:
    return {cell["name"]: cell["present"] for cell in otter.json("status")["cells"]}


def least_ms(otter: Otter, module: str, target: str) -> float:
    said = otter("exec", module, "--", "ping", "-c4", "-i0.2", "-W10", target).stdout
    found = re.search(r"= ([0-9.]+)/", said)
    assert found, said
    return float(found[1])


def test_ways_follow_the_host_over_any_crash_and_back(otter: Otter) -> None:
    otter("apply", otter.topology(MESH))
    before = {m["name"]: (m["pid"], m["address"]) for m in otter.json("status")["modules"]}
    wait_for(lambda: present(otter) == {"near": [], "far": ["tablet", "phone"]}, "no handover")
    assert least_ms(otter, "caller", "called") >= 400
    assert least_ms(otter, "called", "caller") >= 400
    events = otter("events").stdout
    assert "phone: changed timeline: attaches to far after 40ms" in events
    assert "phone: changed timeline: is attached to far" in events

    otter.kill_agent()
    otter.serve()
    assert least_ms(otter, "called", "caller") >= 400
    otter("apply", otter.topology(MESH.replace("20mbit", "30mbit")))
    assert least_ms(otter, "called", "caller") >= 400  # the network was looked at anew, and is so

    otter("timeline", "reset")
    wait_for(lambda: present(otter) == {"near": ["phone"], "far": ["tablet"]}, "not back")
    assert 10 <= least_ms(otter, "called", "caller") < 400
    assert {m["name"]: (m["pid"], m["address"]) for m in otter.json("status")["modules"]} == before


def test_the_shipped_topology_hands_over(otter: Otter) -> None:
    file = Path(__file__).parents[2] / "topologies" / "handover.toml"
    otter("apply", str(file))
    assert "phone" in present(otter)["gnb1"]
    assert otter.json("timeline", "show")["events"] == 4
    wait_for(lambda: "pictures" in otter("logs", "meter").stdout, "no picture came")
