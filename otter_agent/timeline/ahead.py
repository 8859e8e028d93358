"""What the timeline will change of links, told them some time ahead: they make it so in time.

    Walk ─ a second ahead ─► LinkBook.plan ─► … ─► what has come, and when

The agent's loop only accounts. How much may be planned is bounded: of directions that change more
often than can be worked out, changes are passed over, in steps as long as need be. Must not know:
who makes changes at their time, epochs, what is told of them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from net.links.timeline import Course, Due, Timeline, Walk
from otter_agent.links.book import Came, Planned
from otter_agent.links.ways import Way

HORIZON_S = 1.0
"""So far ahead: longer than an agent that is killed needs to be there again, or nearly."""
REFILL_S = 0.1
"""Between two times that it is told, and asks what came."""
_FIRST_S = 0.2
"""So far ahead at first, twice as far the next time: what is due soon has no time to lose."""
_LEAD_S, _LEAD_EACH_S = 0.1, 0.005
"""Before an epoch, and more per direction: so long it takes at most to have all told that is due in
the first moments. Most of that is for virtual machines; elsewhere it is a tenth."""
_START_S = 1.0
"""More, where who makes changes is still being started: where a system call takes some µs, and all
runs on one processor."""
_SOON_S = 0.01
_LEAP_S = 0.005
"""By so much the clocks may go apart: more is a suspended machine."""
_AT_MOST_S = 0.02
"""Of working out, at a time."""
_BUSY, _LEISURE = 0.2, 0.05
"""Of the time that it plans, what working that out may take."""
_STEP_LEAST_S, _STEP_MOST_S = 0.005, 0.1
_READS = 5


class Links(Protocol):
    """The links of the mesh: `otter_agent.links.book.LinkBook`."""

    @property
    def era(self) -> int:
        """Another number when what `plans` says may be other than before."""
        ...

    def plans(self, way: Way) -> bool:
        """Whether changes of a direction can be planned."""
        ...

    @property
    def ready(self) -> bool:
        """Whether changes to come can be taken in at once."""
        ...

    def planned(self) -> set[Way]:
        """Directions of which changes are to come."""
        ...

    async def plan(self, changes: Sequence[Planned]) -> tuple[list[int], list[Came]]:
        """Have changes made at their time; what has come."""
        ...


@dataclass(frozen=True, slots=True)
class Made:
    """A change that has come, or failed.

    Attributes:
        applied_s: When it was in force, from the epoch.
        passed: Others before it that were over already.
    """

    due: Due[Way]
    applied_s: float
    passed: int
    error: str


class Ahead:
    """Of one mesh.

    Args:
        links: Plan.
    """

    def __init__(self, links: Links) -> None:
        self._links = links
        self._walk: Walk[Way] = Walk(Timeline({}), 0.0)
        self._dues: dict[int, Due[Way]] = {}
        self._offset_s = 0.0
        self._last_s = -math.inf
        self._far_s = _FIRST_S
        self._step_s = 0.0
        self._era = -1

    def begin(
        self, courses: Mapping[Way, Course], moment_s: float | None, lead_s: float = 0.0
    ) -> None:
        """Go on from a moment, with all that is planned taken back by then. Blocking.

        Args:
            courses: What becomes of each direction.
            moment_s: What holds there is known; None: from the epoch on.
            lead_s: How long it is until then.
        """
        self._walk = Walk(Timeline(courses), moment_s)
        self._last_s = -math.inf
        self._far_s = _FIRST_S + lead_s

    def plans(self, way: Way) -> bool:
        """Whether a direction's changes are told ahead."""
        return self._links.plans(way)

    def lead_s(self, ways: Iterable[Way]) -> float:
        """How long before an epoch it has to be known, for links to be told what is due then.

        Args:
            ways: That change.
        """
        count = sum(map(self.plans, ways))
        if not count:
            return 0.0
        return min(HORIZON_S, _LEAD_S + count * _LEAD_EACH_S) + _START_S * (not self._links.ready)

    def sets_out(self, position: Callable[[], float]) -> None:
        """Take note of how clocks stand to each other, and of who plans."""
        self._era = self._links.era
        self._offset_s = _offset(position)

    def is_off(self, position: Callable[[], float]) -> bool:
        """Whether all has to begin anew: clocks have gone apart, others plan than before."""
        if self._links.era != self._era:
            return True
        return bool(self._dues) and abs(_offset(position) - self._offset_s) > _LEAP_S

    @property
    def next_s(self) -> float:
        """When to go on; infinite: never again."""
        waiting = next(iter(self._dues.values())).at_s if self._dues else math.inf
        pause_s = REFILL_S if self._far_s >= HORIZON_S else _SOON_S
        return max(self._last_s + pause_s, min(self._walk.next_s - self._far_s, waiting))

    async def go(self, moment_s: float) -> list[Made]:
        """Tell what is next, at a moment; what has come since the last time."""
        self._last_s = moment_s
        due: list[Due[Way]] = []
        if self._walk.next_s <= moment_s + self._far_s:
            due = await asyncio.to_thread(self._next, moment_s, moment_s + self._far_s)
        self._far_s = min(HORIZON_S, self._far_s * 2)
        return await self._told(due)

    async def came(self) -> list[Made]:
        """What has come since the last time."""
        return await self._told([]) if self._dues else []

    def forget(self) -> None:
        """What was planned was taken back."""
        self._dues.clear()

    async def _told(self, due: Sequence[Due[Way]]) -> list[Made]:
        changes = [Planned(one.key, one.at_s + self._offset_s, one.change) for one in due]
        numbers, came = await self._links.plan(changes)
        for number, one in zip(numbers, due, strict=True):
            self._dues[number] = one
        return [made for one in came if (made := self._made(one)) is not None]

    def _made(self, came: Came) -> Made | None:
        due = self._dues.pop(came.number, None)
        if due is None:
            return None
        over = [one for number in came.passed if (one := self._dues.pop(number, None)) is not None]
        passed = len(over) + sum(one.passed for one in (due, *over))
        applied_s = max(due.at_s, came.at_s - self._offset_s)
        return Made(due, applied_s, passed, came.error)

    # --- how far, how fine -------------------------------------------------------------------

    def _next(self, moment_s: float, end: float) -> list[Due[Way]]:
        """What to plan now: each change, or the last ones of every so often."""
        begun, walk = time.perf_counter(), self._walk
        start = min(walk.next_s, end)
        found = walk.to(moment_s)  # who is behind isn't helped by each of them
        while walk.next_s <= end and time.perf_counter() - begun < _AT_MOST_S:
            found += walk.to(min(end, walk.next_s + self._step_s))
        share = (time.perf_counter() - begun) / max(min(walk.next_s, end) - start, 1e-3)
        if share > _BUSY:
            self._step_s = min(_STEP_MOST_S, max(_STEP_LEAST_S, self._step_s * 2))
        elif share < _LEISURE:
            self._step_s = self._step_s / 2 if self._step_s > _STEP_LEAST_S else 0.0
        return found


def _offset(position: Callable[[], float]) -> float:
    """CLOCK_MONOTONIC less the timeline's position, from the reading that was held up least."""
    best = math.inf, 0.0
    for _ in range(_READS):
        before = time.monotonic()
        at = position()
        after = time.monotonic()
        best = min(best, (after - before, (before + after) / 2 - at))
    return best[1]
