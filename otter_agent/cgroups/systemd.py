r"""Groups as systemd slices, for engines whose cgroup driver is systemd.

systemd nests slices at each `-` of their name, so `-` inside a name is escaped (`\x2d`), and the
budget of a slice must be told to systemd: what is written past it, systemd writes over. Must not
know: cgroup versions.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence

from otter_agent.api import Budget
from otter_agent.cgroups.quota import Quota
from otter_agent.errors import CgroupError

RUNTIME = "/run/systemd/system"
"""There exactly when systemd is the init of this machine. Source: sd_booted(3)."""
_given: set[str] = set()


def slice_name(parts: Sequence[str]) -> str:
    r"""The slice of a path of groups: `["otter-1", "m", "h"]` is `otter\x2d1-m-h.slice`.

    Source: systemd.unit(5), "String escaping for inclusion in unit names".
    """
    return "-".join(_escape(part) for part in parts) + ".slice"


def _escape(part: str) -> str:
    escaped = re.sub(r"[^A-Za-z0-9_.:]", lambda m: f"\\x{ord(m[0]):02x}", part)
    return f"\\x2e{escaped[1:]}" if escaped.startswith(".") else escaped


def properties(budget: Budget, quota: Quota | None) -> list[str]:
    """What `systemctl set-property` takes. Source: systemd.resource-control(5)."""
    cpu = "" if quota is None else f"{100 * quota.cores:.3f}%"
    period = "" if quota is None else f"{quota.period_us}us"
    memory = "infinity" if budget.memory_bytes is None else str(budget.memory_bytes)
    pids = "infinity" if budget.pids is None else str(budget.pids)
    swap = "infinity" if budget.memory_bytes is None else "0"
    return [f"CPUQuota={cpu}", f"CPUQuotaPeriodSec={period}", f"MemoryMax={memory}",
            f"MemorySwapMax={swap}", f"TasksMax={pids}"]  # fmt: skip


def give(name: str, budget: Budget, quota: Quota | None) -> None:
    """Give a slice a budget, until the next boot; nothing where systemd isn't the init.

    Raises:
        CgroupError: systemd refused.
    """
    if not os.path.isdir(RUNTIME):
        return
    _given.add(name)
    _systemctl(name, "set-property", "--runtime", name, *properties(budget, quota))


def follow(name: str, budget: Budget, quota: Quota | None) -> None:
    """Give a slice that was given a budget before (also by an earlier agent) the new one."""
    if name in _given or os.path.isdir(f"/run/systemd/system.control/{name}.d"):
        give(name, budget, quota)


def drop(name: str) -> None:
    """Stop and forget a slice that was given a budget."""
    if name in _given or os.path.isdir(f"/run/systemd/system.control/{name}.d"):
        _systemctl(name, "stop", name)
        _systemctl(name, "revert", name)
        _given.discard(name)


def _systemctl(target: str, *argv: str) -> None:
    done = subprocess.run(
        ["systemctl", *argv], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or [f"systemctl ended with {done.returncode}"]
        raise CgroupError("cgroups", argv[0], target, why[0])
