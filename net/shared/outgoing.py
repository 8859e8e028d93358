"""Where a sender's messages lie until nobody needs them: in slots, or in bytes of our own.

    parcel ──► filled in place │ copied into a slot │ bytes (small, or no room that would come)
    slot: held by the stream until it is acknowledged, and by the receiver until it is given back

Must not know: sockets, the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numpy.typing import NDArray

from net.errors import LocalWireError, RemoteWireError
from net.messages import Parcel
from net.shared import records
from net.shared.regions import Regions, Slot
from net.shared.unsettled import Placed
from net.short import Ready, Way
from net.values import Buffer, pack
from net.wire import encode

INLINE_BYTES = 32 * 1024
"""Messages up to this size go in one piece through the socket: a slot costs more than the copy."""


class Outgoing:
    """The messages of one sender.

    Args:
        regions: Its shared memory.
        clock: Seconds since 1970.
        way: Of short ones, which counts them all.
    """

    def __init__(self, regions: Regions, clock: Callable[[], float], way: Way) -> None:
        self.regions, self.way = regions, way
        self._clock = clock
        self._lent: dict[tuple[int, int], Slot] = {}
        self.taken = 0
        """The last number that the receiver's module has taken."""

    def place(
        self,
        parcel: Parcel,
        on_settled: Callable[[], None] | None,
        limit_bytes: int,
        *,
        wait: bool = True,
    ) -> Placed | None:
        """Put a message where it can be sent from; None: there will be room soon.

        Raises:
            MessageTooLarge: It is over the limit.
        """
        buffers = self._encoded(parcel, limit_bytes)
        size = sum(map(len, buffers))
        slot = None
        if parcel.packed.nbytes >= INLINE_BYTES:
            slot = self._filled_in_place(buffers) or self._copied_in(buffers, size)
            if slot is None and wait and size <= self.regions.bound_bytes and self._room_soon():
                return None
        self.way.seq += 1
        if slot is None:
            return self._in_bytes(parcel, buffers, size, on_settled)
        slot.seq = self.way.seq
        return Placed(slot.seq, size, b"", slot, parcel.expires, on_settled)

    def in_bytes(
        self, parcel: Parcel, on_settled: Callable[[], None] | None, limit_bytes: int
    ) -> Placed:
        """A message as one record, too long for one though it may be.

        Raises:
            MessageTooLarge: It is over the limit.
        """
        buffers = self._encoded(parcel, limit_bytes)
        self.way.seq += 1
        size = len(buffers[0]) if len(buffers) == 1 else sum(map(len, buffers))
        return self._in_bytes(parcel, buffers, size, on_settled)

    def _in_bytes(
        self,
        parcel: Parcel,
        buffers: list[Buffer],
        size: int,
        on_settled: Callable[[], None] | None,
    ) -> Placed:
        record = b"".join((records.head(records.PIECE, size), *buffers))
        return Placed(self.way.seq, size, record, None, parcel.expires, on_settled)

    def _encoded(self, parcel: Parcel, limit_bytes: int) -> list[Buffer]:
        now = self._clock()
        return encode(parcel, seq=self.way.seq + 1, queued=now, sent=now, limit_bytes=limit_bytes)

    def _filled_in_place(self, buffers: list[Buffer]) -> Slot | None:
        """The slot of an array of `empty`, with the message's head before it."""
        if len(buffers) != 2 or not isinstance(buffers[1], memoryview):
            return None
        slot = self.regions.filled_in_place(buffers[1], len(buffers[0]))
        if slot is not None:
            slot.write(buffers[:1])
        return slot

    def make_ready(self, array: NDArray[Any]) -> None:
        """Say what can be said of an array of `empty` before it is filled: little is left then."""
        with suppress(LocalWireError, ValueError):  # it can't be sent, or not in few steps
            parcel = Parcel(pack(array), 0, 0)
            buffers = encode(parcel, seq=1, queued=0.0, sent=0.0)
            if parcel.packed.nbytes >= INLINE_BYTES and isinstance(buffers[-1], memoryview):
                self._make_ready(array, bytes(buffers[0]), buffers[-1])

    def _make_ready(self, array: NDArray[Any], head: bytes, body: memoryview) -> None:
        slot, size = self.regions.to_fill(body, len(head)), len(head) + len(body)
        if slot is not None:
            record = records.head(records.SLOT, *slot.place, size)
            self.regions.ready[slot.address] = Ready(
                array, slot.address, head, record, slot.region.number, slot, size
            )

    def left(self, slot: Slot, seq: int, size: int) -> Placed:
        """The receiver has been told of an array that was `ready`."""
        slot.seq = seq
        self.regions.leaves(slot)
        self.lend(slot)
        return Placed(seq, size, b"", slot)

    def _copied_in(self, buffers: list[Buffer], size: int) -> Slot | None:
        try:
            slot = self.regions.take(size)
        except OSError:  # the machine's memory, or our descriptors, are used up
            return None
        if slot is not None:
            slot.write(buffers)
        return slot

    def _room_soon(self) -> bool:
        """Whether a slot is going to be free without anything else being sent.

        One whose message the receiver's module has taken may stay taken until the next comes.
        """
        return any(slot.seq > self.taken for slot in self._lent.values())

    # --- who holds what ----------------------------------------------------------------------

    def lend(self, slot: Slot) -> None:
        """The receiver is told of a slot."""
        slot.holds += 1
        self._lent[slot.place] = slot

    def given_back(self, place: tuple[int, int]) -> None:
        """The receiver doesn't look at a slot any more. Raises `RemoteWireError`."""
        slot = self._lent.pop(place, None)
        if slot is None:
            raise RemoteWireError("a slot is given back that wasn't lent")
        self.regions.drop(slot)

    def settle(self, message: Placed) -> None:
        """A message is never sent again."""
        slot, message.slot = message.slot, None
        if slot is not None:
            self.regions.drop(slot)
        tell, message.on_settled = message.on_settled, None
        if tell is not None:
            tell()

    def cut_off(self) -> None:
        """The receiver is gone, or its arrays may live on: nothing new goes where they look."""
        self.regions.retire()
        for slot in self._lent.values():
            self.regions.drop(slot)
        self._lent.clear()
        self.taken = 0

    def close(self) -> None:
        """Let go of all memory."""
        self.regions.close()
        self._lent.clear()

    @property
    def lent(self) -> int:
        """Slots that the receiver may look at."""
        return len(self._lent)
