"""Which process a controller is, so that another one of the same computer knows whether it lives.

    BOOT.NAMESPACE.PID.STARTED      of Linux; elsewhere nobody is known to be gone

Must not know: what controllers do.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")


def own() -> str:
    """Of this process; "" where that can't be told."""
    try:
        return f"{_place()}.{os.getpid()}.{_started(os.getpid())}"
    except OSError:
        return ""


def is_gone(controller: str) -> bool:
    """Whether it ran on this computer, and doesn't any more."""
    place, _, rest = controller.rpartition(".")
    place, _, pid = place.rpartition(".")
    try:
        if not pid.isdecimal() or place != _place():
            return False
    except OSError:
        return False
    try:
        return _started(int(pid)) != rest
    except OSError:
        return not _is_there(int(pid))


def _is_there(pid: int) -> bool:
    """Whether some process has that pid, where others' aren't shown (`hidepid` of procfs)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _place() -> str:
    """This boot of this computer, and what its pids are counted in."""
    boot = (_PROC / "sys/kernel/random/boot_id").read_text("utf-8").strip()
    return f"{boot}.{os.stat(_PROC / 'self/ns/pid').st_ino}"


def _started(pid: int) -> str:
    """In clock ticks since the boot; of a zombie nothing. Source: proc(5)."""
    fields = (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
