"""Events and traces -> what is changed of a direction at any moment of a run. Pure.

    topology's LinkSpec ◄─ trace ◄─ events in the order of their beginnings ─► Change

What holds at a moment follows from the moment alone: an agent that was killed goes on where it
would be now. Of events that begin at one moment the later one in the file wins, and what ends at
a moment has ended before anything begins at it. Nothing is unrolled: `every` and loops are worked
out moment by moment. Must not know: clocks, drivers, agents, files.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from net.links.changes import Change
from net.links.delivery import Delivery
from net.links.limits import Limits
from net.links.spec import LinkSpec
from net.links.traces.trace import OneByOne, Played, Scarcity

RAMP_STEP_S = 0.05
"""A ramp's values are set so often: finer than what a stream of messages sees of it."""
RAMPED = ("delay_s", "jitter_s", "loss_ratio", "rate_bps", "cpu")
"""What a ramp leads to step by step; all else can only leap."""
_FROM_SOMETHING = ("rate_bps", "cpu")
"""Of these, what has no beginning where nothing was asked: unlimited."""
_MOST_STEPS = 10_000
"""Of looking for what comes next: a loop may say the same for ever."""
_MOST_LOOKS = 300_000
"""… at events, in all steps together: about a second."""
_MOST_PASSED = 64
"""Changes of one direction that are passed over one by one, …"""
_MOST_PASSED_LOOKS = 4000
"""… with so many looks at its events: some milliseconds."""
_DEEPEST = 8
"""Ramps that begin while another one is under way, counted back; older ones count as done."""

_NOTHING = Change()

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens to a direction, once or over and over.

    Attributes:
        number: Its place in the file.
        at_s: When it first begins, from the epoch; infinite: nobody knows yet.
        change: What it sets.
        reset: Whether what earlier events have set ends with it.
        for_s: How long it holds; None: until something else is said.
        every_s: After which it begins again; None: it happens once.
        ramp_s: For how long its values are led to what `change` says.
        action: What is done to modules at each beginning, beside that; "": nothing.
        text: As people read it.
    """

    number: int
    at_s: float
    change: Change = field(default_factory=Change)
    reset: bool = False
    for_s: float | None = None
    every_s: float | None = None
    ramp_s: float = 0.0
    action: str = ""
    text: str = ""

    def problem(self) -> tuple[str, str] | None:
        """The field that makes no sense and why; None: all is well."""
        if not 0 <= self.at_s <= 1e9:
            return "at_s", "must be a time from the epoch on"
        if not self.change and not self.reset and not self.action:
            return "change", "must set or reset something"
        if self.for_s is not None and not 1e-3 <= self.for_s <= 1e9:
            return "for_s", "must be at least 1ms"
        if self.every_s is not None and not 1e-3 <= self.every_s <= 1e9:
            return "every_s", "must be at least 1ms"
        if self.for_s is not None and not self.change:
            why = "a reset lasts" if not self.action else f"nothing of `{self.action}` lasts"
            return "for_s", f"goes only with `set`: {why}"
        if not 0 <= self.ramp_s <= min(self.for_s or 1e9, self.every_s or 1e9):
            return "ramp_s", "must be no longer than `for` and `every`"
        if self.ramp_s and any(
            name not in RAMPED or value is None for name, value in self.change.asked().items()
        ):
            return "ramp_s", "goes only with delay, jitter, loss, rate and cpu"
        return None

    def begun(self, moment_s: float, *, before: bool = False) -> float | None:
        """When its last beginning was, up to a moment (with `before`: without it); None: none."""
        if moment_s < self.at_s or (before and moment_s == self.at_s):
            return None
        if self.every_s is None:
            return self.at_s
        count = max(0, math.floor((moment_s - self.at_s) / self.every_s))
        while self._beginning(count + 1) <= moment_s:  # the last bit of the division
            count += 1
        while count and (
            self._beginning(count) > moment_s or (before and self._beginning(count) == moment_s)
        ):
            count -= 1
        return self._beginning(count)

    def begins_after(self, moment_s: float) -> float:
        """Its first beginning after a moment; infinite: there is none."""
        if moment_s < self.at_s:
            return self.at_s
        if self.every_s is None:
            return math.inf
        count = math.floor((moment_s - self.at_s) / self.every_s)
        while self._beginning(count) <= moment_s:
            count += 1
        while count and self._beginning(count - 1) > moment_s:
            count -= 1
        return self._beginning(count)

    def ends_after(self, moment_s: float) -> float:
        """When what holds at a moment ends by itself; infinite: never, or it doesn't hold."""
        begun = self.begun(moment_s)
        if begun is None or self.for_s is None:
            return math.inf
        end = begun + self.for_s
        return end if moment_s < end and self.begins_after(moment_s) > end else math.inf

    def _beginning(self, count: int) -> float:
        return self.at_s + count * (self.every_s or 0.0)


@dataclass(frozen=True, slots=True)
class _Active:
    """An event that holds, since when."""

    since_s: float
    event: Event

    @property
    def order(self) -> tuple[float, int]:
        return self.since_s, self.event.number


_Known = dict[tuple[float, int], Change]
"""Beginning and number of a ramp -> what held before it."""


class Course:
    """What becomes of one direction.

    Args:
        base: What the topology asks of it.
        events: Of this direction, in the order of the file.
        played: Its trace; None: it has none.
        one_by_one: The opportunities of that, if it has such.
    """

    def __init__(
        self,
        base: LinkSpec | Limits,
        events: Sequence[Event] = (),
        played: Played | Scarcity | None = None,
        one_by_one: OneByOne | None = None,
    ) -> None:
        self._base = base
        self._events = tuple(events)
        self._played: Played | Scarcity | OneByOne | None = played
        self._one_by_one = one_by_one

    def clocked(self, zero_s: float) -> Course:
        """The same for a driver that keeps time: opportunities of a trace are handed over at once.

        Args:
            zero_s: When moment 0 is, in seconds since boot.
        """
        if self._one_by_one is None:
            return self
        course = Course(self._base, self._events)
        course._played = self._one_by_one.at(zero_s)
        return course

    @property
    def events(self) -> int:
        """How many there are."""
        return len(self._events)

    @property
    def turns(self) -> bool:
        """Whether it takes its direction down, or up again."""
        played = isinstance(self._played, Played) and "up" in self._played.fields
        return played or any("up" in event.change.values for event in self._events)

    def change(self, moment_s: float) -> Change:
        """What is other than the topology asks, at a moment from the epoch."""
        return self._fold(moment_s, self._active(moment_s), {}, 0)

    def next_change(self, moment_s: float) -> float:
        """The first moment after this one at which something may change; infinite: never."""
        found = math.inf if self._played is None else self._played.next_change(moment_s)
        for event in self._events:
            found = min(found, event.begins_after(moment_s), event.ends_after(moment_s))
            if event.ramp_s:
                found = min(found, _ramp_step(event, moment_s))
        return found

    def _active(self, moment_s: float, before: tuple[float, int] | None = None) -> list[_Active]:
        """What holds, oldest first; `before`: only of what began before that."""
        found: list[_Active] = []
        for event in self._events:
            last = before is not None and event.number >= before[1]
            since = event.begun(moment_s, before=last)
            if since is None or (event.for_s is not None and moment_s >= since + event.for_s):
                continue
            found.append(_Active(since, event))
        found.sort(key=lambda active: active.order)
        resets = [i for i, active in enumerate(found) if active.event.reset]
        return found[resets[-1] :] if resets else found

    def _fold(
        self, moment_s: float, active: Sequence[_Active], known: _Known, depth: int
    ) -> Change:
        change = Change()
        if self._played is not None:
            change = _of_trace(self._played.values(moment_s))
        for one in active:
            change = change.then(self._set(one, moment_s, known, depth))
        return change

    def _set(self, active: _Active, moment_s: float, known: _Known, depth: int) -> Change:
        """What an event sets at a moment: on its ramp, or at its end."""
        event = active.event
        if moment_s >= active.since_s + event.ramp_s or depth >= _DEEPEST:
            return event.change
        if active.order not in known:
            before = self._active(active.since_s, active.order)
            known[active.order] = self._fold(active.since_s, before, known, depth + 1)
        spec = known[active.order].over(self._base)
        share = min(1.0, _steps(active.since_s, moment_s) * RAMP_STEP_S / event.ramp_s)
        values = dict(event.change.values)
        for name in RAMPED:
            goal, start = values.get(name), getattr(spec, name, None)
            if goal is not None and (start is not None or name not in _FROM_SOMETHING):
                assert isinstance(goal, int | float)
                values[name] = (start or 0.0) + (goal - (start or 0.0)) * share
        return Change(values)


def _ramp_step(event: Event, moment_s: float) -> float:
    """The next value of a ramp that is under way; infinite: there is none."""
    since = event.begun(moment_s)
    if since is None or moment_s >= since + event.ramp_s:
        return math.inf
    following = since + (_steps(since, moment_s) + 1) * RAMP_STEP_S
    return min(following, since + event.ramp_s)


def _steps(since_s: float, moment_s: float) -> int:
    """Whole steps of a ramp that have passed; by the sum that gives their moments."""
    count = math.floor((moment_s - since_s) / RAMP_STEP_S)
    while since_s + (count + 1) * RAMP_STEP_S <= moment_s:
        count += 1
    while count and since_s + count * RAMP_STEP_S > moment_s:
        count -= 1
    return count


def _of_trace(values: Mapping[str, float | Delivery]) -> Change:
    if "loss_ratio" not in values and "up" not in values:
        return Change(values)  # nothing follows from these, and a trace may change often
    asked: dict[str, float | bool | Delivery] = dict(values)
    if isinstance(up := values.get("up"), float):
        asked["up"] = up >= 0.5
    return Change.of(**asked)


@dataclass(frozen=True, slots=True)
class Due(Generic[K]):
    """A change that is due.

    Attributes:
        key: Of the direction.
        at_s: When it was to be; the last one, if several were due.
        change: All that differs from the topology then.
        passed: Others before it that are over already; of very many some aren't counted.
    """

    key: K
    at_s: float
    change: Change
    passed: int = 0


class Timeline(Generic[K]):
    """The courses of all directions, and how to walk along them.

    Args:
        courses: Direction -> what becomes of it.
    """

    def __init__(self, courses: Mapping[K, Course]) -> None:
        self._courses = dict(courses)

    def __bool__(self) -> bool:
        return bool(self._courses)

    def clocked(self, zero_s: float) -> Timeline[K]:
        """The same for a driver that keeps time by itself; see `Course.clocked`."""
        return Timeline({key: course.clocked(zero_s) for key, course in self._courses.items()})

    def state(self, moment_s: float) -> dict[K, Change]:
        """What differs from the topology at a moment, of every direction that has a course."""
        return {key: course.change(moment_s) for key, course in self._courses.items()}

    def upcoming(self, moment_s: float | None, most: int) -> list[Due[K]]:
        """The next changes after a moment (None: from the epoch on), by time, then by direction."""
        found: list[Due[K]] = []
        events = max((course.events for course in self._courses.values()), default=0)
        walk, left = Walk(self, moment_s), min(_MOST_STEPS, _MOST_LOOKS // max(1, events))
        while walk.next_s < math.inf and len(found) < most and left > 0:
            found += walk.to(walk.next_s)
            left -= 1
        return found[:most]

    def items(self) -> Iterator[tuple[K, Course]]:
        """Directions with their courses."""
        return iter(self._courses.items())


class Walk(Generic[K]):
    """One way along a timeline, from a moment on; of each direction it keeps what holds, no more.

    Args:
        timeline: Along which.
        moment_s: After which: what holds there is known. None: from the epoch on, with what holds
            at it; nothing does before.
    """

    def __init__(self, timeline: Timeline[K], moment_s: float | None) -> None:
        self._courses = list(timeline.items())
        self._heap: list[tuple[float, int]] = []
        if moment_s is None:
            self._held = [_NOTHING] * len(self._courses)
            self._heap = [(0.0, number) for number in range(len(self._courses))]
            return
        self._held = [course.change(moment_s) for _, course in self._courses]
        for number, (_, course) in enumerate(self._courses):
            following = course.next_change(moment_s)
            if following < math.inf:
                self._heap.append((following, number))
        heapq.heapify(self._heap)

    @property
    def next_s(self) -> float:
        """When something is due next; infinite: never again."""
        return self._heap[0][0] if self._heap else math.inf

    def to(self, moment_s: float, most: int = 1 << 30) -> list[Due[K]]:
        """Go on to a moment: what differs then, the last change of each direction, by time.

        Args:
            moment_s: To where.
            most: Directions to look at; there are more if `next_s` isn't after the moment then.
        """
        found: list[tuple[float, int, Due[K]]] = []
        while self._heap and self._heap[0][0] <= moment_s and most > 0:
            most -= 1
            at, number = heapq.heappop(self._heap)
            key, course = self._courses[number]
            passed, most_passed = 0, min(_MOST_PASSED, _MOST_PASSED_LOOKS // max(1, course.events))
            while (following := course.next_change(at)) <= moment_s:
                passed += 1
                # Who is that late, or changes that often, isn't helped by knowing each of them.
                at = following if passed < most_passed else moment_s
            if following < math.inf:
                heapq.heappush(self._heap, (following, number))
            change = course.change(at)
            if change != self._held[number]:
                self._held[number] = change
                found.append((at, number, Due(key, at, change, passed)))
        found.sort(key=lambda one: one[:2])
        return [due for _, _, due in found]
