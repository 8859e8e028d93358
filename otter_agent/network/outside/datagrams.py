"""UDP through a gateway: a pair of sockets per conversation; questions to the name servers.

A port outside that nobody listens at is told to the mesh as it would be there (ICMP).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from otter_agent.network.outside import packets
from otter_agent.network.outside.edge import Edge, outward
from otter_agent.network.outside.flows import Flow, Flows
from otter_agent.network.outside.inside import IP_RECVORIGDSTADDR, transparent
from otter_agent.network.outside.lookups import Lookup
from otter_agent.network.outside.packets import Ends
from otter_agent.network.outside.reach import is_resolver

_AT_ONCE = 64
_LARGEST = 65535
_ORIGINAL_TARGET = struct.Struct("!2xH4s8x")  # struct sockaddr_in


class Datagrams:
    """All UDP of one gateway.

    Args:
        edge: The gateway.
        listener: The socket at which conversations begin.
    """

    def __init__(self, edge: Edge, listener: socket.socket) -> None:
        self._edge, self._listener = edge, listener
        self._flows = Flows(edge.loop)
        listener.setsockopt(socket.IPPROTO_IP, IP_RECVORIGDSTADDR, 1)
        edge.loop.add_reader(listener.fileno(), self._hear)

    def _hear(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, ancillary, _, peer = self._listener.recvmsg(_LARGEST, 128)
            except OSError:
                return
            target = _original_target(ancillary)
            if target is not None:
                self._take(data, peer, target)

    def _take(self, data: bytes, peer: tuple[str, int], target: tuple[str, int]) -> None:
        key = (peer, target)
        flow = self._flows.get(key)
        if flow is not None:  # a datagram that came while its conversation was being opened
            flow.send(data)
            return
        at = Ends(socket.inet_aton(peer[0]), peer[1], socket.inet_aton(target[0]), target[1])
        asking = is_resolver(at.target, at.target_port)
        targets = self._edge.reach.targets(at.target, at.target_port)
        if not targets and not asking:
            self._edge.prohibit(packets.datagram_head(at))
            return
        inner = self._inner(peer, target)
        if inner is None:
            return
        if asking:
            flow = Lookup(self._edge.loop, inner, [t[0] for t in targets], connected)
            self._flows.add(key, flow).send(data)
        else:
            self._converse(key, at, inner, targets[0], data)

    def _converse(
        self, key: object, at: Ends, inner: socket.socket, target: tuple[str, int], data: bytes
    ) -> None:
        outer = connected(target)
        if outer is None:
            inner.close()
            head = packets.datagram_head(at)
            answer = packets.unreachable(head, packets.HOST_UNREACHABLE, self._edge.address)
            self._edge.emit(answer)
            return

        def refused() -> None:
            head = packets.datagram_head(at)
            answer = packets.unreachable(head, packets.PORT_UNREACHABLE, self._edge.address)
            self._edge.emit(answer)

        self._flows.add(key, Flow(self._edge.loop, inner, outer, refused)).send(data)

    def _inner(self, peer: tuple[str, int], target: tuple[str, int]) -> socket.socket | None:
        """A socket that is the target, for who began the conversation."""
        try:
            made = transparent(self._edge.namespace.socket(socket.SOCK_DGRAM))
        except OSError:
            return None  # no descriptor is left: the datagram is lost
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(target)
            made.connect(peer)
        except OSError:
            made.close()
            return None
        return made

    def close(self) -> None:
        """End all conversations."""
        self._edge.loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._flows.close()


def connected(target: tuple[str, int]) -> socket.socket | None:
    """A UDP socket of the machine's network with one partner; None: there is no way there."""
    try:
        made = outward(socket.SOCK_DGRAM)
    except OSError:
        return None
    try:
        made.connect(target)
    except OSError:
        made.close()
        return None
    return made


def _original_target(ancillary: Sequence[tuple[int, int, bytes]]) -> tuple[str, int] | None:
    """Address and port that a datagram was sent to (IP_RECVORIGDSTADDR, ip(7))."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_RECVORIGDSTADDR):
            port, address = _ORIGINAL_TARGET.unpack(data)
            return socket.inet_ntoa(address), port
    return None
