"""A medium that several directions share: which of them sends next, and when it has sent. Pure.

    Model A ─ queue ─┐
    Model B ─ queue ─┼─► medium: one packet at a time, each at its own sender's rate
    Model C ─ queue ─┘

What is shared is sending time ("air time"): a sender with half the rate needs twice the time for a
packet, and gets half the bytes of one whose share is the same. While one has nothing to send, the
others have its time. Both directions of a half-duplex cell are senders on one medium.

Source: P. Goyal, H. Vin, H. Cheng, "Start-time Fair Queueing", 1996: of those that wait, the one
with the earliest start tag sends; what two backlogged senders got differs by less than one packet
of each, over any stretch of time. Must not know: queues, delays, clocks, what a packet is.
"""

from __future__ import annotations

import heapq
import itertools
import math
from abc import ABC, abstractmethod

NEVER = math.inf


class Sender(ABC):
    """One that sends on a medium, packet by packet.

    Attributes:
        weight: Its part of the time for which several want to send, against theirs.
    """

    weight: float = 1.0

    @property
    @abstractmethod
    def waits(self) -> bool:
        """Whether it has packets to send, beside the one that it is sending."""

    @abstractmethod
    def start(self, now: float) -> float:
        """Begin to send the next packet; seconds that it takes, 0: there was none after all."""

    @abstractmethod
    def finish(self, at: float) -> None:
        """The packet has been sent."""


class Medium:
    """Shared by senders in turn.

    Attributes:
        stirred: Senders to which something happened, other than by their own doing: they may have
            to be looked at sooner or later than they said. The caller clears it.
    """

    def __init__(self) -> None:
        self.stirred: dict[Sender, None] = {}
        self._tags: dict[Sender, float] = {}
        self._order: dict[Sender, int] = {}
        self._wanting: set[Sender] = set()
        self._turns: list[tuple[float, int, Sender]] = []
        self._numbers = itertools.count()
        self._sending: Sender | None = None
        self._done_s = NEVER
        self._virtual_s = 0.0
        self._latest_s = 0.0

    def __len__(self) -> int:
        return len(self._order)

    # --- who shares it ----------------------------------------------------------------------------

    def join(self, sender: Sender, now: float) -> None:
        """Have it among those that share, from now on."""
        self.advance(now)
        self._tags[sender] = self._virtual_s
        self._order[sender] = next(self._numbers)
        if sender.waits:
            self.want(sender, now)

    def leave(self, sender: Sender, now: float) -> None:
        """Go on without it; a packet that it was just sending is its own again."""
        self.advance(now)
        del self._tags[sender], self._order[sender]
        self._wanting.discard(sender)
        self.stirred.pop(sender, None)
        if sender is self._sending:
            self._begin(now)

    # --- packets ----------------------------------------------------------------------------------

    def want(self, sender: Sender, now: float) -> None:
        """It has something to send; what happens up to now has been done."""
        if sender is self._sending or sender in self._wanting:
            return
        self._queue_up(sender)
        if self._sending is None:
            self._begin(now)

    def advance(self, now: float) -> None:
        """Do all that happens up to and at `now`."""
        while self._done_s <= now:
            sender, at = self._sending, self._done_s
            assert sender is not None
            self._latest_s = max(self._latest_s, self._tags[sender])
            sender.finish(at)
            self.stirred[sender] = None
            if sender.waits:
                self._queue_up(sender)
            self._begin(at)

    def reschedule(self, sender: Sender, done_s: float, now: float) -> None:
        """What it is sending will be done at another time than was said."""
        assert sender is self._sending
        tag = self._tags[sender] + (done_s - self._done_s) / sender.weight
        if not math.isfinite(tag):  # its rate was so low that no clock reached that far
            tag = self._virtual_s + (done_s - now) / sender.weight
        self._tags[sender] = tag
        self._done_s = done_s

    def _queue_up(self, sender: Sender) -> None:
        tag = self._tags[sender] = max(self._tags[sender], self._virtual_s)
        self._wanting.add(sender)
        heapq.heappush(self._turns, (tag, self._order[sender], sender))

    def _begin(self, now: float) -> None:
        """Let the next one send."""
        self._sending, self._done_s = None, NEVER
        while self._turns:
            tag, number, sender = heapq.heappop(self._turns)
            if sender not in self._wanting or self._order[sender] != number:
                continue  # it has left since
            self._wanting.discard(sender)
            lasts_s = sender.start(now)
            if not lasts_s:
                continue
            self._virtual_s = tag
            self._tags[sender] = tag + lasts_s / sender.weight
            self._sending, self._done_s = sender, now + lasts_s
            self.stirred[sender] = None
            return
        # While nobody sends, nobody is ahead of anyone.
        self._virtual_s = max(self._virtual_s, self._latest_s)
