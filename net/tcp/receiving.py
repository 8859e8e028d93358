"""One connection from a sender, from its hello to its end: what comes is queued and acknowledged.

Who takes such connections is `net.tcp.listener`. Must not know: modules, files, wiring.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Protocol

from net.delivery import Progress
from net.errors import RemoteWireError, TransportError
from net.greeting import Greeted, misfit
from net.inbox import Edge, Inbox, listed
from net.loops import epoll_of
from net.messages import Message
from net.tcp.connection import Connection
from net.timing import Timing
from net.wire import LAST_WORD, End, Event, Hello, accept, ack, refuse

ACK_EVERY = 64
"""Messages that are acknowledged together, at the most."""
ACK_BYTES = 256 * 1024
"""Bytes of them, likewise: the sender keeps them that long."""


class Door(Protocol):
    """Where connections come in, and what is behind it."""

    inputs: dict[str, Inbox]
    connections: set[ReceivingConnection]
    strangers: dict[ReceivingConnection, None]
    limit_bytes: int
    timing: Timing
    clock: Callable[[], float]

    def let_in(self, stranger: ReceivingConnection) -> None:
        """Somebody has connected."""

    def refused(self, connection: ReceivingConnection, why: object) -> None:
        """What a peer said makes no sense, or isn't wanted."""

    def find(self, hello: Hello) -> Inbox | None:
        """Where a stream goes."""


class ReceivingConnection(Greeted, Connection):
    """One connection from a sender: a hello, messages, an end."""

    def __init__(self, door: Door) -> None:
        super().__init__(
            door.limit_bytes, door.timing, messages=False, clock=door.clock
        )  # fmt: skip
        self._door = door
        self._next_short = self._scratch.next
        self._patience: asyncio.TimerHandle | None = None
        self._inbox: Inbox | None = None
        self._edge = Edge("")
        self._tally = self._edge.stats
        self._sender = ""
        self._progress = Progress()
        self._quick, self._before, self._epoll = False, None, epoll_of(self.loop)
        self._acks = False
        self._exactly_once = False
        self._bound = 1
        self._waiting = 0
        self._unsaid = self._unsaid_bytes = 0
        self._most_unsaid, self._most_unsaid_bytes = ACK_EVERY, ACK_BYTES
        self._ack_timer: asyncio.TimerHandle | None = None
        self._ended = False
        self._successor: ReceivingConnection | None = None
        self._former: ReceivingConnection | None = None  # it has to be read out before
        door.connections.add(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there, and has a while to say who."""
        super().connection_made(transport)
        # Closed without a REFUSE: an honest sender whose hello was held up shall try again.
        self._patience = self.loop.call_later(self.timing.hello_s, self._lose_patience)
        self._door.let_in(self)

    def _lose_patience(self) -> None:
        if self.unread():  # it is we who stood still: it may have said hello in time
            self.readable()
        if self._patience is None or not self.alive:
            return
        self._door.refused(self, f"no hello within {self.timing.hello_s:g} s")
        self.abort()

    def on_event(self, event: Event) -> None:
        """Route what has arrived."""
        if isinstance(event, Message):
            event.source, event.stream = self._sender, self._edge.name
            event.carrier, event.received = self, self._now
            self._take_in(event)
        elif isinstance(event, Hello) and self._inbox is None:
            self._greet(event)
        elif isinstance(event, End) and self._inbox is not None:
            self._ended = True
            self._inbox.end(self._edge, self)
            self._say_farewell()
        else:
            raise RemoteWireError(f"unexpected {type(event).__name__} from a sender")

    def _readable(self) -> None:
        """The shortest way for what is commonest: short messages that all are here."""
        inbox = self._inbox
        if (
            inbox is None
            or not self._reading
            or self._scratch
            or self._reader.large is not None
            or self._after_reading is not None
        ):
            Connection._readable(self)
            self._judge()
            return
        try:
            count = self._receive(self._fd)
        except OSError as exc:
            self._not_received(exc)
            return
        if not count:
            self._hear_no_more()
            return
        now = self._clock()
        message = self._next_short(now)
        if message is not None:
            self._take_all(message, now)
        else:
            self._arrived()

    def _take_all(self, message: Message | None, now: float) -> None:
        """Take it in, and what lies behind it."""
        self._now = now
        next_short = self._next_short
        while message is not None:
            self._take_in(message)
            message = next_short(now) if self._reading else None
        if self._scratch:
            self._arrived()
        elif self._inbox is not None and self._inbox.waiters:
            self._inbox.tell()

    def _unread(self, error: int) -> None:
        """Nothing could be read: it is the end, or an error."""
        if error:
            self._not_received(OSError(error, os.strerror(error)))
        else:
            self._hear_no_more()

    def _judge(self) -> None:
        """Whether all is as always, so that a short message may take its shortest way (in C)."""
        edge = self._edge
        self._quick = (
            self._inbox is not None
            and self._reading
            and self._after_reading is None
            and self._reader.large is None
            and not (self._exactly_once or self._ended or self._over)
            and edge.live is self
            and edge.progress is self._progress
        )

    def _arrived(self) -> None:
        """Whoever waits for what has come goes on at once, as the last thing that is done here."""
        super()._arrived()
        self._judge()
        if self._inbox is not None:
            self._inbox.tell()

    def pause(self) -> None:
        """Take no more events."""
        self._quick = False
        super().pause()

    def resume(self) -> None:
        """Take events again; this is said from within a task, so who waits goes on later."""
        super().resume()
        self._judge()
        if self._inbox is not None and not self._inbox.empty:
            self.loop.call_soon(self._inbox.tell)

    def _take_in(self, message: Message) -> None:
        inbox, edge, progress = self._inbox, self._edge, self._progress
        assert inbox is not None  # before HELLO the reader lets no message through
        seq = message.seq
        if seq == progress.received + 1 != 1:  # as is_new, for most
            progress.received = seq
            progress.open.append(seq)
        elif not progress.is_new(seq):
            edge.stats.duplicates += 1
            return
        if self._exactly_once:
            message.exactly_once = True
            if not inbox.is_new(message):
                edge.stats.duplicates += 1
                return
        if inbox.queue_up(message, edge):
            self._waiting += 1
            if len(edge.waiting) >= self._bound:
                self.pause()

    def _greet(self, hello: Hello) -> None:
        inbox = self._door.find(hello)
        if inbox is None:
            why = misfit(hello) or f"no input {hello.input!r} here ({listed(self._door.inputs)})"
        else:
            why = misfit(hello) or inbox.why_not(hello, self.peer_address)
        if why or inbox is None:
            if inbox is None or not inbox.closed:  # late for who leaves is nobody's fault
                self._door.refused(self, f"stream {hello.stream!r}: {why}")
            self.post(refuse(why))
            self.close()
            return
        self._hurry_no_more()
        self.allow_messages()
        former = self._admit(hello, inbox)
        self.post(accept(self._door.limit_bytes, self._progress.done))
        if len(self._edge.waiting) >= self._bound:
            self.pause()
        if isinstance(former, ReceivingConnection):
            former.replace_by(self)

    def _hurry_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self._door.strangers.pop(self, None)

    def replace_by(self, successor: ReceivingConnection) -> None:
        """The sender has connected anew: take what it left here, then let the new one go on."""
        successor.pause()
        self._quick = False
        if self._former is not None:  # nothing of this one has been read: it is sent again
            former, self._former = self._former, None
            former._successor, successor._former = successor, former
            self.abort()
            return
        successor._former = self
        self._successor, self._after_reading = successor, self._retire
        self._retire()

    def _retire(self) -> None:
        """Close once nothing is left unread. The sender's end may be gone without a word."""
        if self._successor is not None and self.reading and self.unread() == 0:
            self.abort()

    # --- what becomes of its messages --------------------------------------------------------

    def taken(self, message: Message) -> None:
        """One of its messages has left the queue."""
        self._waiting -= 1
        live = self._edge.live
        if live is self and self._reading and not self._ended:
            return  # as mostly
        self._look_for_room()
        if live is not self and isinstance(live, ReceivingConnection):
            (live._former or live)._look_for_room()
        if self._ended:
            self._say_farewell()

    def _look_for_room(self) -> None:
        """Read on, many messages at a time, not each. The queue is one for all its connections."""
        room = 2 * len(self._edge.waiting) <= self._bound
        if room and not self._reading and self._former is None:
            self.resume()

    def _done(self, message: Message) -> None:
        """The module is done with one of its messages: the sender may forget it."""
        if message.exactly_once and self._inbox is not None:
            self._inbox.remember(message)
        progress, edge = self._progress, self._edge
        if edge.progress is not progress:
            return  # the sender has begun another life
        seq, open_ = message.seq, progress.open
        if open_ and open_[0] == seq and not progress.ahead:  # as finish, for most
            progress.done = open_.popleft()
            more = True
        else:
            more = progress.finish(seq)
        if more and self._acks:
            carrier = edge.live
            if isinstance(carrier, ReceivingConnection):
                carrier.acknowledge_soon(message)
        if self._ended:
            self._say_farewell()

    def acknowledge_soon(self, message: Message) -> None:
        """Say how far the module is, together with what else comes within a moment."""
        self._unsaid += 1
        self._unsaid_bytes += message.size_bytes
        if message.urgent or self._unsaid >= ACK_EVERY or self._unsaid_bytes >= ACK_BYTES:
            self.acknowledge_now()
        elif self._ack_timer is None:
            self._ack_timer = self.loop.call_later(self.timing.ack_s, self.acknowledge_now)

    def acknowledge_now(self) -> None:
        """Say how far the module is, if that hasn't been said."""
        if not self._unsaid:
            return
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if self.congested and self.alive and not self._ended:  # the peer reads none: one is enough
            self._ack_timer = self.loop.call_later(self.timing.ack_s, self.acknowledge_now)
            return
        self._unsaid = self._unsaid_bytes = 0
        if self.alive:
            self.post(ack(self._progress.done))

    def _say_farewell(self) -> None:
        """The receipt for the sender's last word.

        At most once: all is here. At least once: the module has taken all; it may keep the last
        one for as long as it likes. Exactly once: it is done with all.
        """
        taken = self._progress.idle if self._exactly_once else not self._waiting
        if not self._acks or taken:
            self.acknowledge_now()
            self.post(LAST_WORD)
            self.close()

    def fail(self, error: TransportError) -> None:
        """Say why before closing, else the sender would try the same again."""
        if self.alive:
            self._door.refused(self, error)
            if self._inbox is not None:
                self._edge.stats.refuse()
        self.post(refuse(str(error)))
        super().fail(error)

    def on_lost(self, error: Exception | None) -> None:
        """A cut; the sender comes back by itself."""
        self._quick = False
        self._hurry_no_more()
        self._scratch.preset("", "", None)  # no circle that keeps its memory
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        self._door.connections.discard(self)
        if self._inbox is not None:
            self._inbox.detach(self._edge, self)
        if self._successor is not None:
            self._successor._former = None
            self._successor._look_for_room()
