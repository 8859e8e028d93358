"""Carries datagrams between pairs of connected UDP sockets: one pair per conversation.

A conversation is who talks to whom. Its first datagram arrives at a socket that hears everybody;
whoever owns that one opens the pair, after which the kernel hands all further datagrams of the
conversation to the pair itself. It ends when nothing has been said for a while. Datagrams that a
full socket can't take are dropped, as on any network.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Hashable
from contextlib import suppress

UNANSWERED_S = 30.0
ANSWERED_S = 120.0
"""As the kernel's own NAT (nf_conntrack_udp_timeout, …_stream)."""
_SWEEP_S = 10.0
_MOST = 4096
"""Conversations at once; the one that has been silent longest gives way."""
_LARGEST = 65535
_AT_ONCE = 64
"""Datagrams taken from one socket before others get their turn."""


class Flow:
    """One conversation; the sockets are connected, and its own from now on.

    Args:
        loop: The running loop.
        inner: Towards who began it.
        outer: Towards whom it is with.
        refused: Called when the other side says that nobody listens there.

    Attributes:
        answered: The outer side has said something.
        heard: When something was said last.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        inner: socket.socket,
        outer: socket.socket,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self.loop, self.inner, self.outer = loop, inner, outer
        self._refused = refused
        self.answered = False
        self.heard = loop.time()
        loop.add_reader(inner.fileno(), self._outwards)
        loop.add_reader(outer.fileno(), self._inwards)

    def send(self, data: bytes) -> None:
        """Say something to the outer side."""
        self.heard = self.loop.time()
        try:
            self.outer.send(data)
        except BlockingIOError:
            return
        except OSError:  # an earlier datagram was refused: the kernel tells now, and sends nothing
            self.failed()
            with suppress(OSError):
                self.outer.send(data)

    def deliver(self, data: bytes) -> None:
        """Say something to the inner side."""
        with suppress(OSError):
            self.inner.send(data)

    def failed(self) -> None:
        """Nobody listens at the outer side."""
        self._refused()

    def is_over(self, now: float) -> bool:
        """Whether nothing has been said for long enough."""
        return now - self.heard > (ANSWERED_S if self.answered else UNANSWERED_S)

    def _outwards(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = self.inner.recv(_LARGEST)
            except OSError:
                return
            self.send(data)

    def _inwards(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = self.outer.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                self.failed()
                return
            self.answered = True
            self.heard = self.loop.time()
            self.deliver(data)

    def redirect(self, outer: socket.socket) -> None:
        """Go on with another partner."""
        self.loop.remove_reader(self.outer.fileno())
        self.outer.close()
        self.outer = outer
        self.loop.add_reader(outer.fileno(), self._inwards)

    def close(self) -> None:
        """End it."""
        for one in (self.inner, self.outer):
            self.loop.remove_reader(one.fileno())
            one.close()


class Flows:
    """The conversations of one listening socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._flows: dict[Hashable, Flow] = {}
        self._timer = loop.call_later(_SWEEP_S, self._sweep)

    def __len__(self) -> int:
        return len(self._flows)

    def get(self, key: Hashable) -> Flow | None:
        """The conversation, if it goes on."""
        return self._flows.get(key)

    def add(self, key: Hashable, flow: Flow) -> Flow:
        """Keep a conversation that begins; `key` names it."""
        if len(self._flows) >= _MOST:
            self._end(min(self._flows, key=lambda k: self._flows[k].heard))
        self._flows[key] = flow
        return flow

    def _end(self, key: Hashable) -> None:
        self._flows.pop(key).close()

    def _sweep(self) -> None:
        now = self._loop.time()
        for key in [key for key, flow in self._flows.items() if flow.is_over(now)]:
            self._end(key)
        self._timer = self._loop.call_later(_SWEEP_S, self._sweep)

    def close(self) -> None:
        """End all."""
        self._timer.cancel()
        for key in list(self._flows):
            self._end(key)
