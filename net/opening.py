"""Flags of `os.open` that not every system has; a system that lacks one needs none.

O_NONBLOCK   a FIFO that nobody writes to must not hold its reader up   no such files on Windows
O_CLOEXEC    children don't inherit it                                  Python's default anyway
O_NOFOLLOW   a link in the place of a file is refused                   Windows: looked at before
O_DIRECTORY  a file in the place of a folder is refused                 Windows opens no folders
O_BINARY     Windows alone: bytes as they are, no CRLF made of them
"""

from __future__ import annotations

import os

NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
DIRECTORY: int = getattr(os, "O_DIRECTORY", 0)
BINARY: int = getattr(os, "O_BINARY", 0)

READ_AT_ONCE = os.O_RDONLY | NONBLOCK | CLOEXEC | BINARY
"""Read a file whose kind isn't known yet: `fstat` tells, and nothing waits meanwhile."""
