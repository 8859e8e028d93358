"""What a stream through shared memory still owes: `net.delivery.Outstanding` with slots. Pure.

    admit ──► unwritten ──► written ──► (acknowledged) gone
                  ▲             │ the connection is lost
                  └─────────────┘

Must not know: sockets, the event loop, the clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from net.delivery import MOST_BYTES, MOST_MESSAGES
from net.header import HEADER, MAX_REPLY_BYTES
from net.shared.records import HEAD_BYTES
from net.shared.regions import Slot
from net.short import Debts

_BEGINNING_BYTES = HEADER.size + MAX_REPLY_BYTES


@dataclass(slots=True, eq=False)
class Placed:
    """A message that a sender still has to do with.

    Attributes:
        seq: Its number on the stream.
        size: Bytes of the whole message.
        record: All of it as a record; empty if it lies in a slot.
        slot: The slot.
        expires: From when on nobody wants it; 0: never.
        on_settled: Called once it is acknowledged.
    """

    seq: int
    size: int
    record: bytes = b""
    slot: Slot | None = None
    expires: float = 0.0
    on_settled: Callable[[], None] | None = None

    @property
    def beginning(self) -> bytes:
        """The message's header and what comes first after it."""
        if self.slot is None:
            return self.record[HEAD_BYTES:]
        return self.slot.region.memory[self.slot.at : self.slot.at + _BEGINNING_BYTES]


Short = tuple[int, int, None, bytes]
"""What `net.short.Way` leaves of a message: seq, bytes of the record, and the record."""


class Unsettled(Debts):
    """A sender's messages, in order.

    Args:
        kept: Whether messages are kept until they are acknowledged.

    Attributes:
        full: Whether an acknowledgement has to come before the next message. What lies in slots
            counts as a message only: its bytes have a bound of their own.
    """

    def __init__(self, *, kept: bool) -> None:
        self._kept = kept
        self.written: deque[Placed | Short] = deque()
        self._unwritten: deque[Placed] = deque()
        self.nbytes = 0
        self.full = False
        self.most_bytes, self.most_messages = MOST_BYTES, MOST_MESSAGES

    def __len__(self) -> int:
        return len(self.written) + len(self._unwritten)

    @property
    def busy(self) -> bool:
        """Whether a message has to wait for others, or for an acknowledgement."""
        return bool(self._unwritten) or self.full

    @property
    def unwritten(self) -> int:
        """Messages that wait to be written, also again."""
        return len(self._unwritten)

    def admit(self, message: Placed) -> None:
        """A message that is to be written."""
        self._unwritten.append(message)
        self._count(len(message.record))

    def wrote_at_once(self, message: Placed) -> None:
        """A message that was written past the queue, which was empty, and is kept."""
        self.written.append(message)
        self._count(len(message.record))

    def first(self) -> Placed | None:
        """The one that is to be written next."""
        return self._unwritten[0] if self._unwritten else None

    def wrote(self, message: Placed) -> bool:
        """It has been written; whether it is done with (or was acknowledged meanwhile)."""
        if self.first() is not message:
            return True
        if not self._kept:
            self.drop_first()
            return True
        self.written.append(self._unwritten.popleft())
        return False

    def drop_first(self) -> Placed:
        """The first is not to be written any more."""
        message = self._unwritten.popleft()
        self._count(-len(message.record))
        return message

    def drop_oldest(self, *, but: Placed | None) -> Placed | None:
        """Drop the oldest that waits to be written, `but` for one that is being written."""
        if but is None or self.first() is not but:
            return self.drop_first() if self._unwritten else None
        if len(self._unwritten) < 2:
            return None
        self._unwritten.popleft()
        dropped = self.drop_first()
        self._unwritten.appendleft(but)
        return dropped

    def acknowledge(self, seq: int) -> list[Placed]:
        """All up to `seq` are acknowledged; those that are so now."""
        settled = []
        written, unwritten = self.written, self._unwritten
        while written:
            message = written[0]
            if isinstance(message, tuple):
                if message[0] > seq:
                    break
                self.nbytes -= message[1]
            elif message.seq > seq:
                break
            else:
                self.nbytes -= len(message.record)
                settled.append(message)
            written.popleft()
        while unwritten and unwritten[0].seq <= seq:
            self.nbytes -= len(unwritten[0].record)
            settled.append(unwritten.popleft())
        self._count(0)
        return settled

    def again(self) -> int:
        """The connection is lost: all that isn't acknowledged is to be written again; how many."""
        count = len(self.written)
        while self.written:
            message = self.written.pop()
            if isinstance(message, tuple):
                message = Placed(message[0], message[1] - HEAD_BYTES, message[3])
            self._unwritten.appendleft(message)
        return count

    def _count(self, nbytes: int) -> None:
        self.nbytes += nbytes
        self.full = self._kept and (
            self.nbytes >= MOST_BYTES or len(self.written) + len(self._unwritten) >= MOST_MESSAGES
        )
