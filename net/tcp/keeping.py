"""What keeps the connection of a sending end: dials, writes what is outstanding, dials again.

One task does it, from the first message on until all is closed. What modules say to a sending end
is `net.tcp.sender`'s. Must not know: values, wiring.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from net.bell import Bell
from net.delivery import Outstanding
from net.entries import JOIN_BYTES, Entry
from net.errors import ConnectionClosed, StreamRefused, TransportError
from net.header import HEADER, MAX_REPLY_BYTES
from net.ids import message_id
from net.outlets import Lost
from net.sends import Sends
from net.short import Way
from net.stats import EdgeStats
from net.tcp.burst import CLOSE_S, Burst
from net.tcp.dialing import NOT_THERE_YET, SendingConnection, dial
from net.timing import Timing
from net.wire import LAST_WORD, Refuse, hello, identity, stamped


class Keeping(Sends):
    """The half of a sending end that keeps its connection; the other half is `Sender`."""

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
        self._lock = asyncio.Lock()
        self._changed, self._work = Bell(), Bell()
        self._connection: SendingConnection | None = None
        self._limit_bytes = 0
        self._refused: TransportError | None = None
        self._delay_s = self.timing.first_retry_s
        self._writing = False
        self._queued = 0
        self._burst: Burst | None = None
        self._closed = False
        self._ending = False
        self._received = False
        self._confirmed: bool | None = None
        self._group: asyncio.TaskGroup | None = None
        self._stats = EdgeStats(stream, self.transport)
        self._way = Way(
            message_id(sender, self.run, 0)[:-1], self.run, self._numbers, clock,
            self._outstanding, self._stats, self._kept, CLOSE_S, b"",
        )  # fmt: skip
        self._quickly = self._way.send
        self.at_once = self._way.at_once

    @property
    def _clear(self) -> Burst | None:
        """The burst, while nothing is in front of a message."""
        burst: Burst | None = self._way.burst
        return burst

    @_clear.setter
    def _clear(self, burst: Burst | None) -> None:
        self._way.burst = burst
        self._way.link = burst.connection if burst is not None else None

    def abort(self) -> None:
        """Cut the connection; what is not yet received may be lost. Idempotent."""
        self._closed = self._ending = True
        self._clear = None
        if self._connection is not None:
            self._connection.abort()
        self._say_changed()
        if self._keeper is not None:
            self._keeper.cancel()

    # --- what becomes of messages -------------------------------------------------------------

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

    def _left_the_queue(self) -> None:
        self._queued -= 1
        if self._ending:  # the last word waits for those who have begun
            self._work.ring()

    def _look_whether_clear(self) -> None:
        """From now on short messages go at once, if nothing is in front of them."""
        if not (self._queued or self._writing or self._ending or self._outstanding.unwritten):
            self._clear = self._burst

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
        most = answer.limit_bytes - HEADER.size - MAX_REPLY_BYTES
        self._way.most = 0 if self._deadline_s else max(0, min(JOIN_BYTES, most))
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
