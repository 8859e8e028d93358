"""The receiving end of a stream through shared memory: a carrier like a TCP connection.

    socket ──► SLOT, PIECEs ──► message ──► Inbox ──► the module
    ACK ◄── taken, done, last view dropped ◄─────────────┘

Everything happens in the loop's callbacks: no tasks. Must not know: modules, files, wiring.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from typing import TYPE_CHECKING

from net.delivery import Progress
from net.errors import RemoteWireError, TransportError
from net.greeting import Greeted, misfit
from net.inbox import Edge, Inbox
from net.loops import epoll_of
from net.messages import Message
from net.shared import records
from net.shared.channel import Channel
from net.shared.incoming import Incoming
from net.short import Scratch
from net.wire import LAST_WORD, End, Hello, accept, refuse

if TYPE_CHECKING:
    from net.shared.listener import Door, SharedListener

ACK_EVERY = 64
"""Things to say after which they are said at once."""
_AT_ONCE_BYTES = 2**20
"""So is the release of so much memory: what is used again soon is still in the caches."""
_AT_ONCE_PART = 8
"""And of this part of all: the sender may be waiting for it."""
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid


class SharedReceiver(Greeted):
    """One connection from a sender: a hello, messages, an end.

    Args:
        listener: Whose it is.
        door: Where the sender came in.
        sock: The connection.
    """

    _incoming: Incoming

    def __init__(self, listener: SharedListener, door: Door, sock: socket.socket) -> None:
        self._listener, self._door = listener, door
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._inbox: Inbox | None = None
        self._edge = Edge("")
        self._tally = self._edge.stats
        self._progress = Progress()
        self._quick, self._before = False, records.head(records.PIECE)
        self._clock = listener.clock
        self._epoll = epoll_of(self._loop)
        self._sender = ""
        self._acks = self._exactly_once = self._ended = False
        self._bound = 1
        self._waiting = self._taken = 0
        self._unsaid = self._unsaid_bytes = 0
        self._most_unsaid, self._most_unsaid_bytes = ACK_EVERY, _AT_ONCE_BYTES
        self._ack_timer: asyncio.Handle | None = None
        self._ack_at_once = False
        self._successor: SharedReceiver | None = None
        self._former: SharedReceiver | None = None  # it has to be read out before
        self._pressing = min(_AT_ONCE_BYTES, listener.memory_bytes // _AT_ONCE_PART)
        self._incoming = Incoming(
            listener.limit_bytes, listener.memory_bytes, copies=door.copies, released=self._released
        )
        self._channel = Channel(sock, self, readable=self.readable)
        self._fd, self._peer = sock.fileno(), _peer_of(sock)
        self._scratch = Scratch(self._channel.memory, Message, listener.limit_bytes)
        # Closed without a REFUSE: an honest sender whose hello was held up shall try again.
        self._patience: asyncio.TimerHandle | None = self._loop.call_later(
            listener.timing.hello_s, self._lose_patience
        )

    @property
    def stranger(self) -> bool:
        """Whether it hasn't said yet who it is."""
        return self._inbox is None

    @property
    def lent(self) -> int:
        """Slots that arrays here show."""
        return self._incoming.lent

    def close(self) -> None:
        """Say how far the module is, and cut it. Idempotent."""
        if self._unsaid:
            self._acknowledge()
        self._channel.close()

    # --- what the channel says ---------------------------------------------------------------

    def _readable(self) -> None:
        """There is something to read."""
        self._channel.read()
        self._have_read()

    def _record(self, length: int) -> None:
        """What was read isn't a short message that somebody waits for: look more closely."""
        self._channel.take(length)
        if self._channel.reading:
            self._channel.read()
        self._have_read()

    def _unread(self, error: int) -> None:
        """Nothing could be read: it is the end, or an error."""
        self._channel.not_read(error)
        self._have_read()

    def _have_read(self) -> None:
        """Whoever waits for what has come goes on at once, as the last thing that is done here."""
        self._judge()
        if self._inbox is not None:
            self._inbox.tell()

    def _judge(self) -> None:
        """Whether all is as always, so that a short message may take its shortest way (in C)."""
        channel, edge = self._channel, self._edge
        self._quick = (
            self._inbox is not None
            and channel.reading
            and not (channel.closed or channel.expects_memory or self._incoming.in_pieces)
            and not (self._exactly_once or self._ended)
            and self._successor is None
            and edge.live is self
            and edge.progress is self._progress
        )

    def on_record(self, head: records.Head, payload: memoryview) -> None:
        """The sender says something."""
        kind, a, b, c = head
        if kind == records.CONTROL:
            self._on_control(payload.tobytes())
        elif self._inbox is None or self._ended:
            raise RemoteWireError("a record where none may be")
        elif kind == records.PIECE:
            message = self._incoming.piece(a, payload)
            if message is not None:
                self._take_in(message)
        elif kind == records.SLOT:
            self._take_in(self._incoming.slot(a, b, c))
        elif kind == records.REGION:
            self._incoming.announce(a, b)
            self._channel.expect_memory()
        elif kind == records.FORGET:
            self._incoming.forget(a)
        else:
            raise RemoteWireError("a record that no sender sends")

    def _come(self, message: Message) -> None:
        """An array came, and nobody waits for it."""
        self._take_in(message)
        self._have_read()

    def _slot_taken(self, seq: int) -> None:
        """An array came, and the module has it already."""
        self._taken = max(self._taken, seq)
        if self._incoming.lent:
            self._say_soon()  # a sender without room wants to know

    def on_memory(self, fd: int) -> None:
        """The memory of a region."""
        self._incoming.region(fd)

    def on_fault(self, error: TransportError) -> None:
        """Say why before closing, else the sender would try the same again."""
        self._refused(error)
        if self._inbox is not None:
            self._edge.stats.refuse()
        self._channel.push(records.control(refuse(str(error))))

    def _lose_patience(self) -> None:
        self._refused(f"no hello within {self._listener.timing.hello_s:g} s")
        self._channel.close()

    def _refused(self, why: object) -> None:
        """What the peer said makes no sense, or isn't wanted."""
        self._listener.rubbish.came(self._peer, why, at=self._door.path)

    def _on_control(self, payload: bytes) -> None:
        event = records.read_control(payload)
        if isinstance(event, Hello) and self._inbox is None:
            self._greet(event)
        elif isinstance(event, End) and self._inbox is not None and not self._ended:
            self._ended = True
            self._inbox.end(self._edge, self)
            self._say_farewell()
        else:
            raise RemoteWireError(f"unexpected {type(event).__name__} from a sender")

    def _greet(self, hello: Hello) -> None:
        inbox = self._door.inbox
        if self._door.stream not in ("", hello.stream):
            why = misfit(hello) or f"this socket is for the stream {self._door.stream!r}"
        else:
            why = misfit(hello) or inbox.why_not(hello, "")
        if why:
            if not inbox.closed:  # late for who leaves is nobody's fault
                self._refused(f"stream {hello.stream!r}: {why}")
            self._channel.push(records.control(refuse(why)))
            self._channel.close()
            return
        self._hurry_no_more()
        former = self._admit(hello, inbox)
        words = accept(self._listener.limit_bytes, self._progress.done)
        self._channel.push(records.control(words, self._listener.memory_bytes))
        if len(self._edge.waiting) >= self._bound:
            self._channel.pause()
        if isinstance(former, SharedReceiver) and former is not self:
            former.replace_by(self)

    def _take_in(self, message: Message) -> None:
        inbox, edge = self._inbox, self._edge
        assert inbox is not None
        message.source = self._sender
        message.stream, message.carrier = edge.name, self
        if not self._progress.is_new(message.seq):
            edge.stats.duplicates += 1
            return
        if self._exactly_once:
            message.exactly_once = True
            if not inbox.is_new(message):
                edge.stats.duplicates += 1
                return
        message.received = self._listener.clock()
        if inbox.queue_up(message, edge):
            self._waiting += 1
            if len(edge.waiting) >= self._bound:
                self._channel.pause()

    def on_drained(self) -> None:
        """The socket takes more."""
        if self._unsaid or self._incoming.to_release:
            self._acknowledge()

    def on_closed(self) -> None:
        """A cut; the sender comes back by itself. What arrays show stays theirs."""
        self._hurry_no_more()
        self._quick = False
        self._scratch.preset("", "", None)  # no circle that keeps its memory
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        self._incoming.close()
        self._listener.receivers.discard(self)
        if self._inbox is not None:
            self._inbox.detach(self._edge, self)
        if self._successor is not None:
            self._successor.resume()

    # --- one after the other -----------------------------------------------------------------

    def replace_by(self, successor: SharedReceiver) -> None:
        """The sender has connected anew: take what it left here, then let the new one go on."""
        if self._channel.closed:
            return
        successor.hold()
        if self._former is not None:  # nothing of this one has been read: it is sent again
            former, self._former = self._former, None
            former._successor, successor._former = successor, former
            self._channel.close()
            return
        self._quick = False
        self._successor, successor._former = successor, self
        self._look_for_the_end()

    def _look_for_the_end(self) -> None:
        """A sender that connects anew has closed its old end. One that hasn't is cut."""
        if not self._channel.closed:
            if self._channel.reading:
                self._channel.read_out()
                if self._inbox is not None:  # from within a task, maybe: who waits goes on later
                    self._loop.call_soon(self._inbox.tell)
            else:
                self._loop.call_later(self._listener.timing.hello_s, self._look_for_the_end)

    def hold(self) -> None:
        """Take nothing yet."""
        self._channel.pause()

    def resume(self) -> None:
        """The former one has come to its end."""
        self._former = None
        self._look_for_room()

    def _look_for_room(self) -> None:
        """Take more. The queue is one for all connections of the stream."""
        if self._former is None and len(self._edge.waiting) < self._bound:
            self._channel.resume()

    def _hurry_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    # --- what becomes of its messages --------------------------------------------------------

    def taken(self, message: Message) -> None:
        """One of its messages has left the queue."""
        self._waiting -= 1
        self._taken = max(self._taken, message.seq)
        if not self._channel.reading:
            self._look_for_room()
            if self._successor is not None:
                self._look_for_the_end()
        live = self._edge.live
        if live is not self and isinstance(live, SharedReceiver):
            (live._former or live)._look_for_room()
        if self._incoming.lent:
            self._say_soon()  # a sender without room wants to know
        if self._ended:
            self._say_farewell()

    def _done(self, message: Message) -> None:
        """The module is done with one of its messages: the sender may forget it."""
        if message.exactly_once and self._inbox is not None:
            self._inbox.remember(message)
        if self._edge.progress is not self._progress:
            return  # the sender has begun another life
        if self._progress.finish(message.seq) and self._acks:
            carrier = self._edge.live
            if isinstance(carrier, SharedReceiver):
                carrier._say_soon()
        if self._ended:
            self._say_farewell()

    def _released(self) -> None:
        """The last view of a slot is gone, in whatever thread."""
        if threading.get_ident() == self._thread:
            self._say_soon()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._say_soon)

    def _say_soon(self) -> None:
        """Say how far the module is, together with what else comes within a moment."""
        self._unsaid += 1
        if self._ack_at_once or self._channel.closed:
            return
        if self._incoming.bytes_to_release >= self._pressing or self._unsaid >= ACK_EVERY:
            if self._ack_timer is not None:
                self._ack_timer.cancel()
            self._ack_at_once = True
            self._ack_timer = self._loop.call_soon(self._acknowledge)
        elif self._ack_timer is None:
            self._ack_timer = self._loop.call_later(self._listener.timing.ack_s, self._acknowledge)

    def _acknowledge(self) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        self._ack_timer, self._ack_at_once = None, False
        if self._inbox is None:
            return
        while self._channel.alive and not self._channel.clogged:
            released = self._incoming.releases(records.MAX_RELEASED)
            self._unsaid = self._unsaid_bytes = 0
            self._channel.push(records.ack(self._progress.done, self._taken, released))
            if not self._incoming.to_release:
                return

    def _say_farewell(self) -> None:
        """The receipt for the sender's last word.

        At most once: all is here. At least once: the module has taken all; it may keep the last
        one for as long as it likes. Exactly once: it is done with all.
        """
        taken = self._progress.idle if self._exactly_once else not self._waiting
        if not self._channel.closed and (not self._acks or taken):
            if self._unsaid:
                self._acknowledge()
            self._channel.push(records.control(LAST_WORD))
            self._channel.close()


def _peer_of(sock: socket.socket) -> str:
    """Who connected, as the kernel says; a process that isn't seen from here is number 0."""
    told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(told)
    return f"process {pid} of user {uid}"
