"""Finds out that the other end of a TCP connection has vanished without a word.

An idle peer is found by the kernel's probes, a busy one by a look now and then at what it has
acknowledged. Not by messages of our own: a module that holds its loop for a minute isn't dead. Nor
by TCP_USER_TIMEOUT: that would cut off a receiver that is only slow (a window of zero): our kernel
asks it ever more seldom whether it has room, so that it is silent, and gone only if it leaves that
unanswered. Must not know: what is sent, and read.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress

_TCP_INFO_BYTES = 60
_PROBES_AT = 3  # tcpi_probes, u8: that were sent since something was last received
_UNANSWERED = 3
"""So many probes of a window of zero mean that nobody is there; Linux answers two a second."""
_SIOCOUTQNSD = 0x894B
_LAST_ACK_RECEIVED = struct.Struct("=I")
_LAST_ACK_AT = 56  # struct tcp_info of linux/tcp.h: 8 bytes, then u32s; tcpi_last_ack_recv, ms


class Pulse:
    """Looks at a socket while it is open. Stop it before that is closed.

    Args:
        sock: Connected, of TCP.
        dead_s: A peer of which nothing has been heard for so long is gone.
        gone: Told so, once per look.
    """

    def __init__(self, sock: socket.socket, dead_s: float, gone: Callable[[OSError], None]) -> None:
        self._sock, self._dead_s, self._gone = sock, dead_s, gone
        self._loop = asyncio.get_running_loop()
        interval = max(1, round(dead_s / 4))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, interval)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        self._timer = self._loop.call_later(dead_s / 4, self._look)

    def stop(self) -> None:
        """Look no more. Idempotent."""
        self._timer.cancel()

    def _look(self) -> None:
        """At a peer that acknowledges nothing, not even the kernel's probes."""
        self._timer = self._loop.call_later(self._dead_s / 4, self._look)
        info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        if len(info) < _TCP_INFO_BYTES or not (self._owed() or info[_PROBES_AT] >= _UNANSWERED):
            return
        (silent_ms,) = _LAST_ACK_RECEIVED.unpack_from(info, _LAST_ACK_AT)
        if silent_ms > self._dead_s * 1000:
            self._gone(TimeoutError(f"nothing heard for {silent_ms / 1000:.0f} s"))

    def _owed(self) -> bool:
        """Whether the peer's kernel has yet to acknowledge what ours has sent."""
        # In this order: what is acknowledged in between makes it less, not more.
        kept, unsent = array.array("i", [0]), array.array("i", [0])
        with suppress(OSError):  # a kernel that doesn't tell: then all that is kept was sent
            fcntl.ioctl(self._sock.fileno(), _SIOCOUTQNSD, unsent)
        fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, kept)
        return kept[0] > unsent[0]
