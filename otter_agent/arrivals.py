"""When a packet came, by the kernel: what sockets with SO_TIMESTAMPNS tell beside the data."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

_SO_TIMESTAMPNS = 35
"""Source: asm-generic/socket.h; Python doesn't name it."""
_TIMESPEC = struct.Struct("qq")
ROOM = socket.CMSG_SPACE(_TIMESPEC.size)
"""For `recvmsg`."""


def tell_times(of: socket.socket) -> None:
    """Have a socket tell when each packet came."""
    of.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def time_of(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    """When it came: nanoseconds, CLOCK_REALTIME; 0: it wasn't told."""
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(value[: _TIMESPEC.size])
            return int(seconds * 1_000_000_000 + nanoseconds)
    return 0
