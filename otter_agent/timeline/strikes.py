"""What events do to modules at a moment, and that doesn't last: restart, kill. Pure.

Unlike what holds for a while, this is done when its time is passed, and not made up for by an agent
that wasn't there then. Must not know: how it is done.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import NamedTuple

from net.links.timeline import Event


class Strike(NamedTuple):
    """One event's time has come."""

    at_s: float
    number: int


class Strikes:
    """Of all events.

    Args:
        events: In the order of the file.
        moment_s: After which.
    """

    def __init__(self, events: Sequence[Event], moment_s: float) -> None:
        self._events = events
        self._heap: list[Strike] = []
        for number, event in enumerate(events):
            if event.action:
                self._push(number, moment_s)

    @property
    def next_s(self) -> float:
        """When the next is due; infinite: never again."""
        return self._heap[0].at_s if self._heap else math.inf

    def to(self, moment_s: float) -> list[Strike]:
        """Go on to a moment; of several times of one event the last, for it is late already."""
        found = []
        while self._heap and self._heap[0].at_s <= moment_s:
            _, number = heapq.heappop(self._heap)
            begun = self._events[number].begun(moment_s)
            assert begun is not None
            found.append(Strike(begun, number))
            self._push(number, moment_s)
        return sorted(found)

    def _push(self, number: int, moment_s: float) -> None:
        following = self._events[number].begins_after(moment_s)
        if following < math.inf:
            heapq.heappush(self._heap, Strike(following, number))
