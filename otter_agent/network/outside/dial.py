"""Opens TCP connections without waiting for them."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from otter_agent.network.outside.pump import reset


class Dial:
    """One attempt to connect; the kernel's own patience ends it.

    Args:
        loop: The running loop.
        made: A TCP socket that never blocks; its own from now on.
        target: Where to.
        done: Called with the socket, or with None and the error number; not before this returns.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        made: socket.socket,
        target: tuple[str, int],
        done: Callable[[socket.socket | None, int], None],
    ) -> None:
        self._loop, self._socket, self._done = loop, made, done
        code = made.connect_ex(target)
        self._early: asyncio.Handle | None = None
        if code == errno.EINPROGRESS:
            loop.add_writer(made.fileno(), self._decided)
        else:
            self._early = loop.call_soon(self._finish, code)

    def _decided(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        self._finish(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _finish(self, code: int) -> None:
        if code:
            self._socket.close()
            self._done(None, code)
        else:
            self._done(self._socket, 0)

    def cancel(self) -> None:
        """Give up; `done` is not called any more."""
        if self._early is not None:
            self._early.cancel()
        self._loop.remove_writer(self._socket.fileno())
        reset(self._socket)
