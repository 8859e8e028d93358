"""Budgets changed by hand where control groups are v2's: in force, read back, refused below use."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.otter import wait_for

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

MESH = """
name = "scarce"
[defaults.module]
runtime = "process"
[hosts.phone]
cpu = 1.0
[modules.asr]
host = "phone"
cpu = 0.8
command = ["python3", "-c", "kept = bytearray(64 << 20); import time; time.sleep(1000)"]
"""


def resident_kib(otter) -> int:
    pid = otter.modules("scarce")["asr"]["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def test_budgets_change_live_and_memory_in_use_is_not_taken_away(otter):
    otter("apply", otter.topology(MESH))
    wait_for(lambda: resident_kib(otter) > 64 << 10, "the module never used its memory")
    (told,) = otter.json("shape", "host", "phone", "--cpu", "0.5", "--memory", "512MiB")["hosts"]
    assert (told["in_force"]["cpu"], told["in_force"]["memory_bytes"]) == (0.5, 512 << 20)
    group = Path(f"/sys/fs/cgroup/otter-{otter.agent_id}/scarce/phone")
    assert (group / "cpu.max").read_text().split() == ["2500", "5000"]
    for kind, name in (("module", "asr"), ("host", "phone")):
        before = otter.json("shape", "show", name)[f"{kind}s"][0]
        said = otter("shape", kind, name, "--cpu", "0.25", "--memory", "8MiB", code=1).stdout
        assert "are in use, more than the" in said
        assert otter.json("shape", "show", name)[f"{kind}s"][0] == before
    assert otter.json("status")["state"] == "ready"
    otter("shape", "reset")
    assert (group / "cpu.max").read_text().split() == ["5000", "5000"]
    assert (group / "memory.max").read_text().strip() == "max"
