"""The sending of arrays that lie in shared memory already. In C: `net/_short_arrays.c`.

Filling an array of many MB leaves nothing else in the processor's caches: each step of Python's
waits for memory. So all that can be said of an array is made ready before it is filled; when it is
sent, the receiver is told first, and the books are kept while it wakes up. Must not know: regions.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from net.plain.sending import Way, post

_NUMBERS, _NUMBERS_AT = struct.Struct("!QQQddd"), 28
"""Of a message's header: seq, run, number, made, queued, sent. Source: net/header.py."""
_RECORD_BYTES = 32


class Ready:
    """An array that may be filled and sent.

    Args:
        array: It; not kept.
        address: Where it begins; its message's head goes right before that.
        head: Of the message, but for its numbers and times.
        record: Says where the message lies.
        region: In which region.
        slot: In which slot: has `write`, and knows where.
        size: Of the whole message, bytes.

    Raises:
        ValueError: It isn't at that address, or a record or a head have another length.
    """

    __slots__ = ("_address", "_dtype", "_head", "_record", "_shape", "region", "size", "slot")

    def __init__(
        self,
        array: Any,
        address: int,
        head: bytes,
        record: bytes,
        region: int,
        slot: Any,
        size: int,
    ) -> None:
        at = _address_of(array)
        if at != address or len(record) != _RECORD_BYTES or len(head) < _NUMBERS_AT + _NUMBERS.size:
            raise ValueError("that isn't ready to be sent")
        self._address, self._dtype, self._shape = address, array.dtype, array.shape
        self._head, self._record = head, record
        self.region, self.slot, self.size = region, slot, size

    def is_of(self, array: Any) -> bool:
        """Whether it is still what it was: its type, shape and place can be set by anybody."""
        return (
            array.dtype is self._dtype
            and array.shape == self._shape
            and _address_of(array) == self._address
        )

    def complete(self, *numbers: float) -> bytes:
        """Write the head before the array: seq, run, number, made, queued, sent; the record."""
        head = bytearray(self._head)
        _NUMBERS.pack_into(head, _NUMBERS_AT, *numbers)
        self.slot.write((head,))
        return self._record


def _address_of(array: Any) -> int:
    """Where a contiguous array begins; 0: it isn't."""
    if not array.flags.c_contiguous:
        return 0
    address: int = array.__array_interface__["data"][0]
    return address


class Handing:
    """The way of values that need no copy: bytes by `way`, arrays that are ready by their place.

    Args:
        way: Of short messages, over the same link; it counts them all.
        ready: Arrays that weren't sent yet, by address.
        known: Regions that the receiver has.
        forgotten: Regions that it has to be told of first.
        kind: The type of arrays.
        handed: Called after the receiver was told: slot, seq, size. It takes it from `ready`.

    Attributes:
        longest: Messages of more bytes are too long.
    """

    __slots__ = ("_forgotten", "_handed", "_kind", "_known", "_ready", "_way", "longest")

    def __init__(
        self,
        way: Way,
        ready: dict[int, Ready],
        known: set[int],
        forgotten: list[int],
        kind: type,
        handed: Callable[[Any, int, int], None],
    ) -> None:
        self._way, self._ready, self._known, self._forgotten = way, ready, known, forgotten
        self._kind, self._handed = kind, handed
        self.longest = 0

    def at_once(
        self, value: Any, run: int, number: int, reply_to: str | None, made: float, /
    ) -> bool:
        """Send what has its id already; whether it was done, or something is in the way."""
        if type(value) is not self._kind:
            return self._way.at_once(value, run, number, reply_to, made)
        if not self._ready or reply_to is not None:
            return False
        now = self._way._clock()
        ready = self._ready.get(_address_of(value))
        if ready is None or not self._is_clear(ready) or not ready.is_of(value):
            return False
        way = self._way
        record = ready.complete(way.seq + 1, run, number, made, now, now)
        way.seq += 1
        way._tally.messages += 1
        way._tally.nbytes += ready.size
        post(way.link, record)
        self._handed(ready.slot, way.seq, ready.size)
        return True

    def _is_clear(self, ready: Ready) -> bool:
        return (
            self._way.clear
            and ready.region in self._known
            and not self._forgotten
            and ready.size <= self.longest
        )
