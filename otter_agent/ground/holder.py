"""`python -m otter_agent.ground.holder RUN`: keeps an ordinary user's namespaces, in background.

It returns once they can be entered. Who connects to its socket is told where budgets can be made,
{"base": …, "why": …}, and handed the user and the mount namespace. A connection stays open while
its agent lives. Without one, and without a name in /run/netns, so without a mesh, the holder is the
last to go; with a mesh it outlives the agent. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

from otter_agent.ground import delegation, userns

SOCKET = "ground.sock"  # otter_agent.api.places.HOLDER
LOCK = "ground.lock"
LOG = "ground.log"
IDLE_S = 1.0
_ENDING_S = 5.0


class Holder:
    """Serves until nobody needs the namespaces.

    Args:
        name: Of its namespaces.
        listener: Where agents connect, SOCK_SEQPACKET.
        given: The cgroups that budgets can be made in.
    """

    def __init__(self, name: str, listener: socket.socket, given: delegation.Delegated) -> None:
        self._name, self._listener = name, listener
        self._said = json.dumps({"base": str(given.base or ""), "why": given.why}).encode()
        self._namespaces = [_own("user"), _own("mnt")]
        self._agents: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)

    def serve(self) -> None:
        """Answer until idle for `IDLE_S`."""
        while True:
            busy = bool(self._agents or os.listdir(userns.NETNS))
            events = self._selector.select(None if busy else IDLE_S)
            if not events and not userns.who_is_in(self._name) - {os.getpid()}:
                return  # also launcher and helpers have gone, some time after the last module
            for key, _ in events:
                if key.fileobj is self._listener:
                    self._welcome()
                elif isinstance(key.fileobj, socket.socket):
                    self._part(key.fileobj)

    def _welcome(self) -> None:
        agent, _ = self._listener.accept()
        self._agents.add(agent)
        self._selector.register(agent, selectors.EVENT_READ)
        with contextlib.suppress(OSError):  # it has gone already
            socket.send_fds(agent, [self._said], self._namespaces)

    def _part(self, agent: socket.socket) -> None:
        """It says nothing: what there is to read is its end."""
        self._selector.unregister(agent)
        self._agents.discard(agent)
        agent.close()


def _own(kind: str) -> int:
    return os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def main(argv: list[str]) -> int:
    """Become the holder of a folder, unless there is one; the caller's process ends."""
    os.chdir(argv[0])  # a socket's path may have 107 bytes only
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    run = os.getcwd()
    _end_leftovers(run)
    given = delegation.take([os.getpid(), os.getppid()])
    try:
        userns.become_root(run)
    except userns.NoNamespaces as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    listener = _listen()
    if os.fork():
        os._exit(0)
    _detach()
    try:
        Holder(run, listener, given).serve()
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(run, SOCKET).unlink()
        if given.base is not None:
            delegation.leave(given.base)
    return 0


def _end_leftovers(run: str) -> None:
    """What is in namespaces whose holder was killed: nobody can enter them any more.

    For its meshes that is as a reboot: the next agent starts their modules anew.
    """
    deadline = time.monotonic() + _ENDING_S
    while (left := userns.who_is_in(run)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _listen() -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    listener.bind(SOCKET)
    os.umask(mask)
    listener.listen(16)
    return listener


def _detach() -> None:
    """A session of its own, no terminal, output to a log file."""
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    null = os.open("/dev/null", os.O_RDONLY)
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd, number in ((null, 0), (log, 1), (log, 2)):
        os.dup2(fd, number)
    os.close(null)
    os.close(log)
    os.chdir("/")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
