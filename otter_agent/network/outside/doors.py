"""Published ports: what arrives at a port of the machine goes to a module, from inside the mesh.

A connection is opened by the host at which the outside enters: the module sees that host's
address, and everything crosses the links between the two.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct

from otter_agent.network.outside.config import Door
from otter_agent.network.outside.dial import Dial
from otter_agent.network.outside.edge import outward
from otter_agent.network.outside.flows import Flow, Flows
from otter_agent.network.outside.inside import IP_PKTINFO, Namespace
from otter_agent.network.outside.pump import Pump, reset

_BACKLOG = 1024
_LARGEST = 65535
_AT_ONCE = 64
_NO_DESCRIPTORS_S = 0.2
_PKTINFO = struct.Struct("=i4s4s")  # struct in_pktinfo: device, local address, header's target


class TcpDoor:
    """One published TCP port, until `close`.

    Raises:
        OSError: The port is taken, or the address isn't this machine's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, door: Door, namespace: Namespace) -> None:
        self._loop, self._door, self._namespace = loop, door, namespace
        self._dials: dict[socket.socket, Dial] = {}
        self._pumps: set[Pump] = set()
        self._listener = _bound(socket.SOCK_STREAM, door)
        self._listener.listen(_BACKLOG)
        loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):  # look again soon, not all the time
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(_NO_DESCRIPTORS_S, self._resume)
            return
        client.setblocking(False)
        try:
            towards = _from_host(self._namespace, self._door, socket.SOCK_STREAM)
        except OSError:
            reset(client)
            return

        def done(module: socket.socket | None, code: int) -> None:
            del self._dials[client]
            if module is None:
                reset(client)
            else:
                self._pumps.add(Pump(self._loop, client, module, self._pumps.discard))

        target = (self._door.address, self._door.port)
        self._dials[client] = Dial(self._loop, towards, target, done)

    def _resume(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Stop listening and break all connections."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for client, dial in self._dials.items():
            dial.cancel()
            reset(client)
        self._dials.clear()
        for pump in list(self._pumps):
            pump.abort()


class UdpDoor:
    """One published UDP port, until `close`.

    Raises:
        OSError: The port is taken, or the address isn't this machine's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, door: Door, namespace: Namespace) -> None:
        self._loop, self._door, self._namespace = loop, door, namespace
        self._flows = Flows(loop)
        self._listener = _bound(socket.SOCK_DGRAM, door)
        self._listener.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        loop.add_reader(self._listener.fileno(), self._hear)

    def _hear(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, ancillary, _, client = self._listener.recvmsg(_LARGEST, 128)
            except OSError:
                return
            flow = self._flows.get(client)
            if flow is None:
                flow = self._begin(client, _own_address(ancillary) or self._door.listen)
            if flow is not None:
                flow.send(data)

    def _begin(self, client: tuple[str, int], own: str) -> Flow | None:
        with contextlib.ExitStack() as opened:
            try:
                inner = opened.enter_context(outward(socket.SOCK_DGRAM))
                self._share_port(inner, own)
                inner.connect(client)
                outer = _from_host(self._namespace, self._door, socket.SOCK_DGRAM)
                opened.enter_context(outer).connect((self._door.address, self._door.port))
            except OSError:
                return None  # no descriptor is left, or no way there: the datagram is lost
            opened.pop_all()
        return self._flows.add(client, Flow(self._loop, inner, outer))

    def _share_port(self, made: socket.socket, own: str) -> None:
        """Bind to the listener's port; no other program may do so before or after."""
        both = (self._listener, made)
        try:
            for one in both:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((own, self._door.listen_port))
        finally:
            for one in both:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)

    def close(self) -> None:
        """Stop listening and end all conversations."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._flows.close()


def _bound(kind: socket.SocketKind, door: Door) -> socket.socket:
    """A socket at the published port."""
    made = outward(kind)
    try:
        if kind == socket.SOCK_STREAM:  # connections of an earlier life may be in TIME_WAIT
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((door.listen, door.listen_port))
    except OSError:
        made.close()
        raise
    return made


def _from_host(namespace: Namespace, door: Door, kind: socket.SocketKind) -> socket.socket:
    """A socket of the host at which the outside enters."""
    made = namespace.socket(kind)
    try:
        made.bind((door.source, 0))
    except OSError:
        made.close()
        raise
    return made


def _own_address(ancillary: list[tuple[int, int, bytes]]) -> str | None:
    """The address of this machine that a datagram was sent to (IP_PKTINFO, ip(7))."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return socket.inet_ntoa(_PKTINFO.unpack(data)[2])
    return None


KINDS: dict[str, type[TcpDoor] | type[UdpDoor]] = {"tcp": TcpDoor, "udp": UdpDoor}
"""By `Door.protocol`."""
