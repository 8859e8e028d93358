"""A hello, as the receiving end takes it: over TCP and through shared memory alike.

    HELLO ──► what it speaks ──► is the stream wanted? ──► the stream's account begins, or goes on

How the answer travels, and what else a door asks, are the subclasses': `net.tcp.receiving`,
`net.shared.receiver`. Datagrams greet in their own way, and speak the same version. Must not know:
sockets, the event loop, modules.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from net import OTTER_WIRE_VERSION
from net.delivery import DELIVERIES
from net.inbox import Inbox, listed
from net.messages import Carrier, Message
from net.short import Arrivals
from net.wire import Hello


def misfit(hello: Hello) -> str:
    """Why nobody here understands this sender, whatever its stream is; empty: they do."""
    if hello.version != OTTER_WIRE_VERSION:
        return f"it speaks wire version {hello.version}, here is {OTTER_WIRE_VERSION}"
    if hello.delivery not in DELIVERIES:
        return f"unknown delivery {hello.delivery!r} ({listed(DELIVERIES)})"
    return ""


class Greeted(Arrivals, ABC):
    """The receiving end of a connection that begins with a hello."""

    _sender: str
    _exactly_once: bool
    _bound: int

    @abstractmethod
    def taken(self, message: Message) -> None:
        """One of its messages has left the queue."""

    def _admit(self, hello: Hello, inbox: Inbox) -> Carrier | None:
        """The stream is wanted: from now on this is who carries it; who did before, if anybody."""
        self._inbox, self._sender = inbox, hello.sender
        self._acks = hello.delivery != "at-most-once"
        self._exactly_once = hello.delivery == "exactly-once"
        self._edge, former = inbox.attach(hello, self)
        self._tally = self._edge.stats
        self._scratch.preset(self._sender, self._edge.name, self)
        # The edge gets another with the sender's next life, while this one's may still be read.
        self._progress = self._edge.progress
        self._bound = max(1, self._edge.queue) if self._edge.policy == "block" else 2**62
        return former
