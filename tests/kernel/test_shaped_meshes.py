"""A mesh by the kernel's netem: chosen, in force, changed by hand, and gone without a trace."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from helpers import netns
from helpers.otter import Otter, wait_for
from helpers.pings import round_trip_s

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

MESH = """
name = "shaped"
[defaults.module]
runtime = "process"
[hosts.a]
gateway = true
[hosts.b]
[[links]]
name = "radio"
between = ["a", "b"]
[modules.near]
host = "a"
command = ["sleep", "1000"]
[modules.far]
host = "b"
command = ["sleep", "1000"]
"""


def segments(otter: Otter) -> list[int]:
    """How many packets the devices hand on at once that send into the mesh."""
    pids = [m["pid"] for m in otter.modules("shaped").values()]
    beside = f"otter-{otter.agent_id}+shaped+~a"
    found = [netns.ip("link", "show", "eth0", pid=pid)[0] for pid in pids]
    found += netns.ip("link", "show", "o.outside", netns=beside)
    return [device["gso_max_segs"] for device in found]


def radio(otter: Otter) -> dict[str, Any]:
    return next(x for x in otter.json("status")["links"] if x["from"] == "a")


def test_shaped_by_the_kernel_live_and_back(otter: Otter) -> None:
    otter("apply", otter.topology(MESH))
    assert radio(otter)["driver"] == "none"
    assert min(segments(otter)) > 1
    otter("shape", "link", "radio", "--delay", "20ms", "--rate", "10mbit")
    changed = radio(otter)
    assert changed["driver"] == "netem"
    assert changed["applied"]["delay_s"] == pytest.approx(0.02, rel=0.01)
    assert segments(otter) == [1, 1, 1]

    def round_trip() -> float:
        return round_trip_s(otter("exec", "near", "--", "ping", "-c3", "-i0.1", "far").stdout)

    assert round_trip() >= 0.040
    wait_for(lambda: round_trip() < 0.080, "it takes longer than asked")
    otter("exec", "near", "--", "true")
    otter("restart", "far")
    assert segments(otter) == [1, 1, 1]  # a new life, too
    router = f"otter-{otter.agent_id}+shaped+a"
    subprocess.run(["tc", "-n", router, "qdisc", "del", "dev", "radio", "root"], check=True)
    wait_for(lambda: radio(otter)["applied"].get("rate_bps"), "what was taken away isn't back")
    otter("shape", "reset")
    assert radio(otter)["applied"] == {}
    assert min(segments(otter)) > 1
    otter("destroy", "--yes", "--no-fetch")
    assert otter.leftovers() == []
