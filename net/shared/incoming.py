"""From a sender's records to messages: regions that are mapped, slots in them, pieces.

Nothing that the sender says is believed. Regions must be sealed and not too large, slots lie inside
of them, and of a message only what `net.wire.decode` has copied is interpreted: a sender that
writes to a slot later spoils values, not the decoder. Must not know: sockets, inputs.
"""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from net.errors import MessageTooLarge, RemoteWireError
from net.header import HEADER, MESSAGE_START
from net.layouts import layout, needs_check
from net.memory import ALIGN, Block, aligned
from net.messages import Message
from net.shared import memory
from net.short import Shown
from net.values import ARRAY, BYTES, JSON, TEXT
from net.wire import Head, decode

_MOST_REGIONS = 1024
_MOST_LEARNT = 256
"""Bytes of metadata."""
Place = tuple[int, int]
"""Region and offset: names a slot."""


class Incoming(Shown):
    """What one connection has brought.

    Args:
        limit_bytes: Largest message.
        memory_bytes: Most that all regions together may take.
        copies: Whether arrays are copied out of the slots, which are then free at once.
        released: Called when there is a slot to give back; in any thread.
    """

    def __init__(
        self, limit_bytes: int, memory_bytes: int, *, copies: bool, released: Callable[[], None]
    ) -> None:
        self._limit_bytes, self._memory_bytes = limit_bytes, memory_bytes
        self._copies = copies
        self._released = released
        self._regions: dict[int, mmap.mmap] = {}
        self._home, self._kind = [self._gone], np.ndarray
        self._said, self._dtype, self._shape, self._nbytes = None, None, None, 0
        self._announced = (0, 0)
        self._total = 0
        self._lender = memory.Lender(self._gone)
        self._out: dict[Place, int] = {}
        self._whole: Block | None = None
        self._filled = 0
        self.to_release: deque[Place] = deque()
        """Slots that nothing refers to any more."""
        self.bytes_to_release = 0

    def announce(self, number: int, size: int) -> None:
        """A region is to come. Raises `RemoteWireError`."""
        if number in self._regions or len(self._regions) >= _MOST_REGIONS:
            raise RemoteWireError("a region too many")
        if not 0 < size <= self._memory_bytes - self._total:
            raise RemoteWireError(f"regions of over {self._memory_bytes} bytes")
        self._announced = number, size

    def region(self, fd: int) -> None:
        """Map the region that was announced. Raises `RemoteWireError`."""
        number, size = self._announced
        self._regions[number] = memory.adopt(fd, size)
        self._total += size

    def forget(self, number: int) -> None:
        """The sender has let go of a region; views of it keep it. Raises `RemoteWireError`."""
        region = self._regions.pop(number, None)
        if region is None:
            raise RemoteWireError("an unknown region is let go of")
        self._total -= len(region)
        memory.unmap(region)

    def close(self) -> None:
        """Let go of all regions; arrays keep what they show. Nobody is told of their end."""
        self._home.clear()
        while self._regions:
            memory.unmap(self._regions.popitem()[1])

    def slot(self, number: int, at: int, length: int) -> Message:
        """The message in a slot. Raises `RemoteWireError`, `MessageTooLarge`."""
        region = self._regions.get(number)
        if region is None:
            raise RemoteWireError("a slot in an unknown region")
        if at % ALIGN or length < HEADER.size or at + length > len(region):
            raise RemoteWireError("a slot that isn't in its region")
        if length > self._limit_bytes:
            raise MessageTooLarge(length, self._limit_bytes)
        place = number, at
        if place in self._out:
            raise RemoteWireError("a slot that wasn't given back is used again")
        self._out[place] = length
        lent = self._lender.lend(region, at, length, place)
        if self._copies:
            own = aligned(length)
            own[:] = lent
            return decode(own, self._limit_bytes)
        message = decode(lent, self._limit_bytes)
        if type(message.value) is np.ndarray and message.reply_to is None:
            self._learn(lent, message.value)
        return message

    def _learn(self, lent: Block, array: NDArray[Any]) -> None:
        """How an array is described: the next one is the same, mostly.

        Not where each one's content has to be looked at: C doesn't. What is read here once more may
        be another thing by now, but whatever its sender calls so is then this: of the same size,
        and of a type that may be.
        """
        if needs_check(array.dtype) or not array.flags.c_contiguous:
            return
        start = bytes(lent[: HEADER.size])
        form, length = HEADER.unpack(start)[1:4:2]
        if form == ARRAY and length <= _MOST_LEARNT:
            self._said = bytes(lent[HEADER.size : HEADER.size + length])
            self._dtype, self._shape, self._nbytes = array.dtype, array.shape, array.nbytes

    def piece(self, whole: int, payload: memoryview) -> Message | None:
        """Another piece; the message once it is whole.

        Raises:
            RemoteWireError: It makes no sense.
            MessageTooLarge: It announces more than is allowed; nothing has been allocated.
        """
        if self._whole is None:
            if whole == payload.nbytes:
                return decode_small(bytes(payload), self._limit_bytes)
            if whole > self._limit_bytes:
                raise MessageTooLarge(whole, self._limit_bytes)
            self._whole, self._filled = aligned(whole), 0
        end = self._filled + payload.nbytes
        if whole != self._whole.nbytes or not payload.nbytes or end > whole:
            raise RemoteWireError("a piece that doesn't belong to its message")
        self._whole[self._filled : end] = np.frombuffer(payload, np.uint8)
        self._filled = end
        if end < whole:
            return None
        complete, self._whole = self._whole, None
        return decode(complete, self._limit_bytes)

    def _gone(self, place: Place) -> None:
        self.bytes_to_release += self._out.pop(place)
        self.to_release.append(place)
        self._released()

    def releases(self, most: int) -> list[Place]:
        """Slots to give back, at most so many."""
        count = min(most, len(self.to_release))
        if count == len(self.to_release):
            self.bytes_to_release = 0
        return [self.to_release.popleft() for _ in range(count)]

    @property
    def in_pieces(self) -> bool:
        """Whether a message has come in part."""
        return self._whole is not None

    @property
    def lent(self) -> int:
        """Slots that arrays here show."""
        return len(self._out)


def decode_small(data: bytes, limit_bytes: int) -> Message:
    """As `net.wire.decode`, for a message in bytes of our own: no arrays where there are none.

    Raises:
        RemoteWireError: It isn't one.
        MessageTooLarge: It is over the limit.
    """
    if len(data) < HEADER.size or data[6] not in (BYTES, TEXT, JSON):
        own = aligned(len(data))
        own[:] = np.frombuffer(data, np.uint8)
        return decode(own, limit_bytes)
    if data[:6] != MESSAGE_START:
        raise RemoteWireError("no message, or another version's")
    head = Head(data, 0, limit_bytes)
    if head.before + head.body != len(data):
        raise RemoteWireError("not all of a message, or more")
    if head.form == BYTES and head.before == HEADER.size:
        return head.message(data[HEADER.size :], None)
    said = memoryview(data)
    found = layout(head.form, head.metadata_in(said), head.body)
    parts: Any = [said[head.before :]] if found.sizes else []
    return head.message(found.value(parts), head.reply_to(said))
