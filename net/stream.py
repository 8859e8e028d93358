"""Streams over TCP: `connect` sends, `listen` receives. Usable without the SDK.

The sender retries until the other side is there, comes back after a cut, and waits while the
receiver's queue is full. A message whose `send` was interrupted by a cut is sent again (and never
arrives twice); messages that had been sent but not yet received are lost with the connection.
Must not know: modules, files, wiring.

Example:
    >>> async with connect("10.0.0.7", 9000, input="images", sender="camera") as stream:
    ...     await stream.send(numpy.zeros((480, 640, 3), "u1"))
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any

from net.connection import Connection
from net.errors import ConnectionClosed, RemoteWireError, StreamRefused, TransportError
from net.listener import DEFAULT_QUEUE, Inbox, Listener, listen
from net.timing import Timing
from net.values import Packed, pack
from net.wire import END, MAX_CONTROL_BYTES, Accept, End, Event, Refuse, hello, message

__all__ = ["DEFAULT_QUEUE", "Inbox", "Listener", "Sender", "Timing", "connect", "listen"]

_NOT_THERE_YET = frozenset(
    {
        errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT,
        errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN,
        errno.EADDRNOTAVAIL, errno.EINTR, errno.EAGAIN,
    }
)  # fmt: skip
"""What a peer that starts, restarts or is cut off looks like; anything else is an error."""


class SendingConnection(Connection):
    """One connection to a receiver: its answer, and its receipt at the end."""

    def __init__(self) -> None:
        super().__init__(MAX_CONTROL_BYTES * 2)
        self.answer: asyncio.Future[Accept | Refuse] = asyncio.get_running_loop().create_future()
        self.receipt = False

    def on_event(self, event: Event) -> None:
        """Keep the answer, or the receipt."""
        if isinstance(event, (Accept, Refuse)) and not self.answer.done():
            self.answer.set_result(event)
        elif isinstance(event, Refuse):
            self.fail(StreamRefused(event.reason))
        elif isinstance(event, End):
            self.receipt = True
            self.close()
        else:
            raise RemoteWireError(f"unexpected {type(event).__name__} from a receiver")

    def on_lost(self, error: Exception | None) -> None:
        """Nobody will answer any more."""
        if not self.answer.done():
            self.answer.cancel()

    @property
    def refusal(self) -> StreamRefused | None:
        """Set if the receiver threw us out."""
        return self._cause if isinstance(self._cause, StreamRefused) else None


class Sender:
    """The sending end of one stream; see `connect`."""

    def __init__(
        self,
        address: str,
        port: int,
        *,
        stream: str,
        input: str,  # noqa: A002 - the field's word
        sender: str,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.stream = stream
        self._address, self._port = address, port
        self._hello = hello(stream, input, sender)
        self._timing = timing or Timing()
        self._clock = clock
        self._ids = message_ids(sender)
        self._lock = asyncio.Lock()
        self._connection: SendingConnection | None = None
        self._limit_bytes = 0
        self._refused: StreamRefused | None = None
        self._delay_s = self._timing.first_retry_s
        self._closed = False
        self._confirmed: bool | None = None

    async def open(self) -> None:
        """Wait until the other side is there. Sending does that too.

        Raises:
            StreamRefused: It is there and doesn't want this stream.
            TransportError: The address makes no sense.
        """
        async with self._lock:
            await self._connected()

    async def send(self, value: Any, *, reply_to: str | None = None) -> str:
        """Send one message; returns its id when the kernel has taken all of it.

        Args:
            value: numpy arrays, str, bytes, numbers, None, or lists and dicts of these.
            reply_to: Id of the message that this one answers.

        Raises:
            LocalWireError: The value can't be sent.
            MessageTooLarge: It is larger than the receiver accepts.
            StreamRefused: The receiver doesn't want this stream.
            ConnectionClosed: This end has been closed.

        Cancellation: the message has gone out, or it hasn't; never a part of it.
        """
        made = self._clock()
        message_id = next(self._ids)
        await self.deliver(pack(value), message_id, reply_to, made)
        return message_id

    async def deliver(
        self, packed: Packed, message_id: str, reply_to: str | None, made: float
    ) -> None:
        """`send` for a value that is packed already, so that many streams can share it."""
        async with self._lock:
            while True:
                if self._closed:
                    raise ConnectionClosed(f"{self.stream}: the stream has been closed here")
                connection = await self._connected()
                buffers = message(
                    packed,
                    message_id=message_id,
                    reply_to=reply_to,
                    made=made,
                    sent=self._clock(),
                    limit_bytes=self._limit_bytes,
                )
                try:
                    await connection.write(buffers)
                except ConnectionClosed:
                    continue  # the next connection gets the whole message again
                self._delay_s = self._timing.first_retry_s
                return

    async def _connected(self) -> SendingConnection:
        """A connection that has been accepted."""
        while True:
            former = self._connection
            if former is not None and former.alive:
                return former
            if former is not None and former.refusal is not None:
                self._refused = former.refusal
            if self._refused is not None:
                raise StreamRefused(f"{self.stream}: refused: {self._refused.message}")
            if former is not None:  # one that came up and broke at once must not make us spin
                await self._back_off()
            self._connection = None
            try:
                self._connection = await self._dial()
            except (TimeoutError, ConnectionClosed):
                await self._back_off()
            except OSError as exc:
                if exc.errno not in _NOT_THERE_YET:
                    raise TransportError(
                        f"{self.stream}: can't connect to {self._address}:{self._port}: "
                        f"{exc.strerror or exc}"
                    ) from exc
                await self._back_off()

    async def _back_off(self) -> None:
        await asyncio.sleep(self._delay_s)
        self._delay_s = min(2 * self._delay_s, self._timing.longest_retry_s)

    async def _dial(self) -> SendingConnection:
        """One attempt: connect, say hello, hear the answer."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timing.attempt_s):
            _, connection = await loop.create_connection(
                SendingConnection, self._address, self._port
            )
            try:
                connection.write_soon(self._hello)
                await asyncio.wait([connection.answer])
                if connection.answer.cancelled():
                    raise ConnectionClosed("no answer")
                answer = connection.answer.result()
            except BaseException:
                connection.abort()
                raise
        if isinstance(answer, Refuse):
            connection.close()
            self._refused = StreamRefused(answer.reason)
        else:
            self._limit_bytes = answer.limit_bytes
        return connection

    async def aclose(self) -> bool:
        """Say that nothing more comes, and wait until all has been received. Idempotent.

        Returns:
            Whether the receiver confirmed it; False if it isn't there.
        """
        self._closed = True
        async with self._lock:
            if self._confirmed is None:
                try:
                    self._confirmed = await self._finish()
                finally:
                    self.abort()
        return bool(self._confirmed)

    async def _finish(self) -> bool:
        """Say the last word until there is a receipt for it, or nobody to give one."""
        while self._connection is None or not self._connection.receipt:
            try:
                async with asyncio.timeout(self._timing.close_s):
                    connection = await self._connected()
            except (TimeoutError, TransportError):
                return False
            with suppress(ConnectionClosed):
                await connection.write([END])
            await connection.wait_closed()
        return True

    def abort(self) -> None:
        """Cut the connection; what is not yet received may be lost. Idempotent."""
        self._closed = True
        if self._connection is not None:
            self._connection.abort()

    async def __aenter__(self) -> Sender:
        try:
            await self.open()
        except BaseException:
            self.abort()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.aclose()
        else:
            self.abort()


def connect(
    address: str,
    port: int,
    *,
    input: str,  # noqa: A002 - the field's word
    sender: str,
    stream: str | None = None,
    timing: Timing | None = None,
) -> Sender:
    """The sending end of a stream; `async with` waits until the receiver is there.

    Args:
        address: Where the receiver listens.
        port: Its TCP port.
        input: The receiver's input.
        sender: This module's name.
        stream: Name of the stream; default: from sender and input.
        timing: Retries and grace periods.
    """
    name = stream or f"{sender}>{input}"
    return Sender(address, port, stream=name, input=input, sender=sender, timing=timing)


def message_ids(sender: str) -> Iterator[str]:
    """Ids such as `asr:1f9a03cc:17`; they differ between senders and between their restarts."""
    prefix = f"{sender[:80]}:{secrets.token_hex(4)}"
    return (f"{prefix}:{number}" for number in itertools.count(1))
