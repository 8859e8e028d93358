"""UDP sockets as this package wants them: non-blocking, batches where the kernel has them.

GSO: one call hands over up to 64 datagrams; GRO: one call takes as many. Their path's MTU is asked
of the kernel, and no packet is ever cut up by IP (the loss of one piece would lose all). Must not
know: asyncio, sessions, messages.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

Buffer = bytes | memoryview
Address = tuple[str, int]

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
"""linux/udp.h; since Linux 4.18 and 5.0."""
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO, _IP_MTU = 10, 2, 14
"""linux/in.h"""
_WANTED_BYTES = 8 * 2**20
"""Buffer that is asked for; the kernel gives at most twice net.core.rmem_max."""
_SHARE = 3
"""Part of the buffer that may be under way: of 1,500 bytes each takes up to 2,304 of it."""
SCRATCH_BYTES = 65536
"""More than the largest datagram or batch."""
_GONE = frozenset({errno.ECONNREFUSED})
_TOO_LARGE = frozenset({errno.EMSGSIZE, errno.EINVAL})


class TooLarge(Exception):  # noqa: N818 - it is one
    """The path takes smaller packets only."""


class Refused(Exception):  # noqa: N818 - it is
    """Nobody listens there."""


class UdpSocket:
    """One socket; `connect` or `bind` it.

    Attributes:
        batch: Whether the kernel takes batches.
        window_bytes: What may be under way to it so that its buffer overflows under no load.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.batch = self._has(UDP_SEGMENT, 0)
        self._has(UDP_GRO, 1)
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, option, _WANTED_BYTES)
        room = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.window_bytes = max(room // _SHARE, 16 * 1024)
        self._scratch = np.empty(SCRATCH_BYTES, np.uint8)
        self._views = [memoryview(self._scratch)]  # type: ignore[arg-type]

    def _has(self, option: int, value: int) -> bool:
        try:
            self._socket.setsockopt(SOL_UDP, option, value)
        except OSError:
            return False
        return True

    def bind(self, address: Address) -> None:
        """Receive from anybody.

        Raises:
            OSError: The port is taken, or the address isn't here.
        """
        self._socket.bind(address)

    def connect(self, address: Address) -> None:
        """Receive from one, and hear when nobody is there.

        Raises:
            OSError: There is no way to it.
        """
        self._socket.connect(address)

    def fileno(self) -> int:
        """For an event loop."""
        return self._socket.fileno()

    @property
    def name(self) -> str:
        """`10.0.0.7:5000`: where it is, for messages to people."""
        address, port = self._socket.getsockname()[:2]
        return f"{address}:{port}"

    @property
    def port(self) -> int:
        """Where it is bound."""
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def mtu_bytes(self) -> int:
        """Of the path to where it is connected, as far as the kernel knows."""
        try:
            return self._socket.getsockopt(socket.IPPROTO_IP, _IP_MTU)
        except OSError:
            return 1500

    def send(self, buffers: Sequence[Buffer], segment: int, to: Address | None = None) -> bool:
        """Datagrams, of `segment` bytes each but the last (0: it is one); False: not now.

        Raises:
            TooLarge: They are, for the path.
            Refused: Nobody listens there.
        """
        ancillary = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", segment))] if segment else []
        try:
            if to is None:
                self._socket.sendmsg(buffers, ancillary)
            else:
                self._socket.sendmsg(buffers, ancillary, 0, to)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            if exc.errno in _TOO_LARGE:
                raise TooLarge from exc
            if exc.errno in _GONE:
                raise Refused from exc
            if exc.errno == errno.EIO and segment:  # a device that can't, in spite of all
                self.batch = False
                raise TooLarge from exc
            # No route, no buffer at the device, a firewall: lost, as datagrams may be.
        return True

    def receive(self) -> tuple[NDArray[np.uint8], int, Address] | None:
        """Datagrams of one peer that came together.

        Returns:
            They, in memory that the next call uses again; the length of each but the last; where
            they came from. None: nothing is there.

        Raises:
            Refused: Nobody listens there.
        """
        try:
            nbytes, ancillary, _, address = self._socket.recvmsg_into(self._views, 32)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as exc:
            if exc.errno in _GONE:
                raise Refused from exc
            return None
        segment = nbytes
        for level, kind, data in ancillary:
            if (level, kind) == (SOL_UDP, UDP_GRO) and len(data) >= 4:
                segment = struct.unpack_from("=i", data)[0]
        return self._scratch[:nbytes], max(segment, 1), address

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()


def watch_again(opened: UdpSocket, callback: Callable[..., object], *arguments: object) -> None:
    """Go on listening at a socket that has told of an error: uvloop looks at it no more."""
    loop, number = asyncio.get_running_loop(), opened.fileno()
    loop.remove_reader(number)
    loop.add_reader(number, callback, *arguments)
