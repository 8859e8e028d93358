"""The process: `python -m otter_agent.tunnels --tunnels IDLE_S SOCKET`.

The agent starts it, in the machine's own network, and tells it what to carry; it lives on when the
agent is killed, and the next one finds it by its socket. It ends when told so, when it has carried
nothing for IDLE_S, and when its socket has been removed.
"""

from __future__ import annotations

import resource
import socket
import sys
import time
from pathlib import Path

from otter_agent.beside import is_there
from otter_agent.links import realtime
from otter_agent.links.stopping import stop_on_sigterm
from otter_agent.tunnels.carrier import Carrier
from otter_agent.tunnels.control import Control


def main() -> None:
    """Run until told to end."""
    path, idle_s = Path(sys.argv[-1]), float(sys.argv[-2])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    inode = path.stat().st_ino
    carrier = Carrier(realtime.Guard(time.monotonic(), time.process_time()))
    stop_on_sigterm(carrier)
    # The agent made it, so that nobody finds a process that doesn't listen yet.
    with socket.socket(fileno=0) as listener:
        control = Control(carrier, listener)

        def look() -> None:
            control.look()
            since = control.idle_since_s
            idle = since is not None and time.monotonic() - since > idle_s
            if idle or not is_there(path, inode):
                carrier.stopped = True

        realtime.settle()
        carrier.run(look)
        if is_there(path, inode):
            path.unlink(missing_ok=True)
        control.close()  # it still has to do with the carrier
        carrier.close()


if __name__ == "__main__":
    main()
