"""The helper's process: `python -m otter_agent.links.tun --links [--stays] IDLE_S SOCKET`.

The agent starts it and tells it which links to carry; it lives on when the agent is killed, and
the next one finds it by its socket. It ends when told so, when its socket has been removed, and
when it has carried nothing for IDLE_S; with `--stays`, and no agent was connected.
"""

from __future__ import annotations

import resource
import socket
import sys
import time
from pathlib import Path

from net.links import jitter
from otter_agent.beside import is_there
from otter_agent.links import realtime
from otter_agent.links.stopping import stop_on_sigterm
from otter_agent.links.talk import STAYS
from otter_agent.links.tun import pulse
from otter_agent.links.tun.carrier import Carrier
from otter_agent.links.tun.control import Control

_LOOK_S = 1.0


def main() -> None:
    """Run until told to end."""
    path, idle_s = Path(sys.argv[-1]), float(sys.argv[-2])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    inode = path.stat().st_ino
    guard = realtime.Guard(time.monotonic(), time.process_time())
    carrier = Carrier(guard, pulse.Heart(path))
    stop_on_sigterm(carrier)
    # The agent made it, so that nobody finds a helper that doesn't listen yet.
    with socket.socket(fileno=0) as listener:
        control = Control(carrier, listener, stays=STAYS in sys.argv)

        def look() -> None:
            control.look()
            since = control.idle_since_s
            idle = since is not None and time.monotonic() - since > idle_s
            if idle or not is_there(path, inode):
                carrier.stopped = True

        for distribution in jitter.DISTRIBUTIONS:
            jitter.table(distribution)  # later it would keep packets waiting
        realtime.settle()
        carrier.run(_LOOK_S, look)
        if is_there(path, inode):
            path.unlink(missing_ok=True)
            pulse.path_of(path).unlink(missing_ok=True)
        control.close()  # it still has to do with the carrier
        carrier.close()


if __name__ == "__main__":
    main()
