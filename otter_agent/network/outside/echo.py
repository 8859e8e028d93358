"""Ping through a gateway: echo requests are sent on under numbers of our own, replies come back.

Nothing else of ICMP passes: a traceroute ends at the gateway.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from otter_agent.network.outside import packets, reach
from otter_agent.network.outside.edge import Edge, outward

_SOL_RAW, _ICMP_FILTER = 255, 1
_LARGEST = 65535
_AT_ONCE = 64
_FORGET_S = 30.0
"""As the kernel's own NAT (nf_conntrack_icmp_timeout)."""
_MOST = 1024


@dataclass(slots=True)
class _Asker:
    source: bytes
    target: bytes
    identifier: int
    asked: float


class Echo:
    """All pings of one gateway."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._inner = edge.namespace.socket(socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._outer = outward(socket.SOCK_RAW, socket.IPPROTO_ICMP)
        _only(self._inner, packets.ECHO_REQUEST)
        _only(self._outer, packets.ECHO_REPLY)
        self._askers: dict[int, _Asker] = {}
        self._numbers: dict[tuple[bytes, bytes, int], int] = {}
        self._next = int.from_bytes(os.urandom(2), "big")
        edge.loop.add_reader(self._inner.fileno(), self._asked)
        edge.loop.add_reader(self._outer.fileno(), self._answered)

    def _asked(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                packet = self._inner.recv(_LARGEST)
            except OSError:
                return
            source, target, message = packet[12:16], packet[16:20], packets.payload(packet)
            if len(message) < 8 or message[1]:
                continue
            (identifier,) = struct.unpack_from("!H", message, 4)
            if reach.is_edge(target):
                self._reply(source, target, identifier, message[6:])
            elif not self._edge.reach.allows(target):
                self._edge.prohibit(packet)
            else:
                number = self._number(source, target, identifier)
                request = packets.echo(packets.ECHO_REQUEST, number, message[6:])
                with suppress(OSError):  # no way there: it gets lost
                    self._outer.sendto(request, (socket.inet_ntoa(target), 0))

    def _answered(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                packet = self._outer.recv(_LARGEST)
            except OSError:
                return
            message = packets.payload(packet)
            if len(message) < 8:
                continue
            asker = self._askers.get(struct.unpack_from("!H", message, 4)[0])
            if asker is not None and asker.target == packet[12:16]:
                self._reply(asker.source, asker.target, asker.identifier, message[6:])

    def _reply(self, to: bytes, from_: bytes, identifier: int, rest: bytes) -> None:
        message = packets.echo(packets.ECHO_REPLY, identifier, rest)
        self._edge.emit(packets.carry(message, from_, to))

    def _number(self, source: bytes, target: bytes, identifier: int) -> int:
        """Ours for a series of pings: two modules may have picked the same one."""
        now = self._edge.loop.time()
        key = (source, target, identifier)
        number = self._numbers.get(key)
        if number is None:
            self._forget(now)
            number = self._next = self._next + 1 & 0xFFFF
            old = self._askers.get(number)
            if old is not None:
                self._drop(number)
            self._numbers[key] = number
            self._askers[number] = _Asker(source, target, identifier, now)
        self._askers[number].asked = now
        return number

    def _forget(self, now: float) -> None:
        if len(self._askers) < _MOST:
            return
        for number in [n for n, a in self._askers.items() if now - a.asked > _FORGET_S]:
            self._drop(number)
        while len(self._askers) >= _MOST:
            self._drop(min(self._askers, key=lambda n: self._askers[n].asked))

    def _drop(self, number: int) -> None:
        asker = self._askers.pop(number)
        del self._numbers[asker.source, asker.target, asker.identifier]

    def close(self) -> None:
        """No pings any more."""
        for one in (self._inner, self._outer):
            self._edge.loop.remove_reader(one.fileno())
            one.close()


def _only(made: socket.socket, kind: int) -> None:
    """Let a raw ICMP socket hear one type of message only (raw(7), ICMP_FILTER)."""
    made.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << kind) & 0xFFFFFFFF))
