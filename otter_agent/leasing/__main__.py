"""The arbiter's process: `python -m otter_agent.leasing --turns SOCKET`.

The agent starts it with the listening socket as its standard input; it lives on when the agent is
killed, and the next one finds it by that socket. It ends when told so, and when its socket has
been removed.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from otter_agent.beside import is_there
from otter_agent.leasing.arbiter import Arbiter

_LOOK_S = 5.0
"""How often it looks whether its socket is still there."""
_PRIORITY = -10
"""Whoever has its turn should learn so at once, however busy the machine is."""


def main() -> None:
    """Run until told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    path = Path(sys.argv[-1])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each module may hold many of them
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    with socket.socket(fileno=0) as listener:
        inode = path.stat().st_ino
        arbiter = Arbiter(listener)
        gc.freeze()
        try:
            while not arbiter.ended and is_there(path, inode):
                arbiter.serve(_LOOK_S)
        finally:
            arbiter.close()


if __name__ == "__main__":
    main()
