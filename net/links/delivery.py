"""Delivery opportunities of a link, one by one, as mahimahi's link shells have them. Pure.

    trace     0    3 3    7 ┆ 0    3 3    7      ms; the last one is the length
              │    │ │    │ ┆ │    │ │    │
    packet ───┴────┴─┴────┴─┴─┴────┴─┴────┴──►   each lets 1504 bytes pass, or is lost

At each opportunity so many bytes of what waits pass, of one packet or of several; a packet that
doesn't fit is sent in part, and goes on at the next. What nobody uses is lost. A packet that comes
at the very moment of an opportunity is too late for it. A packet counts as 4 bytes more than IP
says, as there: a full one of 1500 bytes takes one opportunity whole.

Source: mahimahi 0.98, src/frontend/link_queue.cc; R. Netravali et al., "Mahimahi: Accurate
Record-and-Replay for HTTP", USENIX ATC 2015. Must not know: queues, files, clocks.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

OPPORTUNITY_BYTES = 1504
"""What passes at each: mahimahi's largest packet, of a TUN device with its header of 4 bytes."""
HEADER_BYTES = 4
"""Which each packet has beside, there."""
_ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Which opportunities a direction has.

    Attributes:
        trace: Digest of the trace, as `net.links.traces.codec` encodes it.
        zero_s: When it begins to be played, in seconds since boot.
        offset_s: Where in the trace that is.
        stretch: What its times are multiplied with.
        scale: What the bytes of each opportunity are multiplied with.
        loop: Whether it begins again after its end; else there are no more opportunities.
    """

    trace: str
    zero_s: float = 0.0
    offset_s: float = 0.0
    stretch: float = 1.0
    scale: float = 1.0
    loop: bool = True

    def problem(self) -> str:
        """Why it makes no sense; "" if it does."""
        numbers = (self.zero_s, self.offset_s, self.stretch, self.scale)
        if not self.trace or not all(map(math.isfinite, numbers)):
            return "must name a trace, and its numbers must be finite"
        if self.offset_s < 0 or self.stretch <= 0 or self.scale <= 0:
            return "must have an offset of 0 or more, and a scale above 0"
        return ""


class Schedule(NamedTuple):
    """The opportunities of a trace, in order; at least one, the last at its length or before."""

    times_s: Sequence[float]
    length_s: float

    @property
    def rate_bps(self) -> float:
        """What passes on average, as IP bytes of full packets."""
        full = (OPPORTUNITY_BYTES - HEADER_BYTES) * 8
        return len(self.times_s) * full / self.length_s


class Opportunities:
    """Walks along them.

    Args:
        schedule: Of the trace.
        delivery: How it is played.
        shift_s: From seconds since boot to the caller's clock.

    Attributes:
        next_s: The next one, on the caller's clock; infinite: there is none any more.
    """

    def __init__(self, schedule: Schedule, delivery: Delivery, shift_s: float = 0.0) -> None:
        self._times, self._length_s = schedule
        self._zero_s = delivery.zero_s + shift_s
        self._stretch = delivery.stretch
        self._loop = delivery.loop
        offset_s = delivery.offset_s
        self._offset_s = offset_s % self._length_s if delivery.loop else offset_s
        self._bytes = OPPORTUNITY_BYTES * delivery.scale
        self._cycle = self._index = 0
        self.next_s = -math.inf
        self._pass(math.nextafter(self._zero_s, -math.inf))

    def use(self) -> float:
        """How many bytes pass at the next one; then it is the one after."""
        self._index += 1
        if self._index >= len(self._times) and self._loop:
            self._cycle, self._index = self._cycle + 1, 0
        self.next_s = self._moment(self._cycle, self._index)
        return self._bytes

    def skip(self, now: float) -> None:
        """Let all pass up to and at a moment, however many they are."""
        if self.next_s <= now:
            self._pass(now)

    def _pass(self, now: float) -> None:
        inside = (now - self._zero_s) / self._stretch + self._offset_s
        inside -= _ROUNDING_S  # sums the other way round than `_moment` may be off by it
        self._cycle = max(0, math.floor(inside / self._length_s)) if self._loop else 0
        self._index = bisect_right(self._times, inside - self._cycle * self._length_s) - 1
        self.use()
        while self.next_s <= now:
            self.use()

    def _moment(self, cycle: int, index: int) -> float:
        if index >= len(self._times):
            return math.inf
        inside = cycle * self._length_s + self._times[index]
        return (inside - self._offset_s) * self._stretch + self._zero_s
