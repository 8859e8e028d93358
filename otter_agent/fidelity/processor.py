"""What kept this machine, or a process on it, from computing, as the kernel counts it.

Source: proc(5), /proc/stat; Documentation/accounting/psi.rst; cgroups(7);
Documentation/scheduler/sched-bwc.rst and admin-guide/cgroup-v2.rst for `cpu.stat`.
Must not know: which process that is.
"""

from __future__ import annotations

import os
from pathlib import Path

from otter_agent.cgroups.detect import parse_mounts

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_STEAL = 8
"""Of the words of the line `cpu`."""


def stolen_s() -> float:
    """Processor time that other machines on the same hardware took, all cores together."""
    try:
        with open("/proc/stat") as file:
            words = file.readline().split()
        return int(words[_STEAL]) * _TICK_S
    except (OSError, ValueError, IndexError):
        return 0.0


def crowded_s() -> float:
    """For how long some process that could run waited for a processor; 0: not counted here."""
    try:
        with open("/proc/pressure/cpu") as file:
            words = file.readline().split()
        return int(words[-1].removeprefix("total=")) / 1e6
    except (OSError, ValueError, IndexError):
        return 0.0


def throttled_s(pid: int) -> float:
    """For how long quotas kept a process's group, or one above it, from running."""
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        mounts = parse_mounts(Path("/proc/self/mountinfo").read_text())
    except OSError:
        return 0.0
    most = 0.0
    for line in groups:
        _, controllers, path = line.split(":", 2)
        top = mounts.controllers.get("cpu") if "cpu" in controllers.split(",") else None
        top = mounts.v2 if not controllers else top
        if top is not None:
            below = [*Path(path.lstrip("/")).parents, Path(path.lstrip("/"))]
            most = max(most, *(_throttled_s(top / one / "cpu.stat") for one in below), 0.0)
    return most


def _throttled_s(file: Path) -> float:
    """v1 counts nanoseconds, v2 microseconds."""
    try:
        told = dict(line.split() for line in file.read_text().splitlines())
    except (OSError, ValueError):
        return 0.0
    return int(told.get("throttled_time", 0)) / 1e9 + int(told.get("throttled_usec", 0)) / 1e6
