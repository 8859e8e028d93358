"""The sender's shared memory: regions made as they are needed, and who still needs which slot.

A slot is free again when nobody holds it: not the array that `empty` gave, not the stream that may
have to send its message again, not the receiver. After a cut the regions are retired: arrays that
the receiver still has may show them for as long as it likes, so nothing new is ever put there. Must
not know: sockets, messages.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from net.shared import memory
from net.shared.slots import GRAIN, Slots, rounded
from net.short import Ready, copy_in

REGION_BYTES = 64 * 2**20
"""One region, unless a message needs a larger one. Pages count once they are written to."""
MEMORY_BYTES = 256 * 2**20
"""Default bound of all regions of a stream: 16 messages of 16 MiB, the default queue."""
HEAD_ROOM = GRAIN
"""Before an array of `empty`: the message's header and metadata go there."""


@dataclass(slots=True, eq=False)
class Region:
    """One memfd, mapped to write."""

    number: int
    fd: int
    mapped: mmap.mmap | None
    slots: Slots
    huge: memory.HugePages
    retired: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return self.slots.size

    @property
    def memory(self) -> mmap.mmap:
        """Its memory, until it is let go of."""
        assert self.mapped is not None
        return self.mapped

    def close(self) -> None:
        """Let go of it; an array that is still there keeps the memory for itself."""
        os.close(self.fd)
        memory.unmap(self.memory)
        self.mapped = None


@dataclass(slots=True, eq=False)
class Slot:
    """A part of a region.

    Attributes:
        region: Of which.
        start: Where it begins.
        nbytes: How long it is.
        at: Where the message in it begins.
        seq: The message's number; 0: it wasn't sent yet.
        holds: How many still need it.
        address: Of the array that `empty` gave.
    """

    region: Region
    start: int
    nbytes: int
    at: int = 0
    seq: int = 0
    holds: int = 1
    address: int = 0
    array: weakref.ref[NDArray[Any]] | None = field(default=None, repr=False)
    """What `empty` gave of it."""

    @property
    def place(self) -> tuple[int, int]:
        """Names it in records."""
        return self.region.number, self.at

    def write(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Put the message's buffers there, one after the other."""
        at = self.at
        for buffer in buffers:
            at = copy_in(self.region.memory, at, buffer)


class Regions:
    """All regions of one sender.

    Args:
        bound_bytes: Most that all of them take together.
        freed: Called, in any thread, when an array of `empty` is gone.
    """

    def __init__(
        self, bound_bytes: int = MEMORY_BYTES, freed: Callable[[], None] | None = None
    ) -> None:
        self.bound_bytes = bound_bytes
        self._freed = freed
        self._regions: dict[int, Region] = {}
        self._made = 0
        self._lender = memory.Lender(self._gone)
        self._dropped: deque[Slot] = deque()
        self._filled_in_place: dict[int, Slot] = {}
        self.ready: dict[int, Ready] = {}
        """Of these, what can be said in few steps of those that are sent; by address, too."""
        self.forgotten: list[int] = []
        """Numbers of regions that were let go of; whoever tells the receiver empties it."""

    def take(self, nbytes: int) -> Slot | None:
        """A slot with one hold; None: there is no room now.

        Raises:
            OSError: The machine has no memory left, or no descriptor.
        """
        self.settle()
        for region in self._regions.values():
            if not region.retired and (slot := _slot_in(region, nbytes)) is not None:
                return slot
        region_of_its_own = self._make(nbytes)
        return None if region_of_its_own is None else _slot_in(region_of_its_own, nbytes)

    def _make(self, nbytes: int) -> Region | None:
        size = max(rounded(nbytes), min(REGION_BYTES, self.bound_bytes))
        if size > self.bound_bytes:
            return None
        if self.total_bytes + size > self.bound_bytes:
            for region in [r for r in self._regions.values() if r.slots.empty]:
                self._let_go(region)
        left = self.bound_bytes - self.total_bytes
        if left < rounded(nbytes):
            return None
        fd, mapped = memory.create(min(size, left - left % GRAIN))
        self._made += 1
        region = Region(self._made, fd, mapped, Slots(len(mapped)), memory.HugePages(mapped))
        self._regions[region.number] = region
        return region

    def drop(self, slot: Slot) -> None:
        """One who held it doesn't any more."""
        slot.holds -= 1
        if slot.holds == 0:
            region = slot.region
            region.slots.give(slot.start)
            if region.retired and region.slots.empty:
                self._let_go(region)

    def retire(self) -> None:
        """Put nothing new into what there is."""
        self.settle()
        for region in list(self._regions.values()):
            region.retired = True
            if region.slots.empty:
                self._let_go(region)

    def close(self) -> None:
        """Let go of all; arrays that are still there keep their memory."""
        for region in list(self._regions.values()):
            self._let_go(region)
        self._filled_in_place.clear()
        self.ready.clear()

    def _let_go(self, region: Region) -> None:
        if self._regions.pop(region.number, None) is not None:
            region.close()
            self.forgotten.append(region.number)

    @property
    def total_bytes(self) -> int:
        """Of all regions there are."""
        return sum(region.size for region in self._regions.values())

    # arrays that are filled in place

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any] | None:
        """An array in a slot of its own; None: there is no room now."""
        nbytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
        slot = self.take(HEAD_ROOM + nbytes)
        if slot is None:
            return None
        start = slot.start + HEAD_ROOM
        flat = self._lender.lend(slot.region.memory, start, nbytes, slot)
        array = flat.view(dtype).reshape(shape)
        slot.array = weakref.ref(array)
        slot.address = memory.address(slot.region.memory, start)
        self._filled_in_place[slot.address] = slot
        return array

    def filled_in_place(self, buffer: memoryview, head_bytes: int) -> Slot | None:
        """The slot in which this very array lies, if it was never sent; the caller gets a hold.

        Args:
            buffer: All the memory of the array.
            head_bytes: What has to go before it.
        """
        slot = self.to_fill(buffer, head_bytes)
        if slot is not None:
            self.leaves(slot)
        return slot

    def to_fill(self, buffer: memoryview, head_bytes: int) -> Slot | None:
        """The same, before it is sent: where the message will begin is known from now on."""
        if not self._filled_in_place or head_bytes > HEAD_ROOM:
            return None
        slot = self._filled_in_place.get(memory.address(buffer))
        if slot is None or buffer.nbytes > slot.nbytes - HEAD_ROOM:
            return None
        slot.at = slot.start + HEAD_ROOM - head_bytes
        return slot

    def leaves(self, slot: Slot) -> None:
        """What was filled in place is the receiver's from now on; the caller gets a hold."""
        self._no_more_to_fill(slot)
        slot.holds += 1
        array = slot.array() if slot.array is not None else None
        if array is not None:
            array.flags.writeable = False

    def _no_more_to_fill(self, slot: Slot) -> None:
        del self._filled_in_place[slot.address]
        self.ready.pop(slot.address, None)

    def _gone(self, slot: Slot) -> None:
        self._dropped.append(slot)
        if self._freed is not None:
            self._freed()

    def settle(self) -> None:
        """Take note of arrays that are gone: they may go in any thread, at any time."""
        while self._dropped:
            slot = self._dropped.popleft()
            if self._filled_in_place.get(slot.address) is slot:
                self._no_more_to_fill(slot)
            self.drop(slot)


def _slot_in(region: Region, nbytes: int) -> Slot | None:
    start = region.slots.take(nbytes)
    if start is None:
        return None
    region.huge.want(region.memory, start, nbytes)
    return Slot(region, start, nbytes, at=start)
