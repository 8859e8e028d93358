"""One TCP connection of a stream, either end: bytes between a socket and the wire codec.

asyncio's transport makes the connection and ends it. Reading and writing go past it, on a
descriptor of our own: its way to a protocol is several calls long, and what the kernel doesn't take
at once it copies (before Python 3.12). The loop says when there is something to read, or room
again. What the events mean is for the two subclasses: `net.tcp.dialing` sends, `net.tcp.receiving`
receives. Must not know: modules, files, retries.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import socket
import termios
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from net.errors import ConnectionClosed, TransportError
from net.short import Link, Scratch
from net.tcp.pulse import Pulse
from net.tcp.reader import Reader
from net.timing import Timing
from net.values import Buffer
from net.wire import MAX_MESSAGE_BYTES, Event

_IOV_MAX = 512
"""Buffers handed to the kernel at a time; Linux takes 1024."""
_READ_ON_BYTES = 4 * 2**20
"""Read in one turn of the loop at most, of a message that is received into its own memory."""
_PIECE_BYTES = 2**20
"""Of such a message, waited for at a time: 16 MiB come 15 % faster than as it happens to come."""
_FRESH_BYTES = 128 * 1024


class Connection(Link, asyncio.BufferedProtocol, ABC):
    """Feeds a `Reader` from a socket; `on_event` and `on_lost` are the subclass's.

    Args:
        limit_bytes: Largest message that may come.
        timing: How soon a dead peer is found.
        messages: Whether messages may come from the start.
        clock: Seconds since 1970.

    Attributes:
        free: Whether what is written goes to the kernel at once: nothing is in front of it.
    """

    def __init__(
        self,
        limit_bytes: int = MAX_MESSAGE_BYTES,
        timing: Timing | None = None,
        *,
        messages: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.timing = timing or Timing()
        self.loop = asyncio.get_running_loop()
        self._reader = Reader(limit_bytes, messages=messages)
        self._scratch: Scratch = self._reader.scratch
        self._receive = self._scratch.receive
        self._clock = clock
        self.joined, self.last, self.heard = False, 0.0, 0
        self._now = 0.0  # when what is being looked at has arrived
        self._after_reading: Callable[[], None] | None = None
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._fd = -1
        self.free = False
        self._reading = True
        self._held = False
        self._woken_for = 1
        self._over = False
        self._closing = False
        self._cause: Exception | None = None
        self._rest: deque[memoryview] = deque()
        self._watched = False
        self._room: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] = self.loop.create_future()
        self._pulse: Pulse | None = None

    # what subclasses say

    @abstractmethod
    def on_event(self, event: Event) -> None:
        """Something has arrived."""

    def on_lost(self, error: Exception | None) -> None:
        """The connection is gone; None: it was closed, by either side."""

    # writing

    @property
    def alive(self) -> bool:
        """Whether it makes sense to write."""
        return not self._over and not self._closing and self._socket is not None

    @property
    def congested(self) -> bool:
        """Whether the kernel hasn't taken all that was written."""
        return bool(self._rest)

    def post(self, data: bytes) -> bool:
        """Write a few bytes without waiting; whether the kernel has them.

        What it doesn't take is kept, and goes out before anything else.
        """
        if self._over or self._socket is None:
            return False
        if not self._rest:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError as exc:
                self._not_sent(exc)
                return False
            if sent == len(data):
                return True
            data = data[sent:]
        self._keep(data)
        return False

    def unsent(self, data: bytes, sent: int, error: int) -> None:
        """What was written past us the kernel took no more than `sent` bytes of."""
        if error:
            self._not_sent(OSError(error, os.strerror(error)))
        else:
            self._keep(data[sent:])

    def _keep(self, data: bytes) -> None:
        self._rest.append(memoryview(data))
        self.free = False
        self._watch()

    async def write(self, buffers: Sequence[Buffer]) -> None:
        """Write one message; returns when the kernel has all of it, so arrays may change again.

        Raises:
            ConnectionClosed: The connection went away first; the peer can't have got all of it.

        Cancellation: nothing has been written, or the rest is kept (copied) and goes out before
        the next message: half a message can't be taken back.
        """
        await self.flush()
        self._rest.extend(memoryview(buffer) for buffer in buffers)
        self.free = False
        try:
            await self.flush()
        except asyncio.CancelledError:
            self.own_rest()
            raise

    def own_rest(self) -> None:
        """Copy what the kernel hasn't taken yet: its memory is going to change."""
        self._rest = deque(memoryview(bytes(part)) for part in self._rest)

    async def flush(self) -> None:
        """Wait until the kernel has all that was written.

        Raises:
            ConnectionClosed: The connection went away first.
        """
        while True:
            if not self.alive:
                raise self._closed_error()
            if self._send_rest():
                return
            self._watch()
            if self._room is None:
                self._room = self.loop.create_future()
            await asyncio.shield(self._room)

    def _send_rest(self) -> bool:
        """Write what the kernel takes; whether that was all."""
        rest = self._rest
        assert self._socket is not None
        while rest:
            few = [rest[i] for i in range(min(len(rest), _IOV_MAX))]
            try:
                sent = self._socket.sendmsg(few)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as exc:
                self._not_sent(exc)
                return False
            while rest and sent >= len(rest[0]):
                sent -= len(rest.popleft())
            if sent:
                rest[0] = rest[0][sent:]
        self.free = self.alive
        return True

    def _watch(self) -> None:
        if not self._watched and self._socket is not None and not self._over:
            self._watched = True
            self.loop.add_writer(self._socket.fileno(), self._writable)

    def _unwatch(self) -> None:
        if self._watched and self._socket is not None:
            self._watched = False
            self.loop.remove_writer(self._socket.fileno())

    def _writable(self) -> None:
        """The kernel has room again."""
        if self._send_rest():
            self._unwatch()
            self._wake()
            if self._closing:
                self._close_transport()

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def _not_sent(self, exc: OSError) -> None:
        """The kernel takes nothing any more."""
        self._broken(exc)

    def _broken(self, exc: OSError) -> None:
        self._cause = self._cause or exc
        self.abort()

    def _closed_error(self) -> ConnectionClosed:
        where = peer_name(self._transport)
        error = ConnectionClosed(
            f"{where}: the connection was cut: {self._cause or 'it is closed'}"
        )
        error.__cause__ = self._cause
        return error

    # reading

    def pause(self) -> None:
        """Take no more events; TCP then holds the sender back.

        The kernel is asked to tell no more of what comes only once more has come: mostly we go on
        before that.
        """
        self._reading = False

    def resume(self) -> None:
        """Take events again, first those that have arrived already."""
        if self._reading:
            return
        self._reading = True
        self._now = self._clock()
        self._pump()
        if self._held and self._reading and self.alive:
            self._held = False
            self.loop.add_reader(self._fd, self.readable)
        if self._after_reading is not None:
            self._after_reading()

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

    @property
    def local_name(self) -> str:
        """`10.0.0.7:5000`: this end, for messages to people."""
        name = self._transport.get_extra_info("sockname") if self._transport is not None else None
        return f"{name[0]}:{name[1]}" if isinstance(name, tuple) and len(name) >= 2 else ""

    @property
    def is_itself(self) -> bool:
        """Whether both ends are the same socket (TCP's simultaneous open, on loopback)."""
        assert self._socket is not None
        try:
            return bool(self._socket.getsockname() == self._socket.getpeername())
        except OSError:  # it is gone already
            return False

    def unread(self) -> int:
        """Bytes that the kernel has for us."""
        if self._over or self._socket is None:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._socket.fileno(), termios.FIONREAD, count)
        return count[0]

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

    # the end

    def close(self) -> None:
        """Close after what is written has gone out. Idempotent."""
        self._closing, self.free = True, False
        if not self._rest:
            self._close_transport()

    def _close_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now. Idempotent."""
        self._closing, self.free = True, False
        self._rest.clear()
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        await asyncio.shield(self._closed)

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set up the socket (asyncio has set TCP_NODELAY)."""
        transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._transport = transport
        theirs = transport.get_extra_info("socket")
        self._socket = socket.socket(fileno=os.dup(theirs.fileno()))
        self._socket.setblocking(False)
        self._fd, self.free = self._socket.fileno(), True
        self.loop.call_soon(self._read_ourselves)  # uvloop begins to read after this one
        if self._socket.family in (socket.AF_INET, socket.AF_INET6):
            self._pulse = Pulse(self._socket, self.timing.dead_s, self._broken)

    def keep_fresh(self) -> None:
        """Let the kernel hold little that isn't on its way: what may be dropped stays with us."""
        if self._socket is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _FRESH_BYTES)

    def _read_ourselves(self) -> None:
        """From now on nothing comes by way of the transport."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self.loop.add_reader(self._fd, self.readable)

    def get_buffer(self, sizehint: int) -> memoryview:
        """For what the transport has read before."""
        return self._reader.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """It has read so much."""
        self._reader.buffer_updated(nbytes)
        self._arrived()

    def readable(self) -> None:
        """Something has arrived, or the end."""
        self._readable()

    def _readable(self) -> None:
        if not self._reading:
            self._held = True
            self.loop.remove_reader(self._fd)
            return
        reader = self._reader
        receive = reader.receive if reader.large is not None or self._scratch else self._receive
        try:
            count = receive(self._fd)
        except OSError as exc:
            self._not_received(exc)
            return
        if count:
            self._arrived()
        else:
            self._hear_no_more()

    def _not_received(self, exc: OSError) -> None:
        if not isinstance(exc, (BlockingIOError, InterruptedError)):
            self._broken(exc)

    def _arrived(self) -> None:
        """Look at what has."""
        self._now = self._clock()
        self._pump()
        if self._reader.large is not None:
            self._read_on()
            self._wake_for(self._reader.lacking)
        elif self._woken_for != 1:
            self._wake_for(1)
        if self._after_reading is not None:
            self._after_reading()

    def _hear_no_more(self) -> None:
        """The other side says nothing more, so there is nobody to talk to."""
        self.loop.remove_reader(self._fd)
        self._close_transport()

    def _read_on(self) -> None:
        """A large message: read what else is there, without a turn of the loop for each piece."""
        taken = 0
        while (
            self._reading
            and self.alive
            and self._reader.large is not None
            and taken < _READ_ON_BYTES
        ):
            try:
                count = self._reader.receive(self._fd)
            except OSError:  # nothing there, or an error of which the loop tells again
                return
            if not count:
                return
            taken += count
            self._pump()

    def _wake_for(self, nbytes: int) -> None:
        """Be told only once so much has come, or the end (socket(7), SO_RCVLOWAT)."""
        nbytes = min(nbytes, _PIECE_BYTES)
        if nbytes == self._woken_for or self._socket is None:
            return
        self._woken_for = nbytes
        with suppress(OSError):  # Linux and BSD have it for TCP; nothing depends on it
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake all who wait."""
        self._over, self.free = True, False
        self._cause = self._cause or exc
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse = None  # no circle
        self._unwatch()
        if self._socket is not None:
            self.loop.remove_reader(self._fd)
            self._socket.close()
        self._rest.clear()
        self._wake()
        if not self._closed.done():
            self._closed.set_result(None)
        self.on_lost(self._cause)


def peer_name(transport: Any) -> str:
    """`10.0.0.7:5000`, for messages to people."""
    name = transport.get_extra_info("peername") if transport is not None else None
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) and len(name) >= 2 else "a peer"
