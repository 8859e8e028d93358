"""The sending end of a stream through shared memory: an outlet like the one for TCP.

    deliver ──► slot or bytes ──► outstanding ──pump──► SLOT / PIECE …, ◄── ACK: done, released

What is large is copied into a slot once, or was filled in place there (`empty`); what is small, and
what finds no room although nobody is about to make any, travels in the socket. Everything happens
in the loop's callbacks: no tasks. Must not know: modules, files, wiring.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from net.bell import Bell
from net.errors import ConnectionClosed, RemoteWireError, StreamRefused, TransportError
from net.header import HEADER, MAX_REPLY_BYTES
from net.ids import message_id
from net.messages import Parcel
from net.outlets import Lost, Shape
from net.shared import records
from net.shared.channel import Channel
from net.shared.dialing import Dialing
from net.shared.outgoing import INLINE_BYTES, Outgoing
from net.shared.regions import MEMORY_BYTES, Regions, Slot
from net.shared.unsettled import Placed, Unsettled
from net.shared.writing import Writing
from net.short import Handing, Way
from net.stats import EdgeStats
from net.timing import Timing
from net.wire import LAST_WORD, MAX_MESSAGE_BYTES, Accept, End, Refuse, hello, identity


class SharedSender:
    """The sending end of one stream; `net.tcp.sender.Sender` says what its methods promise.

    Args:
        path: Of the receiver's socket.
        stream: Name of the stream.
        input: The receiver's input.
        sender: Name of this module.
        timing: Retries and grace periods.
        clock: Seconds since 1970.
        delivery: `at-most-once`, `at-least-once` or `exactly-once`.
        policy: `block`, `drop-oldest` or `latest`.
        queue: Messages that may wait here with `drop-oldest`.
        deadline_s: After so many seconds nobody wants a message that says nothing else; 0: never.
        memory_bytes: Most shared memory that the stream takes.
    """

    transport = "shm"
    on_lost: Callable[[Lost], None] | None = None

    def __init__(
        self,
        path: str,
        *,
        stream: str,
        input: str,  # noqa: A002 - the field's word
        sender: str,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.time,
        delivery: str = "at-least-once",
        policy: str = "block",
        queue: int = 16,
        deadline_s: float = 0.0,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.stream = stream
        self.timing = timing or Timing()
        self.run = secrets.randbits(32)
        self._clock = clock
        said = hello(stream, input, sender, run=self.run, delivery=delivery)
        self._dialing = Dialing(path, records.control(said, memory_bytes), self.timing, self)
        self._deadline_s = deadline_s
        self._kept = delivery != "at-most-once" and policy == "block"
        self.exactly_once = delivery == "exactly-once"
        self._drops = policy != "block"
        self._most_waiting = 1 if policy == "latest" else queue
        self._unsettled = Unsettled(kept=self._kept)
        self._most_bytes = memory_bytes
        self._regions = Regions(memory_bytes, self._array_gone)
        self._stats = EdgeStats(stream, self.transport)
        self._way = Way(
            message_id(sender, self.run, 0)[:-1], self.run, iter(()), clock, self._unsettled,
            self._stats, self._kept, 0.0, records.head(records.PIECE),
        )  # fmt: skip
        self._outgoing = Outgoing(self._regions, clock, self._way)
        self._queued = 0
        self._writing = Writing(self._outgoing)
        self._handing = Handing(
            self._way, self._regions.ready, self._writing.known, self._regions.forgotten,
            np.ndarray, self._handed_over,
        )  # fmt: skip
        self.at_once = self._handing.at_once
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = Bell()
        self._channel: Channel | None = None
        self._limit_bytes = 0
        self._refused: TransportError | None = None
        self._ending = self._said_end = self._confirmed = self._closed = False

    # --- what modules use --------------------------------------------------------------------

    async def open(self) -> None:
        """Wait until the other side is there. Sending does that too.

        Raises:
            StreamRefused: It is there and doesn't want this stream.
            TransportError: The socket can't be reached.
        """
        self._start()
        while not self._up():
            await self._change()

    async def deliver(self, parcel: Parcel, on_settled: Callable[[], None] | None = None) -> None:
        """Send one message; returns when arrays may change (but for those of `empty`).

        Args:
            parcel: The message.
            on_settled: Called once the receiver has acknowledged it.

        Raises:
            MessageTooLarge: It is larger than the receiver accepts.
            StreamRefused: The receiver doesn't want this stream.
            ConnectionClosed: This end has been closed.

        Cancellation: the message has gone out or goes out, or it doesn't; never a part of it.
        """
        channel = self._channel
        if (
            self._limit_bytes
            and channel is not None
            and parcel.packed.nbytes < INLINE_BYTES
            and not self._unsettled.busy
            and not self._ending
            and not self._deadline_s
            and not parcel.expires
            and not self._queued
            and channel.free
        ):
            self._at_once(channel, parcel, on_settled)
            return
        if self._ending:
            self._raise_closed()
        if self._deadline_s and not parcel.expires:
            parcel = replace(parcel, expires=parcel.made + self._deadline_s)
        self._start()
        if self._drops:
            self._deliver_or_drop(parcel, on_settled)
            return
        self._queued += 1
        self._look_whether_clear()
        try:
            async with self._lock:
                while not self._up() or self._unsettled.full:
                    await self._change()
                entry = await self._placed(parcel, on_settled)
                self._admit(entry)
                while self._is_unwritten(entry):
                    await self._change()
        finally:
            self._queued -= 1
            self._look_whether_clear()

    def _look_whether_clear(self) -> None:
        """From now on short messages go at once, if nothing is in front of them."""
        clear = not (
            self._queued or self._ending or self._deadline_s or self._unsettled.unwritten
        ) and bool(self._limit_bytes)
        self._way.link = self._way.burst = self._channel if clear else None

    def empty(self, shape: Shape, dtype: Any = np.float64) -> NDArray[Any] | None:
        """An array in shared memory, to fill and send without a copy; None: there is no room now.

        Once sent it is the receiver's: it can't be written to any more, and can't be sent again
        without a copy.
        """
        if self._closed or self._refused is not None:
            return None
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        kind = np.dtype(dtype)
        if kind.hasobject or not kind.itemsize or not all(sizes):
            return None
        array = self._regions.empty(sizes, kind)
        if array is not None:
            self._outgoing.make_ready(array)
        return array

    async def flush(self) -> None:
        """Wait until the receiver has acknowledged all that was sent.

        Raises:
            StreamRefused: The receiver doesn't want this stream.
            ConnectionClosed: This end has been closed.
        """
        while len(self._unsettled):
            await self._change()

    async def aclose(self) -> bool:
        """Say that nothing more comes, and wait until all has been acknowledged. Idempotent.

        Returns:
            Whether the receiver confirmed it; False if it isn't there.
        """
        self._ending = True
        self._look_whether_clear()
        try:
            if not self._closed and self._refused is None:
                self._start()
                self._pump()
                await self._finish()
        finally:
            self.abort()
        return self._confirmed

    async def _finish(self) -> None:
        while not self._closed and self._refused is None:
            if self._limit_bytes:
                await self._changed.wait()
                continue
            try:  # nobody there: give them a while
                async with asyncio.timeout(self.timing.close_s):
                    while not self._limit_bytes and not self._closed and self._refused is None:
                        await self._changed.wait()
            except TimeoutError:
                return

    def abort(self) -> None:
        """Cut the connection; what is not yet received may be lost. Idempotent."""
        self._closed = self._ending = True
        self._look_whether_clear()
        self._dialing.hang_up()
        if self._channel is not None:
            self._channel.close()
        while self._unsettled.unwritten:
            self._lose(self._unsettled.drop_first(), "failed")
        self._outgoing.close()
        self._changed.ring()

    def stats(self) -> EdgeStats:
        """Counters of this end."""
        self._stats.waiting = len(self._unsettled)
        self._stats.extra["shared_bytes"] = self._regions.total_bytes
        return self._stats

    # --- a message finds its place -----------------------------------------------------------

    def _at_once(
        self, channel: Channel, parcel: Parcel, on_settled: Callable[[], None] | None
    ) -> None:
        """The short way: nothing is in front of it, and the socket takes it, mostly."""
        message = self._outgoing.in_bytes(parcel, on_settled, self._limit_bytes)
        if message.size > records.MAX_PAYLOAD:
            self._admit(message)
            return
        channel.push(message.record)
        if not channel.alive:
            self._unsettled.admit(message)
            self._look_whether_clear()
            return
        self._stats.sent(message.size)
        if self._kept:
            self._unsettled.wrote_at_once(message)
        else:
            self._outgoing.settle(message)

    def _handed_over(self, slot: Slot, seq: int, size: int) -> None:
        """The receiver knows of an array that was filled in place: the books are kept meanwhile."""
        message = self._outgoing.left(slot, seq, size)
        if self._kept:
            self._unsettled.wrote_at_once(message)
        else:
            self._outgoing.settle(message)

    async def _placed(self, parcel: Parcel, on_settled: Callable[[], None] | None) -> Placed:
        """The message in a slot, or in bytes of our own."""
        while True:
            entry = self._outgoing.place(parcel, on_settled, self._limit_bytes)
            if entry is not None:
                return entry
            await self._change()
            while not self._up():
                await self._change()

    def _deliver_or_drop(self, parcel: Parcel, on_settled: Callable[[], None] | None) -> None:
        """Never wait: what can't be sent in time makes room for what is newer."""
        if self._closed or self._refused is not None:
            self._raise_closed()
        entry = self._outgoing.place(
            parcel, on_settled, self._limit_bytes or MAX_MESSAGE_BYTES, wait=False
        )
        assert entry is not None
        begun = self._writing.begun
        while self._unsettled.unwritten >= self._most_waiting + (begun is not None):
            dropped = self._unsettled.drop_oldest(but=begun)
            if dropped is None:
                break
            self._stats.dropped += 1
            self._lose(dropped, "dropped")
        self._admit(entry)

    def _lose(self, message: Placed, outcome: str) -> None:
        """It doesn't leave. What it answers is only done with if nobody wants it."""
        if outcome == "failed":
            message.on_settled = None
        if self.on_lost is not None:
            self.on_lost(Lost(*identity(message.beginning), message.size, outcome))
        self._outgoing.settle(message)

    def _admit(self, entry: Placed) -> None:
        self._unsettled.admit(entry)
        self._look_whether_clear()
        self._pump()

    def _is_unwritten(self, entry: Placed) -> bool:
        first = self._unsettled.first()
        return first is not None and first.seq <= entry.seq

    # --- writing -----------------------------------------------------------------------------

    def _pump(self) -> None:
        """Write what is outstanding while the socket takes it, and at last the last word."""
        channel = self._channel
        if channel is None or not self._limit_bytes:
            return
        before = self._unsettled.unwritten
        while channel.alive and not channel.clogged:
            entry = self._writing.begun or self._unsettled.first()
            if entry is None:
                break
            if entry.expires and self._writing.begun is None and self._clock() >= entry.expires:
                self._stats.expired += 1
                self._lose(self._unsettled.drop_first(), "expired")
            elif self._writing.write(channel, entry):
                self._dialing.delay_s = self.timing.first_retry_s
                self._stats.sent(entry.size)
                if self._unsettled.wrote(entry):
                    self._outgoing.settle(entry)
        if self._ending and not self._said_end and not self._unsettled.unwritten:
            self._said_end = channel.push(records.control(LAST_WORD)) or channel.clogged
        if self._unsettled.unwritten != before:
            self._changed.ring()
        self._look_whether_clear()

    # --- what the channel says ---------------------------------------------------------------

    def on_memory(self, fd: int) -> None:
        """Never: no receiver passes memory."""
        os.close(fd)

    def on_record(self, head: records.Head, payload: memoryview) -> None:
        """The receiver says something."""
        kind = head[0]
        if kind == records.ACK and self._limit_bytes:
            self._acknowledged(head, payload)
        elif kind == records.CONTROL:
            self._on_control(records.read_control(payload.tobytes()), head[1])
        else:
            raise RemoteWireError("a record that no receiver sends")

    def _on_control(self, event: Any, memory_bytes: int) -> None:
        if isinstance(event, Accept) and not self._limit_bytes:
            self._dialing.hang_up()
            self._limit_bytes = event.limit_bytes
            most = event.limit_bytes - HEADER.size - MAX_REPLY_BYTES
            self._way.most = max(0, min(INLINE_BYTES, most))
            self._handing.longest = event.limit_bytes
            self._regions.bound_bytes = min(self._most_bytes, memory_bytes)
            self._done_to(event.done)
            self._pump()
        elif isinstance(event, Refuse):
            self._refused = StreamRefused(f"{self.stream}: refused: {event.reason}")
            self._drop_channel()
        elif isinstance(event, End) and self._said_end:
            self._confirmed = self._closed = True
            self._drop_channel()
        else:
            raise RemoteWireError(f"unexpected {type(event).__name__} from a receiver")
        self._changed.ring()

    def _acknowledged(self, head: records.Head, payload: memoryview) -> None:
        released = records.read_released(head, payload.tobytes())
        _, done, taken, _ = head
        self._outgoing.taken = max(self._outgoing.taken, taken)
        for place in released:
            self._outgoing.given_back(place)
        self._done_to(done)
        self._pump()
        self._changed.ring()

    def _done_to(self, seq: int) -> None:
        for entry in self._unsettled.acknowledge(min(seq, self._way.seq)):
            self._outgoing.settle(entry)

    def on_fault(self, error: TransportError) -> None:
        """It isn't told: a receiver that starts over will know better."""
        self._stats.extra["faults"] = self._stats.extra.get("faults", 0) + 1

    def on_drained(self) -> None:
        """The socket takes more."""
        self._pump()

    def on_closed(self) -> None:
        """A cut: what isn't acknowledged is sent again, from where it lies."""
        self._channel = None
        was_up, self._limit_bytes = bool(self._limit_bytes), 0
        self._look_whether_clear()
        self._dialing.hang_up()
        self._said_end = False
        self._outgoing.cut_off()
        self._writing.cut_off()
        if self._kept:
            self._stats.resent += self._unsettled.again()
        if not self._closed and self._refused is None:
            self._stats.reconnects += was_up
            self._dialing.later()
        self._changed.ring()

    # --- connecting --------------------------------------------------------------------------

    def _start(self) -> None:
        if self._loop is None and not self._closed:
            self._loop = asyncio.get_running_loop()
            self._dialing.begin()

    def on_connected(self, channel: Channel) -> None:
        """Somebody is there, and is asked whether it takes this stream."""
        self._channel = channel

    def on_unreachable(self, why: str) -> None:
        """Nobody will ever be there."""
        self._refused = TransportError(f"{self.stream}: {why}")
        self._changed.ring()

    def _drop_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()

    # --- waiting -----------------------------------------------------------------------------

    def _up(self) -> bool:
        """Whether there is a connection; raises if there will be none."""
        if self._closed or self._refused is not None:
            self._raise_closed()
        return bool(self._limit_bytes)

    def _raise_closed(self) -> None:
        if self._refused is not None:
            raise self._refused
        raise ConnectionClosed(f"{self.stream}: the stream has been closed here")

    async def _change(self) -> None:
        """Wait until something about this stream has changed."""
        await self._changed.wait()
        if self._closed or self._refused is not None:
            self._raise_closed()

    def _array_gone(self) -> None:
        """An array of `empty` is gone, in whatever thread: who waits for room shall look again."""
        if self._changed.heard and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.ring)
