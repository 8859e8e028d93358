"""Processes beside the agent that outlive it: each is found by its Unix socket, whoever started it.

Who listens at a socket is asked of the kernel; a process is told by its command line, which holds a
mark and the socket's path. All functions are synchronous.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import otter_agent

_END_S = 5.0
_WAITING = 8
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_CREDENTIALS = struct.Struct("=iII")
"""Source: unix(7), `struct ucred`."""


def start(path: Path, package: str, words: Sequence[str], log: str) -> socket.socket:
    """Start `python -m PACKAGE WORDS… PATH` with the listening socket as its standard input.

    Args:
        path: Of its socket, made anew.
        package: What to run.
        words: Its arguments; a mark is among them.
        log: Name of the file beside the socket to which it writes.

    Returns:
        A connection to it.

    Raises:
        ConnectionError: It ended at once.
        OSError: It couldn't be started.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with short(path) as name:
            listener.bind(name)
        listener.listen(_WAITING)
        _spawn(listener, path, package, words, log)
    connection = connected(path)
    if connection is None:
        raise ConnectionError(f"its process ended at once; see {path.parent / log}")
    return connection


def _spawn(
    listener: socket.socket, path: Path, package: str, words: Sequence[str], log: str
) -> None:
    # A log of its own: it outlives the agent, and would hold whatever that one prints to.
    with (path.parent / log).open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-S", "-m", package, *words, str(path)],
            stdin=listener.fileno(), stdout=output, stderr=output, start_new_session=True, cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": _python_path()},
        )  # fmt: skip
    # This process's child for as long as this lives: somebody has to take note of its end.
    threading.Thread(target=process.wait, name=f"end of {path.name}", daemon=True).start()


def _python_path() -> str:
    """Where it finds what this process does, without `site`: that takes a sixth of its start."""
    own = str(Path(otter_agent.__file__).parent.parent)
    installed = [path for path in sys.path if Path(path).name in _INSTALLED]
    return os.pathsep.join(dict.fromkeys((own, *installed)))


@contextmanager
def short(path: Path) -> Iterator[str]:
    """Another name of a socket, by way of its folder: a socket's path may have 107 bytes only."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connected(path: Path) -> socket.socket | None:
    """A connection to the process whose socket this is; None: nobody of ours listens.

    What another user put in its place is not spoken to: it would be handed devices.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short(path) as name:
            made.connect(name)
    except OSError:
        made.close()
        return None
    if _peer(made)[1] != os.geteuid():
        made.close()
        return None
    return made


def _peer(connection: socket.socket) -> tuple[int, int]:
    """Process and user at the other end, as they were when it began to listen."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(data)
    return pid, user


def end(path: Path, mark: str, request: bytes, *, patience_s: float = _END_S) -> None:
    """End the process of a socket, if there is one; returns when it is gone with all it opened.

    Args:
        path: Of its socket.
        mark: In its command line.
        request: What tells it to end; it hangs up when it has closed everything.
        patience_s: How long it has for that before it is killed.
    """
    connection = connected(path)
    if connection is not None:
        with connection:
            watched = open_pid(listener_of(connection, path, mark))
            try:
                _ask_to_end(connection, watched, request, patience_s)
            finally:
                if watched is not None:
                    os.close(watched)
    path.unlink(missing_ok=True)


def listener_of(connection: socket.socket, path: Path, mark: str) -> int | None:
    """The process's pid, as the kernel knows it; None unless it is one of ours indeed.

    Until the process itself listens, the kernel names the agent that had made the socket.
    """
    pid, _ = _peer(connection)
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return pid if os.fsencode(path) in words and mark.encode() in words else None


def _ask_to_end(
    connection: socket.socket, watched: int | None, request: bytes, patience_s: float
) -> None:
    """Tell it to end; wait until it has; kill it if it doesn't."""
    connection.settimeout(patience_s)
    with suppress(OSError):
        connection.sendall(request)
        while connection.recv(4096):
            pass
    if watched is not None and not ended(watched, patience_s):
        signal.pidfd_send_signal(watched, signal.SIGKILL)
        ended(watched, _END_S)


def open_pid(pid: int | None) -> int | None:
    """A descriptor that tells when a process has ended; None: it has."""
    try:
        return None if pid is None else os.pidfd_open(pid)
    except OSError:
        return None


def ended(watched: int, within_s: float) -> bool:
    """Whether a process ends within some time."""
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    return bool(poll.poll(within_s * 1000))


def is_there(path: Path, inode: int) -> bool:
    """For the process itself: whether the socket is still the one that it serves."""
    try:
        return os.stat(path).st_ino == inode
    except OSError:
        return False
