"""Where a stream's socket is: a name in a folder, however long the path.

The kernel takes 107 bytes as the path of a socket. A longer one is reached through a descriptor of
its folder. Must not know: records, messages.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_LONGEST = 107
"""Source: unix(7), sun_path."""
_BACKLOG = 16


@contextmanager
def _short(path: str) -> Iterator[str]:
    """Another name of the place, short enough."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield path
        return
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.setblocking(False)
    return sock


def connect(path: str) -> socket.socket:
    """A connection to who listens there.

    Raises:
        OSError: Nobody does (`ENOENT`, `ECONNREFUSED`), or too many wait to (`EAGAIN`).
    """
    sock = _socket()
    try:
        with _short(path) as name:
            sock.connect(name)
    except BaseException:
        sock.close()
        raise
    return sock


class Place:
    """A listening socket with its name. Whoever can reach the folder may connect.

    Args:
        path: Where; a former listener's name is taken over, as that one is dead or will be.

    Raises:
        OSError: The folder isn't there, or nothing can be written to it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.sock = _socket()
        try:
            with _short(path) as name:
                with suppress(FileNotFoundError):
                    os.unlink(name)
                self.sock.bind(name)
                self._identity = open_to_all(name)
            self.sock.listen(_BACKLOG)
        except BaseException:
            self.sock.close()
            raise

    def close(self) -> None:
        """Close it, and remove its name if no other has taken that over. Idempotent."""
        self.sock.close()
        with suppress(OSError), _short(self._path) as name:
            if _identity(name) == self._identity:
                os.unlink(name)


def open_to_all(path: str) -> tuple[int, int]:
    """Let any user connect to a socket: the two modules may be different ones; its identity.

    The other module may put something else in its place at any moment, a link to a file of ours for
    example: what is found there is looked at first, and no link is followed.

    Raises:
        OSError: There is no socket there.
    """
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISSOCK(facts.st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK), path)
        os.chmod(f"/proc/self/fd/{fd}", 0o666)  # noqa: S103
    finally:
        os.close(fd)
    return facts.st_dev, facts.st_ino


def _identity(path: str) -> tuple[int, int]:
    facts = os.lstat(path)
    return facts.st_dev, facts.st_ino
