"""The machine that the figures were measured on: without it they mean nothing."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path
from typing import TypedDict

EXCHANGES, STARTS = 2000, 50
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
    exchange_s: float
    fork_s: float


def describe() -> Description:
    """Describe this machine, before measuring; takes `LOOK_S`.

    `load` is that of the last 1, 5 and 15 minutes, `used` the cores that others use now,
    `exchange_s` what a byte takes by pipe to another process and back, `fork_s` the making of one:
    virtual machines that are alike in all else differ by five times in these.
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
        "exchange_s": _exchange_s(),
        "fork_s": _fork_s(),
    }


def is_busy(machine: Description) -> bool:
    """Whether others used too much of it for figures to say much."""
    return machine["used"] > machine["cores"] * BUSY


def _exchange_s() -> float:
    """The median, hot: both do nothing else."""
    (ask, asked), (answer, answered) = os.pipe(), os.pipe()
    if not (child := os.fork()):
        os.close(asked)
        while os.read(ask, 1):
            os.write(answered, b"x")
        os._exit(0)
    os.close(ask)
    took = list[float]()
    for _ in range(EXCHANGES):
        begun = time.perf_counter()
        os.write(asked, b"x")
        os.read(answer, 1)
        took.append(time.perf_counter() - begun)
    for descriptor in (asked, answer, answered):
        os.close(descriptor)
    os.waitpid(child, 0)
    return statistics.median(took)


def _fork_s() -> float:
    """The median, until it has ended."""
    took = list[float]()
    for _ in range(STARTS):
        begun = time.perf_counter()
        if not (child := os.fork()):
            os._exit(0)
        os.waitpid(child, 0)
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


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
