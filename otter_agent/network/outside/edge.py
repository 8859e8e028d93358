"""What the parts of one gateway share: its namespace, its policy, a socket for made packets."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import suppress

from otter_agent.network.outside import packets
from otter_agent.network.outside.config import RESOLVER
from otter_agent.network.outside.inside import Namespace
from otter_agent.network.outside.reach import Reach


class Edge:
    """The outer side of one gateway.

    Args:
        loop: The running loop.
        namespace: In which the mesh's outward traffic ends.
        reach: Where it may go.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, namespace: Namespace, reach: Reach) -> None:
        self.loop, self.namespace, self.reach = loop, namespace, reach
        self.address = ipaddress.IPv4Address(RESOLVER).packed
        self._raw = namespace.socket(socket.SOCK_RAW, socket.IPPROTO_RAW)

    def emit(self, packet: bytes) -> None:
        """Send a whole packet into the mesh; it may get lost."""
        with suppress(OSError):
            self._raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))

    def prohibit(self, packet: bytes) -> None:
        """Say to the sender of a packet that it may not go there."""
        self.emit(packets.unreachable(packet, packets.PROHIBITED, self.address))

    def close(self) -> None:
        """No packets any more."""
        self._raw.close()


def outward(kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    """A socket of the machine's own network that never blocks."""
    made = socket.socket(socket.AF_INET, kind, protocol)
    made.setblocking(False)
    return made
