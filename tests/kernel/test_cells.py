"""Cells where the kernel has netem: made by it, or by another driver if it can't share so."""

from __future__ import annotations

import subprocess
from typing import Any

import dpkt
import pytest
from helpers.otter import Otter, wait_for
from helpers.pings import round_trip_s

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
UNEVEN = """
[cells.gnb2]
host = "b"
members = ["c", "a"]
uplink = "1mbit"
downlink = "1mbit"
efficiency = { "c" = 0.5 }
"""
SHARED = """
name = "cellular"
[defaults.module]
runtime = "process"
[hosts.edge]
[hosts.phone]
count = 2
[cells.gnb1]
host = "edge"
members = ["phone-*"]
uplink = "10mbit"
downlink = "20mbit"
delay = "5ms"
share = "weights"
weights = { "phone-1" = 3 }
[modules.near]
host = "phone-1"
command = ["sleep", "1000"]
[modules.far]
host = "phone-2"
command = ["sleep", "1000"]
"""
MOBILE = """
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
half_duplex = true
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


def drivers(otter: Otter) -> set[str]:
    links = otter.json("status")["links"]
    assert all(x["applied"] and not x["error"] for x in links), links
    return {x["driver"] for x in links}


def shaped(otter: Otter) -> bool:
    return all(x["applied"] for x in otter.json("status")["links"])


def come_back(otter: Otter) -> None:
    """The agent, which answers before it has looked at its links."""
    otter.serve()
    wait_for(lambda: shaped(otter), "not shaped")


def asked(otter: Otter) -> dict[tuple[str, str], Any]:
    return {(x["from"], x["to"]): x["applied"] for x in otter.json("status")["links"]}


def shortest_s(otter: Otter, module: str, target: str) -> float:
    said = otter("exec", module, "--", "ping", "-c4", "-i0.2", "-W10", target).stdout
    return round_trip_s(said)


def captured(otter: Otter, way: str) -> list[int]:
    """Numbers of pings that were seen to arrive."""
    command = ("exec", "near", "--", "ping", "-c200", "-i0.1", "-W5", "far")
    with otter.popen(*command, stdout=subprocess.DEVNULL) as pings:
        otter("capture", "gnb1-phone-1", "--direction", way, "--packets", "6", "-o", "x")
        pings.terminate()
    with (otter.root / "x").open("rb") as file:
        found = [dpkt.ethernet.Ethernet(data) for _, data in dpkt.pcapng.Reader(file)]
    return [frame.data.data.data.seq for frame in found]


def test_a_cell_is_shared_by_the_kernel_and_changed_live(otter: Otter) -> None:
    otter("apply", otter.topology(SHARED))
    assert drivers(otter) == {"netem"}
    assert asked(otter)["phone-1", "edge"] == {
        "delay_s": 0.005, "rate_bps": 10e6, "medium": "gnb1:up", "medium_weight": 3.0,
    }  # fmt: skip
    assert shortest_s(otter, "near", "far") >= 0.02  # over the host in the middle
    for way in ("phone-1>edge", "edge>phone-1"):
        numbers = captured(otter, way)
        assert sorted(set(numbers)) == numbers, "packets were seen twice"
    otter("shape", "cell", "gnb1", "--uplink", "2mbit", "--delay", "9ms")
    assert asked(otter)["phone-1", "edge"]["rate_bps"] == 2e6
    assert shortest_s(otter, "near", "far") >= 0.036
    otter.kill_agent()
    come_back(otter)
    assert drivers(otter) == {"netem"}
    told = otter("shape", "link", "gnb1-phone-2", "--rate", "1mbit", code=1)
    assert "its rate is another than other members'" in told.stdout
    otter("shape", "reset")
    assert drivers(otter) == {"netem"}
    otter("destroy", "--yes", "--no-fetch")
    assert otter.leftovers() == []


def test_a_host_moves_between_cells_of_the_kernel(otter: Otter) -> None:
    otter("apply", otter.topology(MOBILE))
    assert "netem" in {x["driver"] for x in otter.json("status")["links"]}

    def present() -> dict[str, list[str]]:
        return {cell["name"]: cell["present"] for cell in otter.json("status")["cells"]}

    wait_for(lambda: present() == {"near": [], "far": ["tablet", "phone"]}, "no handover")
    assert shortest_s(otter, "caller", "called") >= 0.4
    otter.kill_agent()
    otter.serve()
    assert shortest_s(otter, "called", "caller") >= 0.4
    otter("timeline", "reset")
    wait_for(lambda: present() == {"near": ["phone"], "far": ["tablet"]}, "not back")
    assert 0.01 <= shortest_s(otter, "called", "caller") < 0.4


def test_what_the_kernel_cannot_share_brings_another_driver_and_takes_it_along(
    otter: Otter,
) -> None:
    otter("apply", otter.topology(MESH))
    assert drivers(otter) == {"netem"}
    command = ("exec", "near", "--", "ping", "-c60", "-i0.1", "-W5", "far")
    with otter.popen(*command, stdout=subprocess.PIPE) as pings:
        assert pings.stdout is not None
        pings.stdout.readline()
        otter("apply", otter.topology(MESH + CELL))
        assert drivers(otter) == {"netem"}
        otter("apply", otter.topology(MESH + CELL + UNEVEN))
        assert drivers(otter) == {"tun"}
        said = pings.communicate(timeout=60)[0]
    assert " 0 received" not in said
    otter.kill_agent()
    come_back(otter)
    assert drivers(otter) == {"tun"}
    otter("apply", otter.topology(MESH))
    assert drivers(otter) == {"netem"}
    assert "0 received" not in otter("exec", "near", "--", "ping", "-c3", "-W5", "far").stdout


def test_an_agent_started_with_another_driver_takes_the_mesh_over(otter: Otter) -> None:
    first, then = "tun", "netem"
    config = otter.root / "a" / "agent.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(f'link_driver = "{first}"\n')
    otter.serve()
    otter("apply", otter.topology(SHARED))
    assert drivers(otter) == {first}
    before = {m["name"]: m["pid"] for m in otter.json("status")["modules"]}
    otter.kill_agent()
    config.write_text(f'link_driver = "{then}"\n')
    otter.serve()
    wait_for(lambda: {x["driver"] for x in otter.json("status")["links"]} == {then}, "as before")
    wait_for(lambda: shaped(otter), "not shaped")
    assert drivers(otter) == {then}
    assert shortest_s(otter, "near", "far") >= 0.02
    assert {m["name"]: m["pid"] for m in otter.json("status")["modules"]} == before
    otter("shape", "cell", "gnb1", "--delay", "9ms")
    assert shortest_s(otter, "near", "far") >= 0.036
    otter("destroy", "--yes", "--no-fetch")
    assert otter.leftovers() == []
