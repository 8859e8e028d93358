"""The sending end of a stream over TCP: connects, writes, and sends again what wasn't acknowledged.

The task of `net.tcp.keeping` keeps the connection. `deliver` hands a message to it, or, if nothing
is in the way, straight to the kernel. Must not know: modules, files, wiring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from net.bell import Bell
from net.entries import JOIN_BYTES, Entry, entry_of
from net.errors import ConnectionClosed, WouldWait
from net.ids import message_id
from net.messages import Parcel
from net.stats import EdgeStats
from net.tcp.burst import Burst
from net.tcp.keeping import Keeping
from net.values import pack
from net.wire import MAX_MESSAGE_BYTES, encode

COPY_BYTES_PER_S = 4e9
"""What copying a message costs: as long as that, its acknowledgement is waited for instead."""


class Sender(Keeping):
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

    def stats(self) -> EdgeStats:
        """Counters of this end."""
        self._stats.waiting = len(self._outstanding)
        return self._stats

    # --- handing over ------------------------------------------------------------------------

    def _at_once(self, burst: Burst, parcel: Parcel, on_settled: Callable[[], None] | None) -> None:
        """The short way: nothing is in front of it, and the kernel takes it, mostly."""
        now = self._clock()
        buffers = encode(
            parcel, seq=self._way.seq + 1, queued=now, sent=now, limit_bytes=self._limit_bytes
        )
        self._way.seq += 1
        data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
        assert isinstance(data, bytes)
        self._outstanding.wrote_at_once(self._way.seq, data, on_settled)
        self._stats.messages += 1
        self._stats.nbytes += len(data)
        burst.add(data, now)

    def _entry(
        self, parcel: Parcel, on_settled: Callable[[], None] | None, *, own: bool = False
    ) -> Entry:
        limit = self._limit_bytes or MAX_MESSAGE_BYTES
        urgent = self._kept and not own
        entry = entry_of(parcel, self._way.seq + 1, self._clock(), limit, own=own, urgent=urgent)
        entry.on_settled = on_settled
        self._way.seq += 1
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
