"""A helper's end of its socket: it answers agents between what else it does, and never waits.

Must not know: what is asked, what a helper does.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol

from otter_agent.links.talk import LENGTH, LONGEST_BYTES, Reply, pack

_RECEIVE_BYTES = 1 << 16
_DESCRIPTORS = 253
_UNREAD_BYTES = 64 << 20
"""An agent that doesn't read its answers is hung up on."""

Answer = Callable[[bytes, deque[int]], Reply]
"""Does what a request's JSON asks; takes what it needs of the descriptors that came."""


class Loop(Protocol):
    """Who waits for descriptors."""

    def watch(self, descriptor: int, events: int, ready: Callable[[int], None]) -> None:
        """Call `ready` on events of a descriptor; for one already watched, other events."""

    def unwatch(self, descriptor: int) -> None:
        """Call nothing any more."""


class Talks:
    """With all agents that connect to a listening socket; in practice one.

    Args:
        loop: Of the helper.
        listener: Its socket.
        answer: What it says.
    """

    def __init__(self, loop: Loop, listener: socket.socket, answer: Answer) -> None:
        self._loop = loop
        self._listener = listener
        self._answer = answer
        self._talks: set[_Talk] = set()
        listener.setblocking(False)
        listener.listen()  # anew: who connects is told by it whose socket this is
        loop.watch(listener.fileno(), select.EPOLLIN, self._accept)

    def __len__(self) -> int:
        return len(self._talks)

    def _accept(self, events: int) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        self._talks.add(_Talk(self._loop, connection, self._answer, self._talks.discard))

    def close(self) -> None:
        """Hang up on all."""
        for talk in list(self._talks):
            talk.close()


class _Talk:
    """One connection."""

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        answer: Answer,
        over: Callable[[_Talk], None],
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._answer = answer
        self._over = over
        self._received = bytearray()
        self._unsent = bytearray()
        self._descriptors: deque[int] = deque()
        loop.watch(connection.fileno(), select.EPOLLIN, self._ready)

    def _ready(self, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                self._send()
            if events & ~select.EPOLLOUT:
                self._receive()
        except BlockingIOError:  # it was another's, of before
            pass
        except (OSError, EOFError):
            self.close()

    def _receive(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._connection, _RECEIVE_BYTES, _DESCRIPTORS)
        self._descriptors += descriptors
        if not data:
            raise EOFError
        self._received += data
        start = LENGTH.size
        while len(self._received) >= start:
            (length,) = LENGTH.unpack_from(self._received)
            if length > LONGEST_BYTES:
                raise EOFError
            if len(self._received) < start + length:
                return
            body = bytes(self._received[start : start + length])
            del self._received[: start + length]
            self._unsent += pack(self._answered(body))
            self._send()

    def _answered(self, body: bytes) -> Reply:
        try:
            return self._answer(body, self._descriptors)
        except ValueError as error:  # a `DecodeError` is one
            why = f"what carries links doesn't understand its agent: {error}"
            return Reply(pid=os.getpid(), problem=why)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Close what came and was of no use."""
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _send(self) -> None:
        if self._unsent:
            try:
                sent = self._connection.send(self._unsent)
            except BlockingIOError:
                sent = 0
            del self._unsent[:sent]
        if len(self._unsent) > _UNREAD_BYTES:
            raise EOFError
        more = select.EPOLLOUT if self._unsent else 0
        self._loop.watch(self._connection.fileno(), select.EPOLLIN | more, self._ready)

    def close(self) -> None:
        """Hang up."""
        self._loop.unwatch(self._connection.fileno())
        self._connection.close()
        self._let_go()
        self._over(self)
