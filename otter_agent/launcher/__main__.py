"""`python -m otter_agent.launcher FOLDER IDLE_S`: become the launcher of a folder, in background.

Returns as soon as requests are taken: by this launcher or by one that was there before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys

from otter_agent.launcher import child, linux, records
from otter_agent.launcher.server import Server


def main(argv: list[str]) -> int:
    """Start unless one is there; the caller's process ends, the launcher goes on."""
    if len(argv) != 2:
        sys.stderr.write("usage: python -m otter_agent.launcher FOLDER IDLE_S\n")
        return 2
    root, idle_s = os.path.abspath(argv[0]), float(argv[1])
    os.makedirs(f"{root}/instances", mode=0o700, exist_ok=True)
    lock = os.open(f"{root}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    listener = _listen(root)
    child.private_mounts()
    if os.fork():
        os._exit(0)
    _detach(root)
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)  # orphans of modules are ours to reap
    try:
        Server(root, listener, idle_s).serve()
    finally:
        for name in (records.SOCKET, "pid"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{root}/{name}")
    return 0


def _listen(root: str) -> socket.socket:
    """The socket, in place of a dead launcher's. Relative: a path may have 107 bytes only."""
    os.chdir(root)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(records.SOCKET)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    listener.bind(records.SOCKET)
    os.umask(mask)
    listener.listen(16)
    return listener


def _detach(root: str) -> None:
    """A session of its own, no terminal, output to a log file."""
    os.setsid()
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDONLY)
    log = os.open(f"{root}/{records.LOG}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd, number in ((null, 0), (log, 1), (log, 2)):
        os.dup2(fd, number)
    os.close(null)
    os.close(log)
    with open(f"{root}/pid", "w") as file:
        file.write(f"{os.getpid()}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
