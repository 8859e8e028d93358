"""How files are opened: flags that not every system has, and names that others may change.

A system that lacks one of these flags needs none, but for O_PATH.

O_NONBLOCK   a FIFO that nobody writes to must not hold its reader up   no such files on Windows
O_CLOEXEC    children don't inherit it                                  Python's default anyway
O_NOFOLLOW   a link in the place of a file is refused                   Windows: looked at before
O_DIRECTORY  a file in the place of a folder is refused                 Windows opens no folders
O_BINARY     Windows alone: bytes as they are, no CRLF made of them
O_PATH       Linux alone: what a name stands for, without opening it, to look at it first
"""

from __future__ import annotations

import errno
import os
from types import TracebackType

NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
DIRECTORY: int = getattr(os, "O_DIRECTORY", 0)
BINARY: int = getattr(os, "O_BINARY", 0)
PATH: int = getattr(os, "O_PATH", 0)

READ_AT_ONCE = os.O_RDONLY | NONBLOCK | CLOEXEC | BINARY
"""Read a file whose kind isn't known yet: `fstat` tells, and nothing waits meanwhile."""


class Looked:
    """What a name in an open folder stood for when it was looked at; used with `with`.

    Whatever gets that name afterwards is never opened: the folder's owner may be hostile, and
    opening alone does something to devices. Links aren't followed. Not for Windows.

    Args:
        parent: Descriptor of the folder.
        name: In it.

    Attributes:
        facts: What it is.

    Raises:
        OSError: There is no such thing.
    """

    def __init__(self, parent: int, name: str) -> None:
        self._parent, self._name = parent, name
        self._at = os.open(name, PATH | NOFOLLOW | CLOEXEC, dir_fd=parent) if PATH else -1
        self.facts = (
            os.fstat(self._at) if PATH else os.stat(name, dir_fd=parent, follow_symlinks=False)
        )

    def __enter__(self) -> Looked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if PATH:
            os.close(self._at)

    def target(self) -> str:
        """Of a link: where it says that it leads. Raises `OSError`."""
        if PATH:
            return os.readlink("", dir_fd=self._at)
        return os.readlink(self._name, dir_fd=self._parent)

    def open(self, flags: int) -> int:
        """A descriptor of it, the caller's.

        Without O_PATH what got its name meanwhile is opened, seen to be another, and closed.

        Raises:
            OSError: It can't be opened; `ESTALE`: its name is another thing's by now.
        """
        if PATH:
            return os.open(f"/proc/self/fd/{self._at}", flags)
        fd = os.open(self._name, flags | NOFOLLOW, dir_fd=self._parent)
        if not os.path.samestat(os.fstat(fd), self.facts):
            os.close(fd)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), self._name)
        return fd
