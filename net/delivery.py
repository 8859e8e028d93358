"""What a stream still owes: messages that are sent until acknowledged, and who did. Pure.

    sender    admit ──► unwritten ──► written ──► (acknowledged) gone
                           ▲             │ the connection is lost
                           └─────────────┘
    receiver  arrives: new? ──► queue ──► taken ──► done ──► the next acknowledgement

`at-most-once`: gone once written. `at-least-once`, `exactly-once`: gone once acknowledged.
Must not know: asyncio, sockets, the clock, what messages hold.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from net.entries import Entry
from net.short import Debts, Seen

DELIVERIES = ("at-most-once", "at-least-once", "exactly-once")
POLICIES = ("block", "drop-oldest", "latest")
MOST_MESSAGES = 1024
"""Messages that a sender keeps until they are acknowledged."""
MOST_BYTES = 64 * 2**20
"""Bytes of them; a single message may be larger."""


Written = tuple[int, int, Callable[[], None] | None, bytes | Entry]
"""seq, bytes, whom to tell once it is acknowledged, and all of it: an entry only where need be."""


class Outstanding(Debts):
    """A sender's messages, in order.

    Args:
        kept: Whether messages are kept until they are acknowledged.

    Attributes:
        full: Whether an acknowledgement has to come before the next message.
        acknowledged: Up to this number all are.
    """

    def __init__(self, *, kept: bool) -> None:
        self._kept = kept
        self.full = False
        self.written: deque[Written] = deque()
        self._unwritten: deque[Entry] = deque()
        self.nbytes = 0
        self.most_bytes, self.most_messages = MOST_BYTES, MOST_MESSAGES
        self.acknowledged = 0

    def __len__(self) -> int:
        return len(self.written) + len(self._unwritten)

    @property
    def unwritten(self) -> int:
        """Messages that wait to be written, also again."""
        return len(self._unwritten)

    def _count(self, nbytes: int) -> None:
        """So many bytes more, or less, are outstanding."""
        self.nbytes += nbytes
        self.full = self._kept and (
            self.nbytes >= MOST_BYTES or len(self.written) + len(self._unwritten) >= MOST_MESSAGES
        )

    def admit(self, entry: Entry) -> None:
        """A message that is to be written."""
        self._unwritten.append(entry)
        self._count(entry.nbytes)

    def wrote_at_once(
        self, seq: int, data: bytes, on_settled: Callable[[], None] | None = None
    ) -> None:
        """A message that was written past the queue, which was empty."""
        if self._kept:
            written = self.written
            written.append((seq, len(data), on_settled, data))
            self.nbytes += len(data)
            if self.nbytes >= MOST_BYTES or len(written) >= MOST_MESSAGES:
                self.full = True

    def wrote(self, entry: Entry) -> None:
        """The same for one that is an entry already."""
        if self._kept:
            self.written.append((entry.seq, entry.nbytes, entry.on_settled, entry))
            self._count(entry.nbytes)

    def first(self) -> Entry | None:
        """The one that is to be written next."""
        return self._unwritten[0] if self._unwritten else None

    def wrote_first(self, entry: Entry) -> None:
        """The first has been written; it may have been acknowledged since."""
        if self.first() is not entry:
            return
        self._unwritten.popleft()
        self._count(-entry.nbytes)
        self.wrote(entry)

    def drop_first(self) -> Entry:
        """The first is not to be written: nobody wants it."""
        entry = self._unwritten.popleft()
        self._count(-entry.nbytes)
        return entry

    def drop_oldest(self, *, but_first: bool) -> Entry | None:
        """Drop the oldest that is not being written."""
        if but_first and len(self._unwritten) < 2:
            return None
        first = self._unwritten.popleft() if but_first else None
        entry = self.drop_first() if self._unwritten else None
        if first is not None:
            self._unwritten.appendleft(first)
        return entry

    def withdraw(self, entry: Entry) -> bool:
        """Take an unwritten one back; False: it isn't there any more."""
        try:
            self._unwritten.remove(entry)
        except ValueError:
            return False
        self._count(-entry.nbytes)
        return True

    def acknowledge(self, seq: int) -> list[Callable[[], None]]:
        """All up to `seq` are acknowledged; whom to tell."""
        self.acknowledged = max(self.acknowledged, seq)
        tell: list[Callable[[], None]] = []
        written = self.written
        while written and written[0][0] <= seq:
            _, nbytes, on_settled, message = written.popleft()
            self.nbytes -= nbytes
            if on_settled is not None:
                tell.append(on_settled)
            if isinstance(message, Entry):
                message.settled = True
        while self._unwritten and self._unwritten[0].seq <= seq:
            entry = self._unwritten.popleft()
            self.nbytes -= entry.nbytes
            entry.settled = True
            if entry.on_settled is not None:
                tell.append(entry.on_settled)
        self._count(0)
        return tell

    def again(self) -> int:
        """The connection is lost: all that isn't acknowledged is to be written again; how many."""
        count = len(self.written)
        while self.written:
            seq, nbytes, on_settled, message = self.written.pop()
            if not isinstance(message, Entry):
                message = Entry(seq, [message], nbytes, on_settled=on_settled)
            self._unwritten.appendleft(message)
        return count


class Progress(Seen):
    """What a receiver has seen of one stream, over all its connections.

    Attributes:
        run: The sender's life that it is about.
        received: Number of the last message that came.
        done: All up to this number are done with.
        open: What has come and isn't done with.
        ahead: Of these, what is done with while something before it isn't.
    """

    def __init__(self, run: int = 0) -> None:
        self.run = run
        self.received = 0
        self.done = 0
        self.open = deque()
        self.ahead = set()

    def is_new(self, seq: int) -> bool:
        """Whether a message that arrives has not come before. Numbers may be left out."""
        if seq <= self.received:
            return False
        if self.received == 0:
            self.done = seq - 1  # what went before was acknowledged by a former life of ours
        self.received = seq
        self.open.append(seq)
        return True

    def finish(self, seq: int) -> bool:
        """The module is done with a message; whether there is more to acknowledge now."""
        waiting = self.open
        if not waiting or seq < waiting[0]:
            return False
        self.ahead.add(seq)
        before = self.done
        while waiting and waiting[0] in self.ahead:
            self.done = waiting.popleft()
            self.ahead.remove(self.done)
        return self.done > before

    @property
    def idle(self) -> bool:
        """Whether all that came is done with."""
        return not self.open
