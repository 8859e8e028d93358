"""TCP through a gateway: a connection is accepted once it is made outside, or refused as there.

A SYN is read here, and dropped by the kernel (steer.py: parking). Then:

    it may not go there ─► reset
    connected outside ─► permit, hand the SYN back, accept, carry
    refused ─► reset; no way there ─► unreachable; no answer ─► none
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress

from otter_agent.network import names
from otter_agent.network.outside import packets
from otter_agent.network.outside.dial import Dial
from otter_agent.network.outside.edge import Edge, outward
from otter_agent.network.outside.filters import SYNS, attach
from otter_agent.network.outside.packets import Ends
from otter_agent.network.outside.pump import Pump, reset
from otter_agent.network.outside.steer import Steering

_IPV4 = 0x0800
_SYN_BYTES = 2048
_SYNS_AT_ONCE = 64
_MOST_DIALS = 1024
"""Connections being made at once; further SYNs wait until they are repeated."""
_HANDSHAKE_S = 10.0
"""Who asked for a connection has to take it within this."""
_NO_DESCRIPTORS_S = 0.2
_BUSY_S = 0.005
"""Linux ignores ICMP errors for a socket that is just being used (LockDroppedIcmps): the SYN's
sender gets so long to leave the kernel."""
_UNREACHABLE = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL}
)


class Connections:
    """All TCP of one gateway.

    Args:
        edge: The gateway.
        listener: The socket at which permitted connections arrive.
        steering: Permits them.
    """

    def __init__(self, edge: Edge, listener: socket.socket, steering: Steering) -> None:
        self._edge, self._listener, self._steering = edge, listener, steering
        self._loop = edge.loop
        self._dials: dict[Ends, Dial] = {}
        self._made: dict[Ends, socket.socket] = {}
        self._pumps: set[Pump] = set()
        self._syns = edge.namespace.inside(
            lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        )
        self._syns.setblocking(False)
        attach(self._syns, SYNS)
        self._syns.bind((names.OUTSIDE_DEVICE, _IPV4))  # it hears nothing before
        self._loop.add_reader(self._syns.fileno(), self._asked)
        self._loop.add_reader(listener.fileno(), self._accept)

    def _asked(self) -> None:
        for _ in range(_SYNS_AT_ONCE):
            try:
                packet = self._syns.recv(_SYN_BYTES)
            except BlockingIOError:
                return
            except OSError:  # its device went down
                return
            at = packets.ends(packet)
            if at in self._dials or at in self._made or len(self._dials) >= _MOST_DIALS:
                continue
            targets = self._edge.reach.targets(at.target, at.target_port)
            if targets:
                self._dial(at, packet, targets)
            else:  # no ICMP: it is lost on a sender that is still busy with its SYN
                self._edge.emit(packets.reset(packet))

    def _dial(self, at: Ends, packet: bytes, targets: list[tuple[str, int]]) -> None:
        try:
            made = outward(socket.SOCK_STREAM)
        except OSError:
            return  # no descriptor is left: the SYN will be repeated

        def done(outer: socket.socket | None, code: int) -> None:
            del self._dials[at]
            if outer is not None:
                self._hand_back(at, packet, outer)
            elif targets[1:]:
                self._dial(at, packet, targets[1:])
            elif code == errno.ECONNREFUSED:
                self._edge.emit(packets.reset(packet))
            elif code in _UNREACHABLE:
                answer = packets.unreachable(packet, packets.HOST_UNREACHABLE, self._edge.address)
                self._loop.call_later(_BUSY_S, self._edge.emit, answer)

        self._dials[at] = Dial(self._loop, made, targets[0], done)

    def _hand_back(self, at: Ends, packet: bytes, outer: socket.socket) -> None:
        self._made[at] = outer
        self._steering.permit(at)
        self._edge.emit(packets.with_checksum(packet))
        self._loop.call_later(_HANDSHAKE_S, self._expire, at, outer)

    def _expire(self, at: Ends, outer: socket.socket) -> None:
        if self._made.get(at) is outer:
            del self._made[at]
            self._steering.forget(at)
            reset(outer)

    def _accept(self) -> None:
        try:
            inner, peer = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._pause()
            return
        inner.setblocking(False)
        try:
            own = inner.getsockname()
        except OSError:
            own = ("0.0.0.0", 0)  # noqa: S104 - broken already; nobody's address
        at = Ends(socket.inet_aton(peer[0]), peer[1], socket.inet_aton(own[0]), own[1])
        outer = self._made.pop(at, None)
        if outer is None:
            reset(inner)
            return
        self._steering.forget(at)
        self._pumps.add(Pump(self._loop, inner, outer, self._pumps.discard))

    def _pause(self) -> None:
        """All descriptors are in use: look again soon, not all the time."""
        self._loop.remove_reader(self._listener.fileno())
        self._loop.call_later(_NO_DESCRIPTORS_S, self._resume)

    def _resume(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Break all connections."""
        self._loop.remove_reader(self._syns.fileno())
        self._loop.remove_reader(self._listener.fileno())
        self._syns.close()
        self._listener.close()
        for dial in self._dials.values():
            dial.cancel()
        self._dials.clear()
        for outer in self._made.values():
            with suppress(OSError):
                reset(outer)
        self._made.clear()
        for pump in list(self._pumps):
            pump.abort()
