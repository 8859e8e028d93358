"""The machine that the figures were measured on: without it they mean nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TypedDict


class Description(TypedDict):
    """What to state beside every figure."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    os: str
    python: str
    load: list[float]


def describe() -> Description:
    """Describe this machine; `load` is that of the last 1, 5 and 15 minutes, before measuring."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "os": _field("/etc/os-release", "PRETTY_NAME", "=").strip('"') or platform.system(),
        "python": platform.python_version(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


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
