"""Active queue management: CoDel and RED, as decisions about packets that wait. Pure.

Source: RFC 8289 (CoDel, its pseudocode in section 5); S. Floyd, V. Jacobson, "Random Early
Detection Gateways for Congestion Avoidance", 1993. Must not know: rates, delays, drivers.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from net.links.chance import Draw
from net.links.queue import PACKET_BYTES, Red


class Waiting(NamedTuple):
    """A packet in a queue."""

    packet: bytes
    cost: int
    """Its bytes as the link counts them."""
    since_s: float


class Queue:
    """What waits, and how many bytes that is.

    Attributes:
        bytes: Of all that waits.
    """

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, one: Waiting) -> None:
        """Let one more wait."""
        self._waiting.append(one)
        self.bytes += one.cost

    def unget(self, one: Waiting) -> None:
        """Let one wait that is the next again."""
        self._waiting.appendleft(one)
        self.bytes += one.cost

    def get(self) -> Waiting | None:
        """The one that has waited longest; None: nothing waits."""
        if not self._waiting:
            return None
        one = self._waiting.popleft()
        self.bytes -= one.cost
        return one


class Hit(NamedTuple):
    """What comes of picking the next packet."""

    next: Waiting | None
    """The one to send; None: nothing waits."""
    marks: bool
    """It was to be dropped, if it can't be marked."""
    dropped: tuple[Waiting, ...]


class Codel:
    """CoDel's state; decides when a packet's turn has come.

    Args:
        ecn: Packets are marked instead of dropped: `pick` then says so and drops none.
    """

    TARGET_S = 0.005
    INTERVAL_S = 0.1

    def __init__(self) -> None:
        self._first_above_s = 0.0
        self._drop_next_s = 0.0
        self._count = 0
        self._last_count = 0
        self._dropping = False

    def pick(self, queue: Queue, now: float, *, ecn: bool) -> Hit:
        """The next packet to send at `now`, and those that are dropped before it.

        With `ecn` a packet that is hit is handed back with `marks`; should it turn out to be one
        that can't be marked, drop it and pick again.
        """
        one, hit = self._next(queue, now)
        dropped: list[Waiting] = []
        if self._dropping:
            self._dropping = hit
            while self._dropping and now >= self._drop_next_s:
                self._count += 1
                self._drop_next_s = self._after(self._drop_next_s)
                if ecn or one is None:
                    return Hit(one, one is not None, tuple(dropped))
                dropped.append(one)
                one, self._dropping = self._next(queue, now)
        elif hit and one is not None:
            self._begin(now)
            if ecn:
                return Hit(one, True, ())
            dropped.append(one)
            one, _ = self._next(queue, now)
        return Hit(one, False, tuple(dropped))

    def _begin(self, now: float) -> None:
        self._dropping = True
        recent = self._count - self._last_count
        again = recent > 1 and now - self._drop_next_s < 16 * self.INTERVAL_S
        self._count = recent if again else 1
        self._drop_next_s = self._after(now)
        self._last_count = self._count

    def _after(self, moment: float) -> float:
        return moment + self.INTERVAL_S / math.sqrt(self._count)

    def _next(self, queue: Queue, now: float) -> tuple[Waiting | None, bool]:
        """The next one, and whether the queue has been too long for long enough."""
        one = queue.get()
        if one is None or now - one.since_s < self.TARGET_S or queue.bytes <= PACKET_BYTES:
            self._first_above_s = 0.0
            return one, False
        if not self._first_above_s:
            self._first_above_s = now + self.INTERVAL_S
            return one, False
        return one, now >= self._first_above_s


class RedState:
    """RED's state; decides about packets as they come."""

    def __init__(self, red: Red, draw: Draw) -> None:
        self._red = red
        self._draw = draw
        self._average = 0.0
        self._count = -1
        self._empty_since_s: float | None = None

    def emptied(self, now: float) -> None:
        """Nothing is being sent any more."""
        self._empty_since_s = now

    def hits(self, waiting_bytes: int, rate_bps: float, now: float) -> bool:
        """Whether a packet that comes now is dropped (or marked)."""
        red, weight = self._red, 0.5**self._red.weight_log2
        if self._empty_since_s is not None:
            idle_s = max(0.0, now - self._empty_since_s)
            self._average *= (1 - weight) ** (idle_s * rate_bps / (8 * red.average_bytes))
            self._empty_since_s = None
        self._average += weight * (waiting_bytes - self._average)
        if self._average < red.min_bytes:
            self._count = -1
            return False
        if self._average >= red.max_bytes:
            self._count = 0
            return True
        self._count += 1
        share = (self._average - red.min_bytes) / (red.max_bytes - red.min_bytes) * red.ratio
        left = 1 - self._count * share
        if left <= 0 or self._draw() * left < share:
            self._count = 0
            return True
        return False
