"""The helper's process: `python -m otter_agent.links.netem.playing --netem IDLE_S SOCKET`.

The agent starts it and tells it what is to come; it makes that so also when the agent is killed,
and the next one finds it by its socket. It ends when told so, when it has had nothing to do for
IDLE_S, and when its socket has been removed. Links go on without it as they are.
"""

from __future__ import annotations

import math
import os
import resource
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path

from otter_agent import api
from otter_agent.beside import is_there
from otter_agent.links import realtime
from otter_agent.links.netem.playing import canary
from otter_agent.links.netem.playing.agenda import Agenda
from otter_agent.links.netem.playing.canary import Canary
from otter_agent.links.netem.playing.loop import Loop
from otter_agent.links.netem.playing.post import Mail
from otter_agent.links.netem.playing.protocol import Answer, Request
from otter_agent.links.stopping import stop_on_sigterm
from otter_agent.links.talks import Talks

_LOOK_S = 1.0
_WATCHED_S = 20.0
"""So long after it was last asked how late packets are, it goes on looking."""
_SOON_S = 0.003
_FEW, _MANY = 3, 20
"""Letters to write before something is due soon, and when nothing is: about 30 us each."""


class Helper:
    """All that it does.

    Args:
        loop: Of the process.
        listener: Its socket, which the agent made.
        path: Of that.
        idle_s: As above.
    """

    def __init__(self, loop: Loop, listener: socket.socket, path: Path, idle_s: float) -> None:
        self._loop = loop
        self._path = path
        self._inode = path.stat().st_ino
        self._idle_s = idle_s
        self._mail = Mail(loop, lambda answers: self._agenda.hear(answers))
        self._agenda = Agenda(self._mail)
        self._canary: Canary | None = None
        self._watched: dict[str, float] = {}
        self._busy_s = self._look_s = time.monotonic()
        self._talks = Talks(loop, listener, self._answer)

    # --- the agent --------------------------------------------------------------------------------

    def _answer(self, body: bytes, descriptors: deque[int]) -> Answer:
        request = api.decode(body, Request)
        if any(not 0 <= one.way < len(request.directions) for one in request.later):
            raise ValueError("changes of no direction")
        agenda, pid = self._agenda, os.getpid()
        match request.kind:
            case "plan":
                agenda.lend(request.lent)
                for one in request.later:
                    agenda.add(request.directions[one.way], one.number, one.at_s, one.spec)
                return Answer(pid=pid, came=tuple(agenda.came(request.mesh)))
            case "drop":
                if request.everything:
                    agenda.drop_all()
                agenda.drop(request.directions)
            case "forget":
                agenda.drop_all(request.mesh)
                self._watched.pop(request.mesh, None)
            case "health":
                self._watched[request.mesh] = time.monotonic() + _WATCHED_S
                self._see_to_canary()
                pulse = None if self._canary is None else self._canary.told()
                return Answer(pid=pid, pulse=pulse)
            case "end":
                self._loop.stopped = True
        return Answer(pid=pid)

    # --- the loop ---------------------------------------------------------------------------------

    def go(self, now: float) -> tuple[float, float]:
        """Do what is due; what time it is then, and when it has to go on at the latest."""
        agenda = self._agenda
        agenda.note()
        now = agenda.go(now)
        if self._canary is not None and now >= self._canary.next_s:
            self._canary.send(now)
        if now >= self._look_s:
            self._look(now)
        next_s = min(agenda.next_s, self._look_s)
        if self._canary is not None:
            next_s = min(next_s, self._canary.next_s)
        if not agenda.unwritten:
            return now, next_s
        leisure = next_s - now > _SOON_S
        agenda.write(_MANY if leisure else _FEW)
        now = time.monotonic()
        return now, now if leisure else next_s

    def _look(self, now: float) -> None:
        self._look_s = now + _LOOK_S
        spoken_to = len(self._talks) > 0
        watched = self._watched.items() if spoken_to else ()
        self._watched = {mesh: until for mesh, until in watched if until > now}
        self._see_to_canary()
        told = spoken_to and bool(self._agenda)
        if told or self._watched or self._agenda.next_s < math.inf:
            self._busy_s = now
        if now - self._busy_s > self._idle_s or not is_there(self._path, self._inode):
            self._loop.stopped = True

    def _see_to_canary(self) -> None:
        """It is there while somebody wants to know."""
        if self._watched and self._canary is None:
            self._canary = canary.made()
            if self._canary is not None:
                self._loop.watch(self._canary.descriptor, select.EPOLLIN, self._canary.hear)
        elif not self._watched and self._canary is not None:
            self._loop.unwatch(self._canary.descriptor)
            self._canary.close()
            self._canary = None

    def close(self) -> None:
        """Let go of everything."""
        if is_there(self._path, self._inode):
            self._path.unlink(missing_ok=True)
        self._watched.clear()
        self._see_to_canary()
        self._mail.close()
        self._talks.close()  # whoever told it to end is told by this that it has
        self._loop.close()


def main() -> None:
    """Run until told to end."""
    path, idle_s = Path(sys.argv[-1]), float(sys.argv[-2])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop = Loop(realtime.Guard(time.monotonic(), time.process_time()))
    stop_on_sigterm(loop)
    # The agent made it, so that nobody finds a helper that doesn't listen yet.
    with socket.socket(fileno=0) as listener:
        helper = Helper(loop, listener, path, idle_s)
        realtime.settle()
        loop.run(helper)
        helper.close()


if __name__ == "__main__":
    main()
