"""The machine that the figures were measured on: without it they mean nothing."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import TypedDict

LOOK_S = 1.0
"""So long it is looked what else runs: the load's mean of a minute still has what was before."""
BUSY = 0.25
"""Of its cores; where others use more, figures say little."""


class Description(TypedDict):
    """What to state beside every figure."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    os: str
    python: str
    load: list[float]
    used: float


def describe() -> Description:
    """Describe this machine, before measuring; takes `LOOK_S`.

    `load` is that of the last 1, 5 and 15 minutes, `used` the cores that others use now.
    """
    before, begun = _used_s(), time.monotonic()
    time.sleep(LOOK_S)
    used = (_used_s() - before) / (time.monotonic() - begun)
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "os": _field("/etc/os-release", "PRETTY_NAME", "=").strip('"') or platform.system(),
        "python": platform.python_version(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "used": round(used, 2),
    }


def is_busy(machine: Description) -> bool:
    """Whether others used too much of it for figures to say much."""
    return machine["used"] > machine["cores"] * BUSY


def _used_s() -> float:
    """Processor time that all have used so far: in proc_stat(5) all but idle and iowait."""
    try:
        with open("/proc/stat") as file:
            ticks = [int(word) for word in file.readline().split()[1:]]
    except (OSError, ValueError):
        return 0.0
    user_nice_system, irq_softirq_steal = ticks[:3], ticks[5:8]
    return sum(user_nice_system + irq_softirq_steal) / os.sysconf("SC_CLK_TCK")


def _field(path: str, name: str, separator: str = ":") -> str:
    """The value of the first `name` in a file of `name: value` lines; "" if there is none."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        key, found, value = line.partition(separator)
        if found and key.strip() == name:
            return value.strip()
    return ""
