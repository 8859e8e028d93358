"""The sending of a short message, and what its ends count. In C: `net/_short_sending.c`.

Must not know: connections but their descriptor, values, whom a message goes to.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from net.plain.fields import Fields, encode, heard
from net.values import BYTES

SURE_REPLY = 256
"""An id of so many characters is short enough, whatever they are."""


class Tally:
    """Counts of one end of one stream; `net.stats.EdgeStats` is the rest of it.

    Attributes:
        messages: Sent, or taken by the module.
        nbytes: Of these, on the wire.
        times: Five of each that was taken, not yet added up.
        together: So many are added up together.
    """

    __slots__ = ("messages", "nbytes", "times", "together")

    messages: int
    nbytes: int
    times: list[float]
    together: int

    def took(self, message: Fields) -> None:
        """The module took a message."""
        self.messages += 1
        self.nbytes += message.size_bytes
        times = self.times
        times += message.moments()
        if len(times) >= self.together:
            self.add_up()

    def add_up(self) -> None:
        """Add up the times of those that were taken."""


class Link:
    """A connection, as whoever writes on it sees it; `net.tcp.connection.Connection` is the rest.

    Attributes:
        free: Whether what is written goes to the kernel at once: nothing is in front of it.
        joined: Whether something waits to be written together.
        last: When something was last written in few steps.
        heard: How often something had been received by then.
    """

    __slots__ = ("_fd", "free", "heard", "joined", "last")

    _fd: int
    free: bool
    heard: int
    joined: bool
    last: float

    def unsent(self, data: bytes, sent: int, error: int) -> None:
        """The kernel took no more than `sent` bytes; `error`: and won't, for this reason."""


class Debts:
    """What the receiver hasn't acknowledged; `net.delivery.Outstanding` is the rest of it.

    Attributes:
        written: seq, bytes, whom to tell once it is acknowledged, and all of it.
        nbytes: Of all that is outstanding.
        full: Whether an acknowledgement has to come before the next message.
        most_bytes: Then it is.
        most_messages: Then, too.
    """

    __slots__ = ("full", "most_bytes", "most_messages", "nbytes", "written")

    written: deque[Any]
    nbytes: int
    full: bool
    most_bytes: int
    most_messages: int


class Way:
    """The way of short messages that leave, in as few steps as may be.

    Args:
        name: What their ids begin with.
        run: First half of the ids.
        numbers: The second halves.
        clock: Seconds since 1970.
        debts: Where they are kept until they are acknowledged.
        tally: Where they are counted.
        kept: Whether they are.
        close_s: What follows the one before faster than this waits for the others.
        before: What goes before each: nothing, or a record's head, with the size in bytes 8 to 16.

    Attributes:
        link: Where they go; None: something is in front of them.
        burst: Joins what belongs together; None likewise.
        seq: Number on its stream of the last one.
        most: Values of so many bytes are too long.
    """

    __slots__ = (
        "_before", "_clock", "_close_s", "_debts", "_kept", "_name", "_numbers", "_run", "_tally",
        "burst", "link", "most", "seq",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        run: int,
        numbers: Iterator[int],
        clock: Callable[[], float],
        debts: Debts,
        tally: Tally,
        kept: bool,
        close_s: float,
        before: bytes,
    ) -> None:
        self._name, self._run, self._numbers, self._clock = name, run, numbers, clock
        self._debts, self._tally, self._kept, self._close_s = debts, tally, kept, close_s
        self._before = before
        self.link: Any = None
        self.burst: Any = None
        self.seq = self.most = 0

    def send(self, value: Any, reply_to: str | None, /) -> str | None:
        """Send bytes; their id, or None: something is in the way, nothing was done."""
        if not self._is_clear(value, reply_to):
            return None
        now, number = self._clock(), next(self._numbers)
        self._go(value, self._run, number, reply_to, now, now)
        return f"{self._name}{number}"

    def at_once(
        self, value: Any, run: int, number: int, reply_to: str | None, made: float, /
    ) -> bool:
        """The same for one that has its id already; whether it was done."""
        if not self._is_clear(value, reply_to):
            return False
        self._go(value, run, number, reply_to, made, self._clock())
        return True

    def _is_clear(self, value: Any, reply_to: str | None) -> bool:
        return (
            self.clear
            and type(value) is bytes
            and len(value) < self.most
            and (reply_to is None or len(reply_to) <= SURE_REPLY)
        )

    @property
    def clear(self) -> bool:
        """Whether nothing is in front of what is sent."""
        return self.link is not None and self.link.free and not self._debts.full

    def _go(
        self, value: bytes, run: int, number: int, reply_to: str | None, made: float, now: float
    ) -> None:
        seq = self.seq + 1
        data = encode(BYTES, 0, b"", value, reply_to, seq, run, number, made, now, now, 0.0)
        self.seq = seq
        self._tally.messages += 1
        self._tally.nbytes += len(data)
        if self._before:
            data = b"".join((self._before[:8], len(data).to_bytes(8), self._before[16:], data))
        debts, size = self._debts, len(data)
        if self._kept:
            debts.written.append((seq, size, None, data))
            debts.nbytes += size
            if debts.nbytes >= debts.most_bytes or len(debts.written) >= debts.most_messages:
                debts.full = True
        link = self.link
        last, link.last = link.last, now
        answers, link.heard = link.heard != heard[0], heard[0]
        # A clock may step back.
        if link.joined or (not answers and 0.0 <= now - last < self._close_s):
            self.burst.join(data)
        else:
            post(link, data)


def post(link: Link, data: bytes) -> None:
    """Into the kernel; the link is told what didn't go."""
    try:
        sent = os.write(link._fd, data)
    except (BlockingIOError, InterruptedError):
        link.unsent(data, 0, 0)
    except OSError as exc:
        link.unsent(data, 0, exc.errno or 0)
    else:
        if sent < len(data):
            link.unsent(data, sent, 0)
