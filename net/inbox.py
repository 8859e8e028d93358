"""One input of a module: what its streams have brought, in order of arrival.

A queue bounded per stream. Full-policy `block`: the stream's carrier is asked to hold its sender
back; `drop-oldest` and `latest`: the stream's oldest message makes room. Whoever brings messages
is a carrier (`net.messages.Carrier`): TCP, UDP and shared memory look alike from here. Must not
know: sockets, modules, files, wiring.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from net.delivery import Progress
from net.errors import ConnectionClosed
from net.messages import Carrier, Message
from net.short import Arrivals, Desk, Waiter
from net.stats import EdgeStats
from net.wire import Hello

DEFAULT_QUEUE = 16
"""Messages, per stream."""
REMEMBERED = 100_000
"""Ids of messages done with that an exactly-once stream remembers, some 200 bytes each."""
REMEMBERED_OF_ALL = 1_000_000
"""The same of all streams of an input that any may come to: peers invent names."""
MOST_STREAMS = 1024
"""Streams that an input remembers which any may come to: peers invent names."""


@dataclass(slots=True)
class Edge:
    """One stream, as its receiver sees it, over all its carriers.

    Attributes:
        queue: Messages that may wait.
        policy: What happens when they do.
        source: The only address it may come from; empty: any.
        waiting: Its messages in the queue.
        live: Who carries it now.
        ended: Whether it has said its last word.
        done_ids: What is done with of an exactly-once stream, the oldest first.
    """

    name: str
    queue: int = DEFAULT_QUEUE
    policy: str = "block"
    source: str = ""
    transport: str = "tcp"
    waiting: deque[Message] = field(default_factory=deque)
    live: Carrier | None = None
    ended: bool = False
    progress: Progress = field(default_factory=Progress)
    done_ids: dict[str, None] = field(default_factory=dict)
    stats: EdgeStats = field(init=False)

    def __post_init__(self) -> None:
        self.stats = EdgeStats(self.name, self.transport)
        if self.policy == "latest":
            self.queue = 1


class Inbox(Desk):
    """An input.

    Args:
        name: As the topology names it.
        edges: The streams it waits for; it ends when all these have ended. None: any stream may
            come, and it ends when all that came have ended.
        queue: Messages that may wait per stream, where `edges` is None.
        policy: What happens when they do, where `edges` is None.
        clock: Seconds since 1970.

    Attributes:
        on_lost: Hears of each message that came and that no module gets to see: `dropped`, or
            `expired`.
        by_hand: Whether only `Message.done` says that a message is done with; else taking the next
            one says it, too.
        on_message: Called with each message as it arrives, in the event loop, instead of queueing
            it: no task has to be woken. It must not raise, and not take long: nothing else is read
            meanwhile. The message is done with when it returns, unless `by_hand`.
    """

    def __init__(
        self,
        name: str,
        edges: Iterable[Edge] | None = None,
        *,
        queue: int = DEFAULT_QUEUE,
        policy: str = "block",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._open = edges is None
        self.edges = {edge.name: edge for edge in edges or ()}
        self._queue, self._policy = queue, policy
        self._clock = clock
        self._items: deque[Message] = deque()
        self.waiters = deque()
        self._loop = None
        self._closed = self._ended = self._discarding = False
        self.by_hand = False
        self.on_message: Callable[[Message], object] | None = None
        self.on_lost: Callable[[Message, str], None] | None = None
        self._current: Message | None = None
        self._open_ids: dict[str, Message] = {}
        self._remembered = 0

    # --- what modules use --------------------------------------------------------------------

    async def take(self) -> Message:
        """The next message.

        Raises:
            ConnectionClosed: The input has ended, or was closed here.

        Cancellation: no message is lost.
        """
        message: Message = await self.next()
        return message

    def raise_if_ended(self) -> None:
        """Raise `ConnectionClosed` if nothing more will come."""
        if self._ended or self._closed:
            raise ConnectionClosed(f"input {self.name!r} has ended")

    def _get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def _gave_up(self, waiter: Waiter) -> None:
        """Its task was cancelled; if it had been woken already, somebody else is instead."""
        if not waiter.cancelled():
            self._wake(1)
        elif waiter in self.waiters:
            self.waiters.remove(waiter)

    def take_now(self) -> Message | None:
        """The next message, if there is one."""
        if (current := self._current) is not None:
            self._current = None
            current.done()
        items = self._items
        while items:
            message = items.popleft()
            if message.finished:
                continue  # dropped, to make room
            edge = self.edges[message.stream]
            edge.waiting.popleft()
            now = message.taken = self._clock()
            if message.carrier is not None:
                message.carrier.taken(message)
            if message.expires and now >= message.expires:
                edge.stats.expired += 1
                self._lose(message, "expired")
                continue
            edge.stats.took(message)
            if not self.by_hand:
                self._current = message
            return message
        return None

    def finish(self) -> None:
        """The message that was taken last is done with."""
        if self._current is not None:
            message, self._current = self._current, None
            message.done()

    def abandon(self) -> None:
        """The message that was taken last is not done with: its sender shall send it again."""
        self._current = None

    @property
    def closed(self) -> bool:
        """Whether it was ended here."""
        return self._closed

    @property
    def ended(self) -> bool:
        """Whether nothing more will come (what is queued may still be taken)."""
        return self._closed or self._ended

    def _look_for_the_end(self) -> None:
        self._ended = bool(self.edges) and all(edge.ended for edge in self.edges.values())

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be taken."""
        return not self._items

    def discard(self) -> None:
        """Throw away what waits and whatever comes, so that no sender waits for us."""
        self._discarding = True
        for message in self._items:
            if not message.finished:
                self.edges[message.stream].waiting.popleft()
                if message.carrier is not None:
                    message.carrier.taken(message)
                self._lose(message, "dropped")
        self._items.clear()

    def close(self) -> None:
        """End it here. Idempotent."""
        self._closed = True
        self._wake(len(self.waiters))

    # --- what its carriers call --------------------------------------------------------------

    def expects(self, stream: str) -> bool:
        """Whether it waits for this very stream."""
        return not self._open and stream in self.edges

    def why_not(self, hello: Hello, address: str) -> str:
        """Why a stream isn't wanted from a peer at `address`; empty: it is."""
        if self._closed:
            return f"input {self.name!r} is closed"
        edge = self.edges.get(hello.stream)
        if edge is None:
            if self._open:
                full = len(self.edges) >= MOST_STREAMS and self._forgettable() is None
                return f"input {self.name!r} has {MOST_STREAMS} streams already" if full else ""
            return f"input {self.name!r} has no stream {hello.stream!r} ({listed(self.edges)})"
        if edge.source and edge.source != address:
            return f"this stream doesn't come from {address or 'an unknown address'}"
        return ""

    def attach(self, hello: Hello, carrier: Carrier) -> tuple[Edge, Carrier | None]:
        """A stream has come, or come again; its edge, and who carried it before."""
        edge = self.edges.get(hello.stream)
        if edge is None:
            if len(self.edges) >= MOST_STREAMS and (old := self._forgettable()) is not None:
                del self.edges[old.name]
                self._remembered -= len(old.done_ids)
            edge = Edge(hello.stream, self._queue, self._policy)
            self.edges[hello.stream] = edge
        former, edge.live = edge.live, carrier
        if isinstance(former, Arrivals):
            former._quick = False
        edge.ended = self._ended = False
        if edge.progress.run != hello.run:
            edge.progress = Progress(hello.run)
        else:
            edge.stats.reconnects += 1
        return edge, former

    def _forgettable(self) -> Edge | None:
        """A stream that is over, or else one that has lost its carrier; the oldest such."""
        idle = [e for e in self.edges.values() if e.live is None and not e.waiting]
        return min(idle, key=lambda edge: not edge.ended, default=None)

    def put(self, message: Message, edge: Edge, carrier: Carrier, received: float) -> bool:
        """Queue a message; False: it wasn't, because nobody wants it or it came before."""
        message.stream, message.carrier, message.received = edge.name, carrier, received
        queued = self.queue_up(message, edge)
        if queued and self.waiters:
            self._wake(1)
        return queued

    def queue_up(self, message: Message, edge: Edge) -> bool:
        """The same for one that knows where it comes from; `tell` has to be said afterwards."""
        if self._discarding or self._closed:
            self._lose(message, "dropped")
            return False
        if self.on_message is not None:
            self._call(self.on_message, message, edge)
            return False
        if len(edge.waiting) >= edge.queue and edge.policy != "block":
            self._drop(edge)
        edge.waiting.append(message)
        self._items.append(message)
        return True

    def tell(self) -> None:
        """Let whoever waits go on, before this returns: not from within a task."""
        waiters, items = self.waiters, self._items
        while waiters and items:
            waiters.popleft().wake()

    def _call(self, on_message: Callable[[Message], object], message: Message, edge: Edge) -> None:
        message.taken = message.received
        edge.stats.took(message)
        on_message(message)
        if not self.by_hand:
            message.done()

    def _drop(self, edge: Edge) -> None:
        oldest = edge.waiting.popleft()
        edge.stats.dropped += 1
        if oldest.carrier is not None:
            oldest.carrier.taken(oldest)
        self._lose(oldest, "dropped")
        oldest.value = None
        if len(self._items) > 4 * sum(len(e.waiting) for e in self.edges.values()) + 64:
            self._items = deque(m for m in self._items if not m.finished)

    def _lose(self, message: Message, outcome: str) -> None:
        """No module gets to see it."""
        message.done()
        if self.on_lost is not None:
            self.on_lost(message, outcome)

    def is_new(self, message: Message) -> bool:
        """Whether an exactly-once stream's message hasn't come in another of its sender's lives.

        One that has is done with when the first is.
        """
        name = message.id
        if name in self.edges[message.stream].done_ids:
            message.done()
            return False
        first = self._open_ids.get(name)
        if first is not None:
            message.value = None  # nobody is going to see it
            first.twins = (*first.twins, message)
            return False
        self._open_ids[name] = message
        return True

    def remember(self, message: Message) -> None:
        """An exactly-once stream's message is done with."""
        name = message.id
        self._open_ids.pop(name, None)
        edge = self.edges.get(message.stream)
        if edge is not None:  # else it was forgotten meanwhile, to let another in
            edge.done_ids[name] = None
            self._remembered += 1
            if len(edge.done_ids) > REMEMBERED:
                self._forget_one_of(edge)
            elif self._open and self._remembered > REMEMBERED_OF_ALL:
                self._forget_one_of(max(self.edges.values(), key=lambda e: len(e.done_ids)))
        for twin in message.twins:
            twin.done()

    def _forget_one_of(self, edge: Edge) -> None:
        del edge.done_ids[next(iter(edge.done_ids))]
        self._remembered -= 1

    def end(self, edge: Edge, carrier: Carrier) -> None:
        """A stream has said its last word."""
        if edge.live is carrier:
            edge.ended = True
            self._look_for_the_end()
            self._wake(len(self.waiters))

    def detach(self, edge: Edge, carrier: Carrier) -> None:
        """A carrier is gone."""
        if edge.live is carrier:
            edge.live = None

    def _wake(self, count: int) -> None:
        while count and self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.wake_soon()
                count -= 1


def listed(names: Iterable[str] | Mapping[str, object]) -> str:
    """`it has a, b`, for messages to people."""
    return "it has " + (", ".join(sorted(names)) or "none")
