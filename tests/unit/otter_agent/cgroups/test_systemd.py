"""Slices: names that systemd nests where we mean it, and budgets in its words."""

from __future__ import annotations

import pytest

from otter_agent.api import Budget
from otter_agent.cgroups.quota import Quota
from otter_agent.cgroups.systemd import properties, slice_name


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (["otter-a1", "m", "h"], r"otter\x2da1-m-h.slice"),
        (["otter-a1", "multi-modal", "client-3"], r"otter\x2da1-multi\x2dmodal-client\x2d3.slice"),
        (["otter-a1", "m.1", "h_2"], r"otter\x2da1-m.1-h_2.slice"),
    ],
)
def test_names(parts, name):
    assert slice_name(parts) == name


def test_properties():
    budget = Budget(cpu=0.5, memory_bytes=1024, pids=7)
    assert properties(budget, Quota(2500, 5000)) == [
        "CPUQuota=50.000%", "CPUQuotaPeriodSec=5000us", "MemoryMax=1024", "MemorySwapMax=0",
        "TasksMax=7",
    ]  # fmt: skip
    assert properties(Budget(), None) == [
        "CPUQuota=", "CPUQuotaPeriodSec=", "MemoryMax=infinity", "MemorySwapMax=infinity",
        "TasksMax=infinity",
    ]  # fmt: skip
