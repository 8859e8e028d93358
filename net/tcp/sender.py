"""The sending end of a stream over TCP: connects, writes, and sends again what wasn't acknowledged.

One task keeps the connection: it dials, says what is outstanding, and dials again after a cut.
`deliver` hands a message to it, or, if nothing is in the way, straight to the kernel. Must not
know: modules, files, wiring.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from net.bell import Bell
from net.delivery import Outstanding
from net.entries import JOIN_BYTES, Entry, entry_of
from net.errors import ConnectionClosed, StreamRefused, TransportError, WouldWait
from net.messages import Parcel, message_id
from net.outlets import Lost
from net.sends import Sends
from net.stats import EdgeStats
from net.tcp.burst import Burst
from net.tcp.dialing import NOT_THERE_YET, SendingConnection, dial
from net.timing import Timing
from net.values import pack
from net.wire import LAST_WORD, MAX_MESSAGE_BYTES, Refuse, encode, hello, identity, stamped

COPY_BYTES_PER_S = 4e9
"""What copying a message costs: as long as that, its acknowledgement is waited for instead."""


class Sender(Sends):
    """The sending end of one stream; use with `async with`, or `open` and `aclose`.

    Args:
        address: Where the receiver listens.
        port: Its TCP port.
        stream: Name of the stream.
        input: The receiver's input.
        sender: Name of this module.
        timing: Retries and grace periods.
        clock: Seconds since 1970.
        delivery: `at-most-once`, `at-least-once` or `exactly-once`.
        policy: `block`: sending waits while the receiver's queue is full; `drop-oldest`, `latest`:
            it never waits, and what can't be sent in time is dropped.
        queue: Messages that may wait here with `drop-oldest`.
        deadline_s: After so many seconds nobody wants a message that says nothing else; 0: never.
    """

    transport = "tcp"
    on_lost: Callable[[Lost], None] | None = None

    def __init__(
        self,
        address: str,
        port: int,
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
    ) -> None:
        self.stream = stream
        self.timing = timing or Timing()
        super().__init__(sender, clock)
        self._address, self._port = address, port
        if policy != "block":
            delivery = "at-most-once"  # what may be dropped is not sent again
        self._hello = hello(stream, input, sender, run=self.run, delivery=delivery)
        self._deadline_s = deadline_s
        self.exactly_once = delivery == "exactly-once"
        self._kept = delivery != "at-most-once" and policy == "block"
        self._drops = policy != "block"
        self._most_waiting = 1 if policy == "latest" else queue
        self._outstanding = Outstanding(kept=self._kept)
        self._seq = 0
        self._lock = asyncio.Lock()
        self._changed, self._work = Bell(), Bell()
        self._connection: SendingConnection | None = None
        self._limit_bytes = 0
        self._refused: TransportError | None = None
        self._delay_s = self.timing.first_retry_s
        self._writing = False
        self._queued = 0
        self._burst: Burst | None = None
        self._clear: Burst | None = None  # the burst, while nothing is in front of a message
        self._closed = False
        self._ending = False
        self._received = False
        self._confirmed: bool | None = None
        self._group: asyncio.TaskGroup | None = None
        self._stats = EdgeStats(stream, self.transport)

    # --- what modules use --------------------------------------------------------------------

    async def open(self) -> None:
        """Wait until the other side is there. Sending does that too.

        Raises:
            StreamRefused: It is there and doesn't want this stream.
            TransportError: The address makes no sense.
        """
        await self._start()
        while not self._up():
            await self._change()

    def send_now(self, value: Any, *, reply_to: str | None = None) -> str:
        """`send` without waiting, for callbacks.

        Raises:
            LocalWireError: The value can't be sent.
            MessageTooLarge: It is larger than the receiver accepts.
            WouldWait: Nothing was sent: the receiver isn't there, or is slower, or the value is
                large (64 KiB or more).
        """
        burst = self._clear
        packed = pack(value)
        if (
            burst is None
            or packed.nbytes >= JOIN_BYTES
            or self._outstanding.full
            or burst.congested
        ):
            raise WouldWait(f"{self.stream}: it can't be sent without waiting")
        number = next(self._numbers)
        self._at_once(burst, Parcel(packed, self.run, number, reply_to, self._clock()), None)
        return message_id(self._name, self.run, number)

    async def deliver(self, parcel: Parcel, on_settled: Callable[[], None] | None = None) -> None:
        """`send` for a value that is packed already, so that many streams can share it.

        Args:
            parcel: The message.
            on_settled: Called once the receiver has acknowledged it.
        """
        short = parcel.packed.nbytes < JOIN_BYTES and not parcel.expires and not self._deadline_s
        begun = False
        while short and (burst := self._clear) is not None:
            if not (self._outstanding.full or burst.congested):
                self._at_once(burst, parcel, on_settled)
                return
            if self._drops or not burst.alive:
                break
            begun = True
            await self._room(burst)
        if self._ending and not begun:
            self._raise_closed()
        if self._deadline_s and not parcel.expires:
            parcel = replace(parcel, expires=parcel.made + self._deadline_s)
        if self._group is None:
            await self._start()
        if self._drops:
            self._drop_into(parcel, on_settled)
            return
        self._clear = None
        self._queued += 1
        try:
            async with self._lock:
                while not self._up() or self._outstanding.full:
                    await self._change()
                await self._hand(self._entry(parcel, on_settled))
        finally:
            self._left_the_queue()
            self._look_whether_clear()

    async def _room(self, burst: Burst) -> None:
        """Wait for what is in the way of a short message."""
        self._queued += 1
        try:
            if self._outstanding.full:
                await self._change()
            else:
                with suppress(ConnectionClosed):
                    await burst.drained()
        finally:
            self._left_the_queue()

    def _left_the_queue(self) -> None:
        self._queued -= 1
        if self._ending:  # the last word waits for those who have begun
            self._work.ring()

    def _look_whether_clear(self) -> None:
        """From now on short messages go at once, if nothing is in front of them."""
        if not (self._queued or self._writing or self._ending or self._outstanding.unwritten):
            self._clear = self._burst

    async def flush(self) -> None:
        """Wait until the receiver has acknowledged all that was sent.

        Raises:
            StreamRefused: The receiver doesn't want this stream.
            ConnectionClosed: This end has been closed.
        """
        while len(self._outstanding):
            await self._change()

    async def aclose(self) -> bool:
        """Say that nothing more comes, and wait until all has been acknowledged. Idempotent.

        A `send` that has begun is still heard; one that begins from now on raises
        `ConnectionClosed`.

        Returns:
            Whether the receiver confirmed it; False if it isn't there.
        """
        self._ending, self._clear = True, None
        try:
            if self._confirmed is None:
                self._confirmed = await self._finish()
        finally:
            await self._cut()
        return self._confirmed

    async def _cut(self) -> None:
        self.abort()
        group, self._group = self._group, None
        if group is not None:
            await group.__aexit__(None, None, None)
        while self._outstanding.unwritten:
            self._lose(self._outstanding.drop_first(), "failed")

    def abort(self) -> None:
        """Cut the connection; what is not yet received may be lost. Idempotent."""
        self._closed = self._ending = True
        self._clear = None
        if self._connection is not None:
            self._connection.abort()
        self._say_changed()
        if self._keeper is not None:
            self._keeper.cancel()

    def stats(self) -> EdgeStats:
        """Counters of this end."""
        self._stats.waiting = len(self._outstanding)
        return self._stats

    # --- handing over ------------------------------------------------------------------------

    def _at_once(self, burst: Burst, parcel: Parcel, on_settled: Callable[[], None] | None) -> None:
        """The short way: nothing is in front of it, and the kernel takes it, mostly."""
        now = self._clock()
        buffers = encode(
            parcel, seq=self._seq + 1, queued=now, sent=now, limit_bytes=self._limit_bytes
        )
        self._seq += 1
        data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
        assert isinstance(data, bytes)
        self._outstanding.wrote_at_once(self._seq, data, on_settled)
        self._stats.messages += 1
        self._stats.nbytes += len(data)
        burst.add(data, now)

    def _entry(
        self, parcel: Parcel, on_settled: Callable[[], None] | None, *, own: bool = False
    ) -> Entry:
        limit = self._limit_bytes or MAX_MESSAGE_BYTES
        urgent = self._kept and not own
        entry = entry_of(parcel, self._seq + 1, self._clock(), limit, own=own, urgent=urgent)
        entry.on_settled = on_settled
        self._seq += 1
        return entry

    async def _hand(self, entry: Entry) -> None:
        """Give a message to the keeper, and wait until its memory may change."""
        handed = Bell()
        waiting, entry.on_handed = handed.next(), handed.ring
        self._outstanding.admit(entry)
        self._say_changed()
        try:
            while not waiting.done():
                if self._over:
                    self._raise_closed()
                await asyncio.wait((waiting, self._changed.next()), return_when="FIRST_COMPLETED")
            if self._kept and not entry.owned:
                await self._settled_or_owned(entry)
        except BaseException:
            if self._is_at(entry) or not self._outstanding.withdraw(entry):
                self._own(entry)
            raise

    def _is_at(self, entry: Entry) -> bool:
        return self._writing and self._outstanding.first() is entry

    def _own(self, entry: Entry) -> None:
        """The module may change its memory; what of it is being written goes out as it was."""
        if not entry.owned and self._connection is not None and self._is_at(entry):
            self._connection.own_rest()
        entry.own()

    async def _settled_or_owned(self, entry: Entry) -> None:
        """Wait for the acknowledgement as long as a copy would take; then copy."""
        try:
            async with asyncio.timeout(entry.nbytes / COPY_BYTES_PER_S):
                while not entry.settled and not self._over:
                    await self._changed.wait()
        except TimeoutError:
            self._own(entry)

    def _drop_into(self, parcel: Parcel, on_settled: Callable[[], None] | None) -> None:
        """Never wait: what can't be sent in time makes room for what is newer."""
        if self._over:
            self._raise_closed()
        while self._outstanding.unwritten >= self._most_waiting + self._writing:
            dropped = self._outstanding.drop_oldest(but_first=self._writing)
            if dropped is None:
                break
            self._stats.dropped += 1
            self._lose(dropped, "dropped")
        self._clear = None
        self._outstanding.admit(self._entry(parcel, on_settled, own=True))
        self._say_changed()

    def acknowledged(self, seq: int) -> None:
        """The receiver is done with all messages up to this one."""
        for tell in self._outstanding.acknowledge(seq):
            tell()
        self._delay_s = self.timing.first_retry_s
        self._changed.ring()

    def _lose(self, entry: Entry, outcome: str) -> None:
        """It is not going to be sent. What it answers is only done with if nobody wants it."""
        if outcome != "failed":
            entry.settle()
        if self.on_lost is not None:
            self.on_lost(Lost(*identity(entry.buffers[0]), entry.nbytes, outcome))

    def _flush_burst(self) -> None:
        if self._burst is not None:
            self._burst.flush()

    def lost(self, connection: SendingConnection) -> None:
        """A connection is gone."""
        if connection is self._connection:
            self._limit_bytes = 0
            self._burst = self._clear = None
            if self._kept:
                self._stats.resent += self._outstanding.again()
            self._say_changed()

    # --- waiting -----------------------------------------------------------------------------

    def _up(self) -> bool:
        """Whether there is a connection; raises if there will be none."""
        if self._over:
            self._raise_closed()
        return self._connection is not None and bool(self._limit_bytes)

    def _raise_closed(self) -> None:
        if self._refused is not None:
            raise self._refused
        raise ConnectionClosed(f"{self.stream}: the stream has been closed here")

    async def _change(self) -> None:
        """Wait until something about this stream has changed."""
        await self._changed.wait()
        if self._over:
            self._raise_closed()

    def _say_changed(self) -> None:
        """Wake all, the keeper included."""
        self._work.ring()
        self._changed.ring()

    # --- the keeper --------------------------------------------------------------------------

    _keeper: asyncio.Task[None] | None = None

    async def _start(self) -> None:
        if self._closed:
            self._raise_closed()
        if self._group is None:
            self._group = asyncio.TaskGroup()
            await self._group.__aenter__()
            self._keeper = self._group.create_task(self._keep(), name=f"stream {self.stream}")

    async def _keep(self) -> None:
        """Keep a connection, and write on it what is outstanding, until all is closed."""
        while not self._over:
            try:
                connection = await self._dial()
            except (TimeoutError, ConnectionClosed):
                pass
            except OSError as exc:
                if exc.errno not in NOT_THERE_YET:
                    self._refused = TransportError(
                        f"{self.stream}: can't connect to {self._address}:{self._port}: "
                        f"{exc.strerror or exc}"
                    )
            else:
                try:
                    await self._write_on(connection)
                except ConnectionClosed:
                    pass
                finally:
                    self._writing = False
                await connection.wait_closed()
                self._after(connection)
            self._say_changed()
            if self._refused is None and not self._closed:
                await asyncio.sleep(self._delay_s)
                self._delay_s = min(2 * self._delay_s, self.timing.longest_retry_s)

    def _after(self, connection: SendingConnection) -> None:
        if connection.receipt:
            self._received = self._closed = True
        elif connection.refusal is not None:
            why = connection.refusal.message
            self._refused = StreamRefused(f"{self.stream}: refused: {why}")
        else:
            self._stats.reconnects += 1

    async def _dial(self) -> SendingConnection:
        """Connect, and learn what the receiver says."""
        connection = await dial(self, self._address, self._port, self._hello)
        answer = connection.answer.result()
        if isinstance(answer, Refuse):
            connection.fail(StreamRefused(answer.reason))
            return connection
        if self._drops:
            connection.keep_fresh()
        self.acknowledged(answer.done)
        self._connection = connection
        self._burst = Burst(connection)
        self._limit_bytes = answer.limit_bytes
        self._say_changed()
        return connection

    async def _write_on(self, connection: SendingConnection) -> None:
        """Write what is outstanding, and whatever comes, and at last the last word."""
        said = False
        while connection.alive:
            entry = self._outstanding.first()
            if entry is not None:
                await self._write_first(connection, entry)
            elif self._ending and not (said or self._queued):
                said = True
                self._flush_burst()
                await connection.write([LAST_WORD])
            else:
                self._look_whether_clear()
                await self._work.wait()

    async def _write_first(self, connection: SendingConnection, entry: Entry) -> None:
        self._flush_burst()
        now = self._clock()
        if entry.expires and now >= entry.expires:
            self._stats.expired += 1
            self._lose(self._outstanding.drop_first(), "expired")
        elif entry.nbytes > self._limit_bytes:  # it was taken before the limit was known
            self._stats.dropped += 1
            self._lose(self._outstanding.drop_first(), "dropped")
        else:
            self._writing = True
            entry.buffers[0] = stamped(entry.buffers[0], now)
            await connection.write(entry.buffers)
            self._writing = False
            self._outstanding.wrote_first(entry)
            self._stats.sent(entry.nbytes)
        if entry.on_handed is not None:
            entry.on_handed()
        self._say_changed()

    async def _finish(self) -> bool:
        """Say the last word until there is a receipt for it, or nobody to give one."""
        if self._over:
            return False
        await self._start()
        self._say_changed()
        while not self._over:
            there = bool(self._limit_bytes)
            try:  # who is there gets all the time it needs
                async with asyncio.timeout(None if there else self.timing.close_s):
                    while bool(self._limit_bytes) is there and not self._over:
                        await self._changed.wait()
            except TimeoutError:
                return False
        return self._received

    @property
    def _over(self) -> bool:
        return self._closed or self._refused is not None
