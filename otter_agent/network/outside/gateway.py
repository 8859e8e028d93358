"""A gateway: what a mesh sends outwards ends here, and goes on from sockets of this machine.

    mesh ═ router ═ o.outside ─► [namespace: every address is its own] ─► relay ─► machine's network

It is NAT without the machine's help: no forwarding, no firewall rule, no device, no address and
no route of the machine's is made or changed, so none can be in another's way (Docker's policy for
forwarded packets is to drop them), and when the relay ends nothing is left.
"""

from __future__ import annotations

import asyncio
import socket

from otter_agent.network.outside.connections import Connections
from otter_agent.network.outside.datagrams import Datagrams
from otter_agent.network.outside.echo import Echo
from otter_agent.network.outside.edge import Edge
from otter_agent.network.outside.inside import Namespace, transparent
from otter_agent.network.outside.reach import Reach
from otter_agent.network.outside.steer import Steering

_BACKLOG = 4096


class OpenGateway:
    """One gateway at work, until `close`.

    Raises:
        NetworkError: The kernel can't do this, or this process may not.
        OSError: Its namespace isn't there.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, netns: str, reach: Reach) -> None:
        self.namespace = Namespace(netns)
        self._parts: list[Connections | Datagrams | Echo | Edge | Steering | socket.socket] = []
        try:
            self._open(loop, reach)
        except BaseException:
            self.close()
            raise

    def _open(self, loop: asyncio.AbstractEventLoop, reach: Reach) -> None:
        listener = self._listener(_BACKLOG)
        datagrams = self._keep(transparent(self.namespace.socket(socket.SOCK_DGRAM)))
        datagrams.bind(("127.0.0.1", 0))
        parking = self._listener(0)
        seat = self._keep(self.namespace.socket(socket.SOCK_STREAM))
        seat.setblocking(True)  # over lo it is there at once
        seat.connect(parking.getsockname())
        steering = Steering(
            self.namespace.descriptor, listener.fileno(), datagrams.fileno(), parking.fileno()
        )
        self._parts.append(steering)
        edge = Edge(loop, self.namespace, reach)
        self._parts.append(edge)
        self._parts.append(Echo(edge))
        self._parts.append(Datagrams(edge, datagrams))
        self._parts.append(Connections(edge, listener, steering))

    def _listener(self, backlog: int) -> socket.socket:
        made = self._keep(transparent(self.namespace.socket(socket.SOCK_STREAM)))
        made.bind(("127.0.0.1", 0))
        made.listen(backlog)
        return made

    def _keep(self, made: socket.socket) -> socket.socket:
        self._parts.append(made)
        return made

    def close(self) -> None:
        """Break what goes through it, and let go of its namespace."""
        while self._parts:
            self._parts.pop().close()
        self.namespace.close()
