"""Sockets that reach exactly one direction of one link, and tell when a packet came.

Links are unnumbered, and a mesh's routes may prefer another way to the neighbour. A socket that is
bound to the link's device has no other: where the routes don't name it, the kernel takes the
destination to be at its other end (ip_route_output_key_hash_rcu() in net/ipv4/route.c).
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from otter_agent import arrivals
from otter_agent.network import buffers, namespaces
from otter_agent.verify.jobs import DirectionJob

_SO_NO_CHECK = 11
"""Source: asm-generic/socket.h; Python names none of them."""
_BUFFER_BYTES = 1 << 25
"""What a delaying qdisc holds counts as unsent, so the sender needs room for the whole link."""
_LONGEST = 2048
_DOWN = frozenset({errno.ENETUNREACH, errno.ENETDOWN})
"""Of a link that is down: sending will fail likewise, and all is lost, as it shall be."""


@dataclass(frozen=True, slots=True)
class Path:
    """A connected pair of UDP sockets, neither of which blocks."""

    tx: socket.socket
    rx: socket.socket

    def receive(self) -> tuple[bytes, int] | None:
        """A packet and when it came (nanoseconds, CLOCK_REALTIME); None: there is none now."""
        try:
            data, ancillary, _, _ = self.rx.recvmsg(_LONGEST, arrivals.ROOM)
        except BlockingIOError:
            return None
        return data, arrivals.time_of(ancillary)


@contextmanager
def opened(job: DirectionJob) -> Iterator[Path]:
    """The path over a direction's link.

    Raises:
        OSError: A host or the link isn't there.
    """
    with contextlib.ExitStack() as stack:
        tx = stack.enter_context(_bound(job.source_netns, job.source_address, job.device))
        rx = stack.enter_context(_bound(job.target_netns, job.target_address, job.device))
        yield _joined(tx, rx)


@contextmanager
def beneath(job: DirectionJob) -> Iterator[Path]:
    """A path with no link on it: from a host's router to itself."""
    with contextlib.ExitStack() as stack:
        tx = stack.enter_context(_bound(job.source_netns, job.source_address, ""))
        rx = stack.enter_context(_bound(job.source_netns, job.source_address, ""))
        yield _joined(tx, rx)


def _bound(netns: str, address: str, device: str) -> socket.socket:
    def open_() -> socket.socket:
        namespaces.enter(netns)
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if device:
                name = device.encode() + b"\0"
                made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
            made.bind((address, 0))
        except OSError:
            made.close()
            raise
        return made

    return namespaces.in_own_thread(open_)


def _joined(tx: socket.socket, rx: socket.socket) -> Path:
    buffers.widen_sending(tx, _BUFFER_BYTES)
    buffers.widen_receiving(rx, _BUFFER_BYTES)
    # Without a checksum a damaged packet arrives, and can be told from a lost one.
    tx.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
    arrivals.tell_times(rx)
    for one, other in ((tx, rx), (rx, tx)):
        try:
            one.connect(other.getsockname())
        except OSError as error:
            if error.errno not in _DOWN:
                raise
    tx.setblocking(False)
    rx.setblocking(False)
    return Path(tx, rx)
