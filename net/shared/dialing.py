"""Attempts at a connection to a receiver's socket, until one there takes the stream.

Must not know: messages, what a receiver answers.
"""

from __future__ import annotations

import asyncio
import errno
from typing import Protocol

from net.shared import places
from net.shared.channel import Channel, Handler
from net.timing import Timing

_NOT_THERE_YET = frozenset(
    {errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE, errno.EAGAIN, errno.EINTR}
)
"""What a receiver that starts or restarts looks like; anything else is an error."""


class Caller(Handler, Protocol):
    """Whom a connection is for: it hears all that is said there."""

    def on_connected(self, channel: Channel) -> None:
        """There is a connection, and next the first word goes out. The caller's from now on."""
        ...

    def on_unreachable(self, why: str) -> None:
        """There will be none: it isn't tried any more."""
        ...


class Dialing:
    """One attempt at a time, each a while after the last one that failed.

    Args:
        path: Of the receiver's socket.
        hello: The first record.
        timing: Retries and grace periods.
        caller: Who is told.

    Attributes:
        delay_s: After so long it is tried again; twice as long each time. Who has sent something
            begins anew.
    """

    def __init__(self, path: str, hello: bytes, timing: Timing, caller: Caller) -> None:
        self._path = path
        self._hello = hello
        self._timing = timing
        self._caller = caller
        self.delay_s = timing.first_retry_s
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Try now, in the running loop."""
        self._timer = None
        try:
            sock = places.connect(self._path)
        except OSError as exc:
            if exc.errno in _NOT_THERE_YET:
                self.later()
            else:
                why = exc.strerror or str(exc)
                self._caller.on_unreachable(f"can't connect to {self._path}: {why}")
            return
        channel = Channel(sock, self._caller)
        self._caller.on_connected(channel)
        channel.push(self._hello)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._timing.attempt_s, channel.close)

    def later(self) -> None:
        """Try again after a while."""
        self._timer = asyncio.get_running_loop().call_later(self.delay_s, self.begin)
        self.delay_s = min(2 * self.delay_s, self._timing.longest_retry_s)

    def hang_up(self) -> None:
        """Wait no longer: for an answer, which has come, or for the next attempt. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
