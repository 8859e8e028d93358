"""Whether a container's first process can hear a signal at all. Reads /proc only."""

from __future__ import annotations

import signal
from pathlib import Path


def hears(pid: int, name: str) -> bool:
    """Whether a signal would do anything to the first process of a pid namespace.

    The kernel drops signals for it that it has no handler for (pid_namespaces(7)): waiting for
    `sleep`, or a server without a handler, to end by SIGTERM is waiting in vain.

    Args:
        pid: Of that process.
        name: As Docker has a stop signal: `SIGTERM`, `TERM` or a number.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (_number(name) - 1) & 1)


def _number(name: str) -> int:
    if name.isdigit():
        return int(name)
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    named: signal.Signals = getattr(signal, full, signal.SIGTERM)
    return named.value
