"""One connection to a receiver, from the first attempt to its end.

Who keeps such connections is `net.tcp.sender`. Must not know: messages, modules, files.
"""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from typing import Protocol

from net.errors import ConnectionClosed, RemoteWireError, StreamRefused
from net.tcp.connection import Connection
from net.timing import Timing
from net.wire import MAX_CONTROL_BYTES, Accept, Ack, End, Event, Refuse

NOT_THERE_YET = frozenset(
    {
        errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT,
        errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN,
        errno.EADDRNOTAVAIL, errno.EINTR, errno.EAGAIN,
    }
)  # fmt: skip
"""What a peer that starts, restarts or is cut off looks like; anything else is an error."""


class Keeper(Protocol):
    """Who has a connection, and hears of it."""

    timing: Timing

    def acknowledged(self, seq: int) -> None:
        """The receiver is done with all messages up to this one."""

    def lost(self, connection: SendingConnection) -> None:
        """A connection is gone."""


class SendingConnection(Connection):
    """One connection to a receiver: its answer, its acknowledgements, its receipt at the end."""

    def __init__(self, keeper: Keeper) -> None:
        super().__init__(MAX_CONTROL_BYTES * 2, keeper.timing, messages=False)
        self._keeper = keeper
        self.answer: asyncio.Future[Accept | Refuse] = self.loop.create_future()
        self.receipt = False
        self._parting = False

    def on_event(self, event: Event) -> None:
        """Keep the answer, tell what is acknowledged, keep the receipt."""
        if isinstance(event, Ack):
            self._keeper.acknowledged(event.seq)
        elif isinstance(event, (Accept, Refuse)) and not self.answer.done():
            self.answer.set_result(event)
        elif isinstance(event, Refuse):
            self.fail(StreamRefused(event.reason))
        elif isinstance(event, End):
            self.receipt = True
            self.close()
        else:
            raise RemoteWireError(f"unexpected {type(event).__name__} from a receiver")

    def _not_sent(self, exc: OSError) -> None:
        """What the receiver said before it went counts: read that first, once nobody is writing."""
        if self._parting:
            return
        self._parting = self._closing = True
        self.free = False
        self._rest.clear()
        self._unwatch()
        self._wake()
        self.loop.call_soon(self._part, exc)

    def _part(self, exc: OSError) -> None:
        with suppress(OSError):
            while not self._over and self._reader.receive(self._fd):
                self._arrived()
        self._broken(exc)

    def on_lost(self, error: Exception | None) -> None:
        """Nobody will answer any more."""
        if not self.answer.done():
            self.answer.cancel()
        self._keeper.lost(self)

    @property
    def refusal(self) -> StreamRefused | None:
        """Set if the receiver threw us out."""
        return self._cause if isinstance(self._cause, StreamRefused) else None


async def dial(keeper: Keeper, address: str, port: int, hello: bytes) -> SendingConnection:
    """One attempt: connect, say hello, hear the answer, which the connection keeps.

    Raises:
        TimeoutError: It took too long.
        ConnectionClosed: The other side closed without an answer.
        OSError: There is nobody, or no way there.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(keeper.timing.attempt_s):
        _, connection = await loop.create_connection(
            lambda: SendingConnection(keeper), address, port
        )
        try:
            if connection.is_itself:
                # Nobody listens, and the kernel gave us the very port that we asked for.
                raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
            connection.post(hello)
            await asyncio.wait([connection.answer])
            if connection.answer.cancelled():
                raise ConnectionClosed("no answer")
        except BaseException:
            connection.abort()
            raise
    return connection
