"""Changes of directions that are to come, handed to whoever makes them at their time. Pure.

    agent ─ Part ─► Planner ─ at its time ─► in force ─ Played ─► agent, when it asks next

The agent's own loop has others to serve and is late by milliseconds; a planner has nothing else to
do. It is told some moments ahead, and what it is told holds should the agent end meanwhile.
"""

from __future__ import annotations

import heapq
import itertools
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from net.links.spec import LinkSpec
from otter_agent.errors import NetworkError
from otter_agent.links.base import Direction, Outcome

T = TypeVar("T")
_STALE = 256
KEPT = 100_000
"""Of what was played and nobody asked about: of an agent that is gone."""


@dataclass(frozen=True, slots=True)
class Later:
    """A change to come.

    Attributes:
        number: No other of the same agent's has it, nor of its former lives.
        at_s: When, by CLOCK_MONOTONIC.
        spec: What holds from then on, all layers together.
    """

    number: int
    at_s: float
    spec: LinkSpec


@dataclass(frozen=True, slots=True)
class Part:
    """What shall be of one direction.

    Attributes:
        now: From now on, in place of all that was to come; None: `later` comes on top.
        later: In the order of their times.
    """

    now: LinkSpec | None
    later: tuple[Later, ...] = ()


@dataclass(frozen=True, slots=True)
class Played:
    """A change that was to come and did, or failed.

    Attributes:
        at_s: When it was in force, by CLOCK_MONOTONIC.
    """

    number: int
    at_s: float
    error: NetworkError | None = None


class Planner(ABC):
    """Makes changes at their time. Synchronous and thread-safe, as drivers are."""

    def expect(self) -> None:
        """Changes are to come, nobody knows when: be ready to take them in. Doesn't wait for that.

        What has to be started first would make the first ones late.
        """
        return

    @property
    def ready(self) -> bool:
        """Whether it can take in changes at once."""
        return True

    @abstractmethod
    def play(
        self, mesh: str, parts: Mapping[Direction, Part]
    ) -> tuple[dict[Direction, Outcome], list[Played]]:
        """Take in what is to come of some directions of a mesh.

        What is due by then is made at once; of several that are due the last one.

        Returns:
            What came of each `now`, and all of the mesh that was played since this was last asked.
        """


class Plan:
    """What is to come, by time; of each direction it can be dropped, and told anew."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Direction, Later]] = []
        self._waiting: dict[Direction, set[int]] = {}
        self._order = itertools.count()
        self._count = 0

    @property
    def next_s(self) -> float:
        """When something is due next; infinite: never."""
        heap = self._heap
        while heap and heap[0][1] not in self._waiting.get(heap[0][2], ()):
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def specs(self) -> Iterator[LinkSpec]:
        """All that is to come, and some that was dropped."""
        return (later.spec for *_, later in self._heap)

    def add(self, direction: Direction, later: Later) -> None:
        """One more."""
        order = next(self._order)
        self._waiting.setdefault(direction, set()).add(order)
        self._count += 1
        heapq.heappush(self._heap, (later.at_s, order, direction, later))

    def drop(self, direction: Direction) -> None:
        """Nothing of a direction is to come any more."""
        self._count -= len(self._waiting.pop(direction, ()))
        if len(self._heap) > 2 * self._count + _STALE:
            self._heap = [one for one in self._heap if one[1] in self._waiting.get(one[2], ())]
            heapq.heapify(self._heap)

    def due(self, now: float, most: int = 1 << 30) -> list[tuple[Direction, Later]]:
        """Take what is due, so many at most: the last one of each direction, by time."""
        found: dict[Direction, Later] = {}
        while len(found) < most and self.next_s <= now:
            _, order, direction, later = heapq.heappop(self._heap)
            waiting = self._waiting[direction]
            waiting.discard(order)
            self._count -= 1
            if not waiting:
                del self._waiting[direction]
            found.pop(direction, None)
            found[direction] = later
        return list(found.items())


class Log(Generic[T]):
    """What was played, until its mesh's agent asks."""

    def __init__(self) -> None:
        self._of: dict[str, deque[T]] = {}

    def note(self, mesh: str, played: T) -> None:
        """One more."""
        self._of.setdefault(mesh, deque(maxlen=KEPT)).append(played)

    def take(self, mesh: str) -> list[T]:
        """All of a mesh, once."""
        return list(self._of.pop(mesh, ()))
