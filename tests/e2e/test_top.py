"""What hosts and modules use."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.netns

MESH = f"""
name = "used"
[defaults.module]
runtime = "process"
[hosts.a]
cpu = 1
memory = "256MiB"
[modules.busy]
host = "a"
cpu = 0.5
command = ["{sys.executable}", "-c", "while True: pass"]
[modules.large]
host = "a"
command = ["{sys.executable}", "-c", "import time; kept = bytearray(50 << 20); time.sleep(1000)"]
[modules.done]
host = "a"
command = ["true"]
"""


def test_cores_and_memory_of_hosts_and_modules(shared_otter):
    otter = shared_otter
    otter("apply", otter.topology(MESH))
    rows = {(row["kind"], row["name"]): row for row in otter.json("top", "--every", 2)}
    assert list(rows) == [("host", "a"), ("module", "busy"), ("module", "large")]
    busy, large, host = rows["module", "busy"], rows["module", "large"], rows["host", "a"]
    # Not how much: the machine may be busy. Never more than it may have, in two seconds.
    assert 0 < busy["cpu"] < 0.75
    assert (busy["cpu_limit"], host["cpu_limit"]) == (0.5, 1)
    assert busy["cpu"] > large["cpu"]
    assert host["cpu"] >= 0.5 * busy["cpu"]
    assert 50 << 20 <= large["memory_bytes"] <= host["memory_bytes"] <= 256 << 20
    assert host["memory_limit_bytes"] == 256 << 20
    assert busy["gpu_memory_bytes"] is None
    shown = otter("top").stdout
    assert "busy" in shown
    assert "256MiB" in shown
