"""One session at the receiving end, between its state and the input that it feeds: a carrier.

With the policy `block` the sender begins no further message while the queue is full; what was under
way by then is still taken, up to a bound. Must not know: modules, files, wiring.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from net.datagram import control
from net.datagram.counters import ReceivedCounters
from net.datagram.partial import decode_partial
from net.datagram.reassembly import Finished
from net.datagram.receiving import Receiving
from net.datagram.sockets import Address, UdpSocket
from net.errors import TransportError
from net.inbox import Edge, Inbox
from net.messages import Message
from net.wire import Hello, decode

if TYPE_CHECKING:
    from net.datagram.endpoint import Endpoint

_COUNTED_S = 0.1
"""How old shown counters may be: showing them costs as much as ten datagrams."""
_FAREWELLS = 3
"""How often the last word is said: who says it may be gone when it is asked for again."""
_OVERDRAFT_BYTES = 16 * 2**20
_OVERDRAFT_MESSAGES = 4096
"""What may wait beyond the queue: it was under way when the sender was told to stop."""


class Incoming:
    """A session that was accepted.

    Args:
        endpoint: Where it came.
        opened: The socket there.
        address: Its sender's.
        core: Its state.
        inbox: The input that it feeds.
    """

    def __init__(
        self, endpoint: Endpoint, opened: UdpSocket, address: Address, core: Receiving, inbox: Inbox
    ) -> None:
        self.address = address
        self._endpoint, self._socket, self._core, self._inbox = endpoint, opened, core, inbox
        greeting = core.greeting
        hello = Hello(greeting.wire, greeting.stream, greeting.input, greeting.sender, core.session)
        self._edge: Edge
        self._edge, former = inbox.attach(hello, self)
        self._edge.transport = self._edge.stats.transport = "udp"
        self._before = former.counters if isinstance(former, Incoming) else ReceivedCounters()
        self._bound = self._edge.queue if self._edge.policy == "block" else 2**62
        self._waiting = self._waiting_bytes = 0
        self._ended = False
        self._counted = 0.0

    @property
    def heard(self) -> float:
        """When its sender last said something."""
        return self._core.heard

    @property
    def counters(self) -> ReceivedCounters:
        """Of the stream, over all its sessions here."""
        return self._before.plus(self._core.counters)

    def receive(self, data: NDArray[np.uint8], segment: int, now: float) -> None:
        """Datagrams of this session."""
        self._keep(self._core.receive(data, segment, now))
        if (fault := self._core.fault) is not None:
            self._refused(fault)

    def _refused(self, why: TransportError) -> None:
        self._endpoint.refused(self._socket, self.address, f"stream {self._edge.name!r}: {why}")

    def pump(self, now: float) -> None:
        """Give up what is overdue, report what there is to report, see when to come back."""
        self._keep(self._core.expire(now))
        for datagram in self._core.poll(now):
            self._endpoint.send(self._socket, datagram, self.address)
        if self._core.ended:
            last_word = control.ended(self._core.session)
            if not self._ended:
                self._ended = True
                self._inbox.end(self._edge, self)
                self._count(now)
            if self._core.end_asked():
                for _ in range(_FAREWELLS):
                    self._endpoint.send(self._socket, last_word, self.address)
        if now - self._counted >= _COUNTED_S:
            self._count(now)
        if (at := self._core.timer) is not None:
            self._endpoint.wake_at(at)

    def _count(self, now: float) -> None:
        """Show what has been counted."""
        self._counted = now
        self._edge.stats.extra = {n: float(c) for n, c in self.counters.as_dict().items()}

    def detach(self) -> None:
        """Its sender is gone, or we are."""
        self._count(self._counted)
        self._inbox.detach(self._edge, self)

    def _keep(self, finished: list[Finished]) -> None:
        for each in finished:
            try:
                if each.missing:
                    message = decode_partial(each.memory, each.missing, self._endpoint.limit_bytes)
                else:
                    message = decode(each.memory, self._endpoint.limit_bytes)
            except TransportError as exc:
                self._core.counters.refused += 1
                self._refused(exc)
                continue
            self._put(message)

    def _put(self, message: Message) -> None:
        waiting = len(self._edge.waiting)  # of all sessions of the stream
        if waiting >= self._bound and (
            self._waiting_bytes > _OVERDRAFT_BYTES or waiting >= self._bound + _OVERDRAFT_MESSAGES
        ):
            self._edge.stats.dropped += 1
            return
        message.source = self._core.greeting.sender
        self._waiting += 1
        self._waiting_bytes += message.size_bytes
        if not self._inbox.put(message, self._edge, self, self._endpoint.clock()):
            self._waiting -= 1
            self._waiting_bytes -= message.size_bytes
        self._core.blocked = self._waiting >= self._bound

    # --- what becomes of its messages ------------------------------------------------------------

    def taken(self, message: Message) -> None:
        """One has left the queue: there is room for another."""
        self._waiting -= 1
        self._waiting_bytes -= message.size_bytes
        if self._core.blocked and self._waiting < self._bound:
            now = asyncio.get_running_loop().time()
            self._core.opened(now)
            self.pump(now)

    def done(self, message: Message) -> None:
        """Nothing is sent again for its sake."""
