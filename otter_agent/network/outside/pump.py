"""Carries bytes between two connected TCP sockets, both ways, until both sides are done.

The bytes stay in the kernel: splice(2) moves them through a pipe. Each way reads only when all
that it read has been taken by the other side, so a slow reader slows its sender and nothing piles
up here. One side's end of sending is handed on alone; a broken side breaks the other.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

_PIPE_BYTES = 1 << 18
"""What is under way in one direction, at most; four times what a pipe holds by default."""
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_UNSENT_BYTES = 1 << 17
"""TCP_NOTSENT_LOWAT: what may wait in a sending socket beyond what the network has taken."""
_TCP_NOTSENT_LOWAT = 25
_OPTIONS = (
    (socket.TCP_NODELAY, 1),
    (_TCP_NOTSENT_LOWAT, _UNSENT_BYTES),
    # A side that is gone without a word is noticed after two minutes.
    (socket.TCP_KEEPIDLE, 60),
    (socket.TCP_KEEPINTVL, 15),
    (socket.TCP_KEEPCNT, 4),
)
_LINGER_MS = 10_000
_SPARE_PIPES = 32
_spare: list[tuple[int, int]] = []


def reset(broken: socket.socket) -> None:
    """Close a TCP socket in such a way that the other side sees it break."""
    with suppress(OSError):
        broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    broken.close()


def _end(done: socket.socket) -> None:
    """Close a TCP socket; one whose other side has gone meanwhile must not linger for long."""
    with suppress(OSError):
        done.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _LINGER_MS)
    done.close()


class Pump:
    """One pair of sockets at work; they are its own from now on.

    Args:
        loop: The running loop.
        a: Connected, never blocks.
        b: Connected, never blocks.
        ended: Called once, when both are closed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        a: socket.socket,
        b: socket.socket,
        ended: Callable[[Pump], None],
    ) -> None:
        self._sockets = (a, b)
        self._ended = ended
        for one in self._sockets:
            with suppress(OSError):  # it broke already: reading tells
                one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in _OPTIONS:
                    one.setsockopt(socket.IPPROTO_TCP, option, value)
        self._ways = (_Way(self, loop, a, b), _Way(self, loop, b, a))

    def way_done(self) -> None:
        """One way has carried all; when both have, it is over."""
        if all(way.done for way in self._ways):
            self._finish(_end)

    def abort(self) -> None:
        """Break both sides; idempotent."""
        self._finish(reset)

    def _finish(self, close: Callable[[socket.socket], None]) -> None:
        if not self._sockets:
            return
        for way in self._ways:
            way.stop()
        for one in self._sockets:
            close(one)
        self._sockets = ()  # type: ignore[assignment]  # nothing is left
        self._ended(self)


class _Way:
    """One direction."""

    def __init__(
        self,
        pump: Pump,
        loop: asyncio.AbstractEventLoop,
        source: socket.socket,
        target: socket.socket,
    ) -> None:
        self.done = False
        self._pump, self._loop = pump, loop
        self._source, self._target = source, target
        self._pipe: tuple[int, int] | None = None
        self._inside = 0
        loop.add_reader(source.fileno(), self._take)

    def _take(self) -> None:
        """The source has something, or its end."""
        if self._pipe is None:
            self._pipe = _spare.pop() if _spare else _new_pipe()
        try:
            self._inside = os.splice(
                self._source.fileno(), self._pipe[1], _PIPE_BYTES, flags=_FLAGS
            )
        except BlockingIOError:
            self._put_back()
            return
        except OSError:
            self._pump.abort()
            return
        if self._inside:
            self._give()
            return
        self._put_back()
        self._loop.remove_reader(self._source.fileno())
        with suppress(OSError):  # it broke: the other way sees that
            self._target.shutdown(socket.SHUT_WR)
        self.done = True
        self._pump.way_done()

    def _give(self) -> None:
        """The target takes what it can; until it has all, nothing more is read."""
        assert self._pipe is not None
        try:
            while self._inside:
                self._inside -= os.splice(
                    self._pipe[0], self._target.fileno(), self._inside, flags=_FLAGS
                )
        except BlockingIOError:
            self._loop.remove_reader(self._source.fileno())
            self._loop.add_writer(self._target.fileno(), self._go_on)
            return
        except OSError:
            self._pump.abort()
            return
        self._put_back()

    def _go_on(self) -> None:
        """The target can take again."""
        self._loop.remove_writer(self._target.fileno())
        self._loop.add_reader(self._source.fileno(), self._take)
        self._give()

    def _put_back(self) -> None:
        """An empty pipe serves others: an idle connection holds none."""
        assert self._pipe is not None
        if len(_spare) < _SPARE_PIPES:
            _spare.append(self._pipe)
        else:
            _close(self._pipe)
        self._pipe = None

    def stop(self) -> None:
        """Touch nothing any more."""
        self._loop.remove_reader(self._source.fileno())
        self._loop.remove_writer(self._target.fileno())
        if self._pipe is not None:
            _close(self._pipe)  # it may hold bytes
            self._pipe = None


def _new_pipe() -> tuple[int, int]:
    ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with suppress(OSError):  # beyond the machine's limit: a smaller one works too
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return ends


def _close(pipe: tuple[int, int]) -> None:
    for end in pipe:
        os.close(end)
