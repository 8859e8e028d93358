"""The topology's events as they begin and end, told at most once a second each. Pure.

An event that happens every 10 ms is told once a second, with how often it happened meanwhile; the
longer it has gone on the more seldom, so that a day of it doesn't push all else out of the agent's
memory.
Must not know: what is changed, who is told.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from net.links.timeline import Event

LEAST_S = 1.0
_SHARE = 1 / 50
"""Of the time since an event first began, between two times that it is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One that is to be told of.

    Attributes:
        number: The event's.
        subject: Links or hosts, as they are written.
        kind: Whether it begins or has ended.
    """

    at_s: float
    number: int
    subject: str
    text: str
    kind: Literal["changed", "ended"]


class Happenings:
    """What begins and ends after a moment.

    Args:
        events: Of the topology, in the order of the file.
        moment_s: After which.
    """

    def __init__(self, events: Sequence[Event], moment_s: float) -> None:
        self._events = events
        self._heap: list[tuple[float, int]] = []
        self._told = [-math.inf] * len(events)
        self._untold = [0] * len(events)
        for number in range(len(events)):
            self._push(number, moment_s)

    @property
    def next_s(self) -> float:
        """When something begins or ends next; infinite: never again."""
        return self._heap[0][0] if self._heap else math.inf

    def to(self, moment_s: float) -> list[Happening]:
        """Go on to a moment; what happened, by time, then in the order of the file."""
        found = []
        while self._heap and self._heap[0][0] <= moment_s:
            at, number = heapq.heappop(self._heap)
            at = self._last(number, at, moment_s)
            happening = self._of(number, at)
            if happening is not None:
                found.append(happening)
            self._push(number, at)
        return found

    def _push(self, number: int, moment_s: float) -> None:
        event = self._events[number]
        following = min(event.begins_after(moment_s), event.ends_after(moment_s))
        if following < math.inf:
            heapq.heappush(self._heap, (following, number))

    def _last(self, number: int, at_s: float, moment_s: float) -> float:
        """What happened last up to a moment: who was away isn't told of each time."""
        event = self._events[number]
        begun = event.begun(moment_s)
        if event.every_s is None or begun is None or begun <= at_s:
            return at_s
        self._untold[number] += round((begun - at_s) / event.every_s)
        end = math.inf if event.for_s is None else begun + event.for_s
        return end if end <= moment_s else begun

    def _of(self, number: int, at_s: float) -> Happening | None:
        event = self._events[number]
        begins = event.begun(at_s) == at_s
        if at_s - self._told[number] < max(LEAST_S, (at_s - event.at_s) * _SHARE):
            self._untold[number] += begins
            return None
        subject, _, what = event.text.partition(": ")
        more, self._untold[number] = self._untold[number], 0
        self._told[number] = at_s
        text = what if begins else f"{what} is over"
        if more:
            text += f" (and {more} times since it was told last)"
        return Happening(
            at_s=at_s,
            number=number,
            subject=subject,
            text=text,
            kind="changed" if begins else "ended",
        )
