"""What the system that this controller runs on can't do: it may be Windows or macOS.

Agents need Linux; controllers need Python. Imported by every verb: knows nothing else.
"""

from __future__ import annotations

import sys
from contextlib import suppress

CONNECTIONS = 1 << 16
"""More open files than any controller needs, and fewer than any system lets a user have."""
_NAMES = {"win32": "Windows", "darwin": "macOS"}


def no_agent() -> str:
    """Why no agent can be on this very system; "" on Linux."""
    if sys.platform == "linux":
        return ""
    return f"agents run on Linux, this is {_NAMES.get(sys.platform, sys.platform)}"


def where_instead() -> str:
    """Where to have one, if not here."""
    place = "WSL2" if sys.platform == "win32" else "a virtual machine"
    return f"have one in {place} or in a container (docs/windows.md); your site file names it"


def allow_connections() -> None:
    """Let this process have as many as it may: a machine takes up to three, and 1,024 is usual."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
