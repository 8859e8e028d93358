"""Whether a process of this machine still runs. Must not know: whose it is."""

from __future__ import annotations

from pathlib import Path

MOST_PIDS = 1 << 22
"""PID_MAX_LIMIT of Linux (proc_sys_kernel(5), pid_max): no process has this pid, or a larger."""


def runs(pid: int) -> bool:
    """Whether there is such a process that hasn't ended: a zombie has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
