"""`python -m otter_agent.ground.holder RUN`: keeps an ordinary user's namespaces, in background.

It returns once they can be entered. What stays is in the user and mount namespace, as all of
OTTER's, but in the machine's own network: it keeps a descriptor of the other one, and makes sockets
of the machine's for those inside, who could make none. Standard library only.

    {"op": "enter"} ──► {"base": …, "why": …} + user, mount, network namespace
    {"op": "socket", "kind": …, "protocol": …} ──► {} + the socket, or {"errno": …}

A connection that has entered stays open while its agent lives. Without one, and without a name in
/run/netns, so without a mesh, the holder is the last to go; with a mesh it outlives the agent.
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
_KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
_LONGEST = 4096


class Holder:
    """Serves until nobody needs the namespaces.

    Args:
        name: Of its namespaces.
        listener: Where to ask, SOCK_SEQPACKET.
        network: Descriptor of the network namespace that agents enter.
        given: The cgroups that budgets can be made in.
    """

    def __init__(
        self, name: str, listener: socket.socket, network: int, given: delegation.Delegated
    ) -> None:
        self._name, self._listener, self._given = name, listener, given
        self._namespaces = [*map(_own, ("user", "mnt")), network]
        self._inside: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)

    def serve(self) -> None:
        """Answer until idle for `IDLE_S`."""
        while True:
            busy = bool(self._inside or os.listdir(userns.NETNS))
            events = self._selector.select(None if busy else IDLE_S)
            if not events and not userns.who_is_in(self._name) - {os.getpid()}:
                return  # also launcher and helpers have gone, some time after the last module
            for key, _ in events:
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket):
                    self._hear(key.fileobj)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        self._selector.register(connection, selectors.EVENT_READ)

    def _hear(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(_LONGEST)
            if data:
                self._answer(connection, json.loads(data))
                return
        except (OSError, ValueError, KeyError, TypeError):
            pass  # it is gone, or speaks another language
        self._selector.unregister(connection)
        self._inside.discard(connection)
        connection.close()

    def _answer(self, connection: socket.socket, request: dict[str, object]) -> None:
        if request["op"] == "enter":
            self._inside.add(connection)
            base = str(self._given.base or "")
            said = json.dumps({"base": base, "why": self._given.why}).encode()
            socket.send_fds(connection, [said], self._namespaces)
            return
        kind, protocol = request["kind"], request["protocol"]
        if not isinstance(kind, int) or kind not in _KINDS or not isinstance(protocol, int):
            raise ValueError(kind)
        try:
            with socket.socket(socket.AF_INET, kind, protocol) as made:
                socket.send_fds(connection, [b"{}"], [made.fileno()])
        except OSError as exc:
            connection.send(json.dumps({"errno": exc.errno}).encode())


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
        network = userns.new_network()
    except userns.NoNamespaces as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    listener = _listen()
    if os.fork():
        os._exit(0)
    _detach()
    try:
        Holder(run, listener, network, given).serve()
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
