"""Sockets of other network namespaces, for the relay.

A socket belongs to the namespace in which its thread was when it was made. The relay has one
thread; it steps into a namespace, makes the socket, and steps back, with nothing in between.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from otter_agent.network import namespaces

IP_TRANSPARENT, IP_RECVORIGDSTADDR, IP_PKTINFO = 19, 20, 8
"""linux/in.h; not in Python's socket module."""


class Namespace:
    """One named namespace, held open until `close`.

    Raises:
        OSError: There is none of that name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        with namespaces.opened(name) as descriptor:
            self.descriptor = os.dup(descriptor)
        self._own = namespaces.open_own()
        self._inode = namespaces.inode(self.descriptor)

    def is_current(self) -> bool:
        """Whether its name still stands for it: a namespace may have been made anew."""
        try:
            with namespaces.opened(self.name) as descriptor:
                return namespaces.inode(descriptor) == self._inode
        except OSError:
            return False

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make this thread's new sockets this namespace's, for the length of a `with`."""
        namespaces.join(self.descriptor)
        try:
            yield
        finally:
            namespaces.join(self._own)

    def socket(self, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
        """A socket of this namespace that never blocks."""
        with self.entered():
            made = socket.socket(socket.AF_INET, kind, protocol)
        made.setblocking(False)
        return made

    def close(self) -> None:
        """Let go of it; sockets made in it keep it alive."""
        os.close(self.descriptor)
        os.close(self._own)


def transparent(made: socket.socket) -> socket.socket:
    """Let a socket bear an address that isn't this namespace's own."""
    made.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
    return made
