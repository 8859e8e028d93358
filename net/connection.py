"""One TCP connection of a stream, either end: bytes between a socket and the wire codec.

What the events mean is for the two subclasses: `net.stream` sends, `net.listener` receives. Must
not know: modules, files, retries.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import termios
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any

from net.errors import ConnectionClosed, TransportError
from net.wire import MAX_MESSAGE_BYTES, Event, Reader

_CHUNK_BYTES = 1024 * 1024
"""Written at a time: what the kernel doesn't take at once, asyncio copies."""
_JOIN_BYTES = 64 * 1024
"""Messages up to this size go out in one system call."""
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds and count: an idle peer that vanished without a word is noticed after half a minute."""


class Connection(asyncio.BufferedProtocol, ABC):
    """Feeds a `Reader` from a transport; `on_event` and `on_lost` are the subclass's."""

    def __init__(self, limit_bytes: int = MAX_MESSAGE_BYTES, *, messages: bool = True) -> None:
        self._reader = Reader(limit_bytes, messages=messages)
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self._over = False
        self._cause: Exception | None = None
        self._rest: deque[memoryview] = deque()
        self._writable: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # what subclasses say

    @abstractmethod
    def on_event(self, event: Event) -> None:
        """Something has arrived."""

    def on_lost(self, error: Exception | None) -> None:
        """The connection is gone; None: it was closed, by either side."""

    # what the two ends use

    @property
    def alive(self) -> bool:
        """Whether it makes sense to write."""
        return not self._over and self._transport is not None and not self._closing

    @property
    def _closing(self) -> bool:
        return self._transport is not None and self._transport.is_closing()

    def write_soon(self, data: bytes) -> None:
        """Write a few bytes without waiting."""
        if self.alive and self._transport is not None:
            self._transport.write(data)

    async def write(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Write one message; returns when the kernel has all of it, so arrays may change again.

        Raises:
            ConnectionClosed: The connection went away first; the peer may have got all of it.

        Cancellation: nothing has been written, or the rest is kept (copied) and goes out before the
        next message: half a message can't be taken back. (Up to 1 MiB of it may still refer to
        the caller's memory then, from Python 3.12 on.)
        """
        await self.flush()
        if sum(map(len, buffers)) <= _JOIN_BYTES:
            buffers = [b"".join(buffers)]
        for buffer in buffers:
            view = memoryview(buffer)
            for start in range(0, len(view), _CHUNK_BYTES):
                self._rest.append(view[start : start + _CHUNK_BYTES])
        try:
            await self.flush()
        except asyncio.CancelledError:
            self._rest = deque(memoryview(bytes(part)) for part in self._rest)
            raise

    async def flush(self) -> None:
        """Wait until the kernel has all that was written.

        Raises:
            ConnectionClosed: The connection went away first.
        """
        while self._rest:
            self._live_transport().write(self._rest.popleft())
            await self._drained()
        await self._drained()

    def _live_transport(self) -> asyncio.Transport:
        if self._over or self._transport is None or self._closing:
            raise self._closed_error()
        return self._transport

    def _closed_error(self) -> ConnectionClosed:
        where = peer_name(self._transport)
        error = ConnectionClosed(
            f"{where}: the connection was cut: {self._cause or 'it is closed'}"
        )
        error.__cause__ = self._cause
        return error

    async def _drained(self) -> None:
        """Wait until asyncio holds no more of our bytes."""
        if self._writable is not None:
            await asyncio.shield(self._writable)
        if self._over:
            raise self._closed_error()

    def pause(self) -> None:
        """Take no more events; TCP then holds the sender back."""
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        """Take events again, first those that have arrived already."""
        if self._reading:
            return
        self._reading = True
        self._pump()
        if self._reading and self._transport is not None and not self._closing:
            self._transport.resume_reading()

    @property
    def reading(self) -> bool:
        """Whether events are taken."""
        return self._reading

    def allow_messages(self) -> None:
        """The peer may send messages from now on."""
        self._reader.allow_messages()

    @property
    def peer_address(self) -> str:
        """IP address of the other end; empty if it isn't known."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(name[0]) if isinstance(name, tuple) and name else ""

    def unread(self) -> int:
        """Bytes that the kernel has for us."""
        if self._over or self._transport is None:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
        return count[0]

    def close(self) -> None:
        """Close after what is written has gone out. Idempotent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now. Idempotent."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        await asyncio.shield(self._closed)

    def _pump(self) -> None:
        try:
            while self._reading and (event := self._reader.next_event()) is not None:
                self.on_event(event)
        except TransportError as exc:
            self.fail(exc)

    def fail(self, error: TransportError) -> None:
        """The peer broke the protocol: no word of it can be trusted any more."""
        self._cause = self._cause or error
        self.close()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set up the socket (asyncio has set TCP_NODELAY)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # Drained then means: all is with the kernel, and no array is referred to any more.
        transport.set_write_buffer_limits(high=0)
        sock: socket.socket = transport.get_extra_info("socket")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE.items():
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Memory to receive into."""
        return self._reader.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have arrived."""
        self._reader.buffer_updated(nbytes)
        self._pump()

    def pause_writing(self) -> None:
        """The kernel takes no more."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """The kernel has taken all."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake all who wait."""
        self._over = True
        self._cause = self._cause or exc
        self.resume_writing()
        if not self._closed.done():
            self._closed.set_result(None)
        self.on_lost(self._cause)


def peer_name(transport: Any) -> str:
    """`10.0.0.7:5000`, for messages to people."""
    name = transport.get_extra_info("peername") if transport is not None else None
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) and len(name) >= 2 else "a peer"
