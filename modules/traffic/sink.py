"""Takes what senders send, on TCP and UDP, and counts it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any

from counts import HEAD, IP_UDP_BYTES, MARK, Arrived  # type: ignore[import-not-found]

MOST_SENDERS = 1000
"""Runs of senders that are told apart; more are counted together."""
_BUFFER_BYTES = 1 << 22
_AT_ONCE = 256
_LONGEST = 2048


class _Count(asyncio.BufferedProtocol):
    """Of one TCP connection."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray(1 << 18)
        self._peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A sender's flow has begun."""
        self._peer = transport.get_extra_info("peername")[0]
        self._sink.connections += 1

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where to put what comes: nobody reads it."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Count it."""
        self._sink.note_bytes(self._peer, nbytes)


class Sink:
    """Listens on a port, with TCP and UDP.

    Args:
        address: Where.
        port: Of both.

    Attributes:
        connections: TCP flows so far.
    """

    def __init__(self, address: str, port: int) -> None:
        self._at = (address, port)
        self._arrived: dict[tuple[str, int], Arrived] = {}
        self._tcp: dict[str, list[float]] = {}
        self.connections = 0

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """Listen, until `stack` is left."""
        loop = asyncio.get_running_loop()
        made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        made.bind(self._at)
        loop.add_reader(made.fileno(), self._read, made)
        stack.callback(loop.remove_reader, made.fileno())
        server = await loop.create_server(lambda: _Count(self), *self._at)
        stack.callback(server.close)

    def _read(self, made: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, (source, _) = made.recvfrom(_LONGEST)
            except OSError:
                return
            if len(data) < HEAD.size:
                continue
            mark, run, number, sent_ns = HEAD.unpack_from(data)
            if mark == MARK:
                now = time.time()
                self._of(source, run).note(number, sent_ns / 1e9, now, len(data) + IP_UDP_BYTES)

    def _of(self, source: str, run: int) -> Arrived:
        key = (source, run)
        if key not in self._arrived and len(self._arrived) >= MOST_SENDERS:
            key = ("others", 0)
        return self._arrived.setdefault(key, Arrived())

    def note_bytes(self, source: str, count: int) -> None:
        """Count what a TCP flow brought."""
        now = time.time()
        told = self._tcp.setdefault(source, [now, now, 0])
        told[1], told[2] = now, told[2] + count

    def report(self) -> dict[str, Any]:
        """As it goes into the file: per run of a sender, and per sender of TCP flows."""
        udp = {f"{source}/{run:08x}": one.report() for (source, run), one in self._arrived.items()}
        tcp = {
            source: {"bytes": int(count), "rate_bps": count * 8 / max(last - first, 1e-9)}
            for source, (first, last, count) in self._tcp.items()
        }
        return {"udp": udp, "tcp": tcp, "connections": self.connections}
