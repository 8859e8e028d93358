"""A UDP socket in the machine's own network, at which datagrams of tunnels leave and come in.

Many of one size go out by one call, and come in by one, where the kernel can (UDP_SEGMENT, UDP_GRO:
udp(7)). Must not know: what is in them, epoll.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

from otter_agent.tunnels.session import Address, Datagram

_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0
_SEND_BYTES = 1 << 20
_RECEIVE_BYTES = 4 << 20
_MOST_AT_ONCE = 64
"""Segments of one call (UDP_MAX_SEGMENTS of kernels before 6.9)."""
_LARGEST = 65_000
"""Bytes of one call: with its headers it has to be an IP packet."""
_SIZE = struct.Struct("=H")
_INT = struct.Struct("=i")
_BUFFER = bytearray(1 << 16)
_VIEW = memoryview(_BUFFER)
_BATCH = 32
_TOO_LARGE = frozenset({errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.ENOPROTOOPT})


class Port:
    """One address and port of this machine.

    Args:
        local: Both.

    Attributes:
        stalled: Something waits until the kernel takes more: don't read packets for it meanwhile.
        unsent: Datagrams that the kernel refused.

    Raises:
        OSError: It is somebody else's.
    """

    def __init__(self, local: Address) -> None:
        self.local = local
        self.unsent = 0
        self._waiting: deque[tuple[list[Datagram], Address]] = deque()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._settle()
            self._socket.bind(local)
        except OSError:
            self._socket.close()
            raise

    def _settle(self) -> None:
        for option, forced, size in (
            (socket.SO_SNDBUF, _SO_SNDBUFFORCE, _SEND_BYTES),
            (socket.SO_RCVBUF, _SO_RCVBUFFORCE, _RECEIVE_BYTES),
        ):
            self._socket.setsockopt(socket.SOL_SOCKET, option, size)
            with suppress(OSError):  # beyond the machine's limit: for root only
                self._socket.setsockopt(socket.SOL_SOCKET, forced, size)
        # As VXLAN does: what is too large for the way is cut there rather than lost.
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        with suppress(OSError):  # before Linux 5.0 each comes alone
            self._socket.setsockopt(_SOL_UDP, _UDP_GRO, 1)

    @property
    def descriptor(self) -> int:
        """To wait for."""
        return self._socket.fileno()

    @property
    def stalled(self) -> bool:
        """Whether something waits until the kernel takes more."""
        return bool(self._waiting)

    def send(self, datagrams: list[Datagram], to: Address) -> None:
        """Send, in their order, what goes together by one call; what can't go now waits."""
        for row in _rows(datagrams):
            self._waiting.append((row, to))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the kernel takes it."""
        while self._waiting:
            try:
                self._send(*self._waiting[0])
            except BlockingIOError:
                self._keep()
                return
            except OSError:
                self.unsent += len(self._waiting[0][0])
            self._waiting.popleft()

    def _keep(self) -> None:
        """What waits is somebody's buffer yet."""
        for row, _ in self._waiting:
            row[:] = [(size, tuple(map(bytes, parts))) for size, parts in row]

    def _send(self, row: list[Datagram], to: Address) -> None:
        parts = list(chain.from_iterable(parts for _, parts in row))
        if not row[1:]:
            self._socket.sendmsg(parts, (), 0, to)
            return
        size = _SIZE.pack(row[0][0])
        try:
            self._socket.sendmsg(parts, [(_SOL_UDP, _UDP_SEGMENT, size)], 0, to)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            while row:  # this way they don't go together
                self._socket.sendmsg(row[0][1], (), 0, to)
                del row[0]

    def receive(self) -> Iterator[tuple[list[memoryview], Address]]:
        """What has come in, as much as came in at once; it is gone with the next."""
        for _ in range(_BATCH):
            try:
                size, told, _, source = self._socket.recvmsg_into([_BUFFER], 64)
            except OSError:  # nothing (more); or what was sent before reached nobody
                return
            step = _segment_bytes(told) or size or 1
            yield [_VIEW[at : min(at + step, size)] for at in range(0, size, step)], source

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()


def _rows(datagrams: list[Datagram]) -> Iterator[list[Datagram]]:
    """Those that can go by one call: of one size, but for the last, which may be smaller."""
    row: list[Datagram] = []
    total = 0
    for one in datagrams:
        size = one[0]
        full = len(row) >= _MOST_AT_ONCE or total + size > _LARGEST
        if row and (full or row[-1][0] != row[0][0] or size > row[0][0]):
            yield row
            row, total = [], 0
        row.append(one)
        total += size
    if row:
        yield row


def _segment_bytes(told: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in told:
        if (level, kind) == (_SOL_UDP, _UDP_GRO) and len(data) >= _INT.size:
            return int(_INT.unpack_from(data)[0])
    return 0
