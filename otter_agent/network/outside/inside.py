"""Sockets of other network namespaces, for the relay.

A socket belongs to the namespace in which its thread was when it was made. The relay has one
thread; it steps into a namespace, makes the socket, and steps back, with nothing in between. Where
there is no way back (out of a user namespace's) a thread of its own goes and ends there.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

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
        self._comes_back = namespaces.in_own_thread(self._there_and_back)

    def is_current(self) -> bool:
        """Whether its name still stands for it: a namespace may have been made anew."""
        try:
            with namespaces.opened(self.name) as descriptor:
                return namespaces.inode(descriptor) == self._inode
        except OSError:
            return False

    def inside(self, make: Callable[[], socket.socket]) -> socket.socket:
        """What `make` makes is this namespace's."""
        if not self._comes_back:
            return namespaces.in_own_thread(lambda: self._enter_and(make))
        try:
            return self._enter_and(make)
        finally:
            namespaces.join(self._own)

    def _enter_and(self, make: Callable[[], socket.socket]) -> socket.socket:
        namespaces.join(self.descriptor)
        return make()

    def _there_and_back(self) -> bool:
        """Whether who goes there may return; from the machine's, a user namespace's root mayn't."""
        namespaces.join(self.descriptor)
        try:
            namespaces.join(self._own)
        except PermissionError:
            return False
        return True

    def socket(self, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
        """A socket of this namespace that never blocks."""
        made = self.inside(lambda: socket.socket(socket.AF_INET, kind, protocol))
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
