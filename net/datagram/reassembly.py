"""Fragments of one session -> messages, whole or given up. Pure: `now` is passed in.

Messages leave as they get complete: none waits for another. All that is kept is bounded: messages
begun (their bytes, their number), messages missed, numbers of those that are done. What a peer
claims beyond is refused before anything is allocated, or pushes out the oldest.

    floor ─┬─ done ─┬─ begun ─┬─ gap (never seen) ─┬─ begun … highest
           all up to here are done with

Must not know: asyncio, sockets, the clock, who sends.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from net.datagram.assembly import Assembly, Bytes
from net.datagram.control import Missing
from net.datagram.counters import ReceivedCounters
from net.datagram.fragment import RETRANSMITTED, read_shape
from net.datagram.options import MAX_IN_FLIGHT
from net.errors import MessageTooLarge, RemoteWireError

_MAX_LEAP = 2**32
"""Numbers that a message may be ahead of all before it."""


@dataclass(slots=True)
class Finished:
    """A message that is done with.

    Attributes:
        number: Of the message, in its session.
        memory: All of it, flat, aligned; what is missing is zero.
        missing: Ranges of bytes; empty: it is whole.
    """

    number: int
    memory: Bytes
    missing: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Gap:
    """A message of which nothing has come though a later one has."""

    expires: float
    asked: float = -1e9


class Reassembler:
    """What has come of one session.

    Args:
        deadline_s: How long a message may take.
        partial: Whether what is not whole by then is delivered.
        limit_bytes: Largest message, and bound of all that are begun.
        counters: Where things are counted.
    """

    def __init__(
        self, deadline_s: float, partial: bool, limit_bytes: int, counters: ReceivedCounters
    ) -> None:
        self.floor = 0
        self.highest = 0
        self.given_up = 0
        self._sent = 0
        self._deadline_s, self._partial, self._limit = deadline_s, partial, limit_bytes
        self._counters = counters
        self._begun: dict[int, Assembly] = {}
        self._begun_bytes = 0
        self._gaps: dict[int, _Gap] = {}
        self._done: set[int] = set()
        self._given_up: set[int] = set()

    def add(
        self,
        number: int,
        shape_fields: tuple[int, int, int, int],
        flags: int,
        index: int,
        payload: Bytes,
        now: float,
    ) -> list[Finished]:
        """One fragment; what is finished thereby.

        Raises:
            RemoteWireError: It makes no sense.
            MessageTooLarge: It belongs to a message over the bound.
        """
        assembly = self._begun.get(number)
        if assembly is None and self._is_done(number, shape_fields, index):
            return []
        finished: list[Finished] = []
        if assembly is None:
            assembly = self._begin(number, shape_fields, now, finished)
        shape = assembly.shape
        if (shape.length, shape.size, shape.blocks, shape.parity) != shape_fields:
            raise RemoteWireError("fragments of one message that don't agree")
        if index >= shape.total or len(payload) != shape.bytes_of(index):
            raise RemoteWireError("a fragment that doesn't fit its message")
        if flags & RETRANSMITTED:
            self._counters.retransmitted += 1
            frontier = assembly.frontier
            new = assembly.add(index, payload)
            assembly.frontier = frontier  # it says nothing of what has been sent before it
        else:
            new = assembly.add(index, payload)
        if not new:
            self._counters.duplicate += 1
        if assembly.complete:
            finished.append(self._complete(number, assembly))
        return finished

    def run(self, number: int, shape_fields: tuple[int, int, int, int]) -> Assembly | None:
        """The message that a whole run of alike fragments goes to, if it is begun."""
        assembly = self._begun.get(number)
        if assembly is None:
            return None
        shape = assembly.shape
        same = (shape.length, shape.size, shape.blocks, shape.parity) == shape_fields
        return assembly if same else None

    def after_run(self, number: int, assembly: Assembly) -> list[Finished]:
        """What is finished by a run."""
        return [self._complete(number, assembly)] if assembly.complete else []

    def _is_done(self, number: int, shape_fields: tuple[int, int, int, int], index: int) -> bool:
        """Whether a message was done with before; counts what comes after that."""
        if number in self._given_up:
            self._counters.late += 1
            return True
        if number > self.floor and number not in self._done:
            return False
        length, size = shape_fields[:2]
        if size and index * size < length:  # parity that was not needed is no duplicate
            self._counters.duplicate += 1
        return True

    def _begin(
        self,
        number: int,
        shape_fields: tuple[int, int, int, int],
        now: float,
        finished: list[Finished],
    ) -> Assembly:
        shape = read_shape(*shape_fields)
        if shape.length > self._limit:
            raise MessageTooLarge(shape.length, self._limit)
        if number > self.highest + _MAX_LEAP:
            raise RemoteWireError("a message number far beyond the last")
        self._reach(number, now, finished)
        self._gaps.pop(number, None)
        assembly = Assembly(shape, now + self._deadline_s)
        if number <= self._sent:
            assembly.close()
        self._begun[number] = assembly
        self._begun_bytes += assembly.nbytes
        while self._begun_bytes > 2 * self._limit and len(self._begun) > 1:
            finished.extend(self._give_up(next(iter(self._begun))))
        return assembly

    def _reach(self, number: int, now: float, finished: list[Finished]) -> None:
        """The sender has got as far as this message: what lies before it has been sent."""
        self._sent = max(self._sent, number - 1)
        if number <= self.highest:
            return
        for earlier in range(max(self.highest, number - MAX_IN_FLIGHT) + 1, number):
            self._gaps[earlier] = _Gap(now + self._deadline_s)
        for assembly in self._begun.values():
            assembly.close()
        lowest = number - MAX_IN_FLIGHT
        if lowest > self.highest:  # those between were never heard of, and can't be listed
            lost = lowest - self.highest
            self.given_up += lost
            self._counters.lost += lost
        self.highest = number
        if lowest > self.floor:
            for old in [n for n in (*self._begun, *self._gaps) if n <= lowest]:
                finished.extend(self._give_up(old))
            self._raise_floor(lowest)

    def reach(self, last: int, now: float) -> list[Finished]:
        """The sender says that all messages up to `last` have been sent.

        Raises:
            RemoteWireError: That is far beyond what came.
        """
        if last > self.highest + _MAX_LEAP:
            raise RemoteWireError("a message number far beyond the last")
        finished: list[Finished] = []
        if last > self.highest:
            self._reach(last, now, finished)
            if last > self.floor:
                self._gaps[last] = _Gap(now + self._deadline_s)
        self._sent = max(self._sent, last)
        for number, assembly in self._begun.items():
            if number <= last:
                assembly.close()
        return finished

    def _complete(self, number: int, assembly: Assembly) -> Finished:
        self._forget(number, assembly)
        self._counters.messages += 1
        self._counters.recovered += assembly.recovered
        return Finished(number, assembly.take())

    def _give_up(self, number: int) -> list[Finished]:
        """Deliver what there is, or nothing."""
        assembly = self._begun.get(number)
        self.given_up += 1
        self._given_up.add(number)
        if assembly is None:
            self._gaps.pop(number, None)
            self._finish(number)
            self._counters.lost += 1
            return []
        self._forget(number, assembly)
        if not self._partial:
            self._counters.lost += 1
            return []
        self._counters.partial += 1
        return [Finished(number, assembly.take(), assembly.missing())]

    def _forget(self, number: int, assembly: Assembly) -> None:
        del self._begun[number]
        self._begun_bytes -= assembly.nbytes
        self._finish(number)

    def _finish(self, number: int) -> None:
        self._done.add(number)
        self._raise_floor(self.floor)

    def _raise_floor(self, least: int) -> None:
        if least > self.floor:
            self.floor = least
            self._done = {n for n in self._done if n > least}
        while self.floor + 1 in self._done:
            self.floor += 1
            self._done.discard(self.floor)
        if len(self._given_up) > MAX_IN_FLIGHT:
            self._given_up = {n for n in self._given_up if n > self.floor - MAX_IN_FLIGHT // 2}

    def expire(self, now: float) -> list[Finished]:
        """Give up what is past its deadline."""
        overdue = [n for n, a in self._begun.items() if a.expires <= now]
        overdue += [n for n, gap in self._gaps.items() if gap.expires <= now]
        return [finished for number in sorted(overdue) for finished in self._give_up(number)]

    @property
    def next_expiry(self) -> float | None:
        """When `expire` has something to do: what was begun first expires first."""
        begun = next(iter(self._begun.values()), None)
        gap = next(iter(self._gaps.values()), None)
        return min((each.expires for each in (begun, gap) if each is not None), default=None)

    @property
    def gap(self) -> bool:
        """Whether something that was sent is missing."""
        return bool(self._gaps) or any(a.gap for a in self._begun.values())

    def done_bits(self) -> bytes:
        """Which messages above the floor are done with."""
        if not self._done:
            return b""
        bits = np.zeros(max(self._done) - self.floor, np.uint8)
        bits[np.fromiter(self._done, np.int64) - self.floor - 1] = 1
        return np.packbits(bits).tobytes()

    def wanted(self, now: float, again_s: float) -> list[Missing]:
        """What to ask for, none of it asked for within `again_s`."""
        found = []
        for number in sorted((*self._begun, *self._gaps)):
            gap = self._gaps.get(number)
            if gap is None:
                found += _entries(number, self._begun[number].wanted(now, again_s))
            elif gap.asked <= now - again_s:
                gap.asked = now
                found.append(Missing(number))
        return found


_ENTRY_BITS = 8 * 512


def _entries(number: int, indices: NDArray[np.intp]) -> list[Missing]:
    """Indices as bits from the first on, cut where they get long."""
    found = []
    while len(indices):
        base = int(indices[0])
        near = indices[indices < base + _ENTRY_BITS]
        bits = np.zeros(int(near[-1]) - base + 1, np.uint8)
        bits[near - base] = 1
        found.append(Missing(number, base, np.packbits(bits).tobytes()))
        indices = indices[len(near) :]
    return found
