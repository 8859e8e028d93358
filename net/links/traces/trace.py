"""What a trace is, and how it is played. Pure.

    times     0.0        1.0                2.5   ┆ length 3.0
    rate      ├─ 20 M ───┼─ 3 M ────────────┼─ 8 M ┆ again, if it loops; else the last value stays

A value holds from its time until the next one's (steps: nothing is interpolated). Before its first
value a column says nothing. Must not know: files, what a value is set on.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass, field, replace

from net.errors import OtterError
from net.links.delivery import Delivery, Schedule

MTU_BYTES = 1500
"""IP bytes that one delivery opportunity of a packet-delivery trace carries."""
MAX_POINTS = 2_000_000
"""Of one trace: 23 days at one a second; 16 MB a column in an agent's memory."""

BUDGET = (
    "cpu", "speed", "memory_bytes", "read_bytes_per_s", "write_bytes_per_s", "in_bps", "out_bps",
)  # fmt: skip
"""What a trace can say of hosts and modules, as `Limits` calls it."""
FIELDS = ("rate_bps", "delay_s", "jitter_s", "loss_ratio", "up", *BUDGET)
"""What a trace can say, of links as `LinkSpec` calls it; of `up`: 1 or 0."""
Values = dict[str, float]


class TraceFileError(OtterError, ValueError):
    """A trace can't be read; printed as ``file:line: reason; what to try``.

    Attributes:
        path: The file.
        line: Counts from 1; 0: it is about the whole file.
        reason: What is wrong, one line.
    """

    def __init__(self, path: str, line: int, reason: str, hint: str = "") -> None:
        where = f"{path}:{line}" if line else path
        super().__init__(f"{where}: {reason}", hint=hint)
        self.path = path
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """A series of values over time.

    Attributes:
        times_s: Strictly increasing, from 0 or later.
        columns: Field of `LinkSpec` -> a value for each time; NaN: nothing is said yet.
        length_s: After which it begins again where it loops; beyond the last time.
        opportunities_s: Of a packet-delivery trace: when a packet of `MTU_BYTES` may leave, from 0
            to `length_s`, several at one time if so written; its `rate_bps` is the same in bins.
        notes: What a reader of it may want to know, a line each: gaps.
    """

    times_s: array[float]
    columns: Mapping[str, array[float]]
    length_s: float
    opportunities_s: array[float] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problem = self.problem()
        if problem:
            raise ValueError(problem)

    def problem(self) -> str:
        """Why it makes no sense; "" if it does."""
        count = len(self.times_s)
        if not 0 < count <= MAX_POINTS:
            return f"{count} points: must be 1 to {MAX_POINTS}"
        if not self.columns or self.columns.keys() - set(FIELDS):
            return f"columns {sorted(self.columns)}: must be some of {', '.join(FIELDS)}"
        if any(len(values) != count for values in self.columns.values()):
            return "a column has another length than the times"
        if not _increases(self.times_s):
            return "times must increase from 0 on"
        if not self.times_s[-1] < self.length_s < math.inf:
            return "must be longer than its last time"
        return next(filter(None, map(_wrong_values, self.columns.items())), "")

    def extent(self, name: str) -> tuple[float, float] | None:
        """Least and greatest value of a column; None: there are none."""
        known = [v for v in self.columns.get(name, ()) if not math.isnan(v)]
        return (min(known), max(known)) if known else None


_ENDS = {
    "rate_bps": (0.0, 1e13), "delay_s": (0.0, 3600.0), "jitter_s": (0.0, 3600.0),
    "loss_ratio": (0.0, 1.0), "up": (0.0, 1.0), "cpu": (0.0, 1e4), "speed": (0.001, 1e3),
    "memory_bytes": (1.0, 2.0**59), "read_bytes_per_s": (1.0, 2.0**59),
    "write_bytes_per_s": (1.0, 2.0**59), "in_bps": (8.0, 1e13), "out_bps": (8.0, 1e13),
}  # fmt: skip
LIMITS = _ENDS
"""Least and greatest value of each field."""


def _increases(times: array[float]) -> bool:
    before = -1.0
    for time in times:
        if not before < time < math.inf or time < 0:  # NaN is neither
            return False
        before = time
    return True


def _wrong_values(column: tuple[str, array[float]]) -> str:
    name, values = column
    least, most = _ENDS[name]
    bad = next((v for v in values if not (least <= v <= most or math.isnan(v))), None)
    return "" if bad is None else f"{name} of {bad}: must be {least:g} to {most:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a trace is played.

    Attributes:
        loop: Begin again after its end; else its last values stay.
        offset_s: Where in the trace to begin.
        scale: Field -> what its values are multiplied with; `time`: what the times are.
        without: Fields that it doesn't touch.
    """

    loop: bool = True
    offset_s: float = 0.0
    scale: Mapping[str, float] = field(default_factory=dict)
    without: Collection[str] = ()


class Played:
    """A trace as it is played from moment 0 on.

    Any moment can be asked for at any time. The same sums give the moment of a change and what
    holds at it, so what `next_change` says is where `values` is new, to the last bit.

    Args:
        trace: What is played.
        manner: How.
    """

    def __init__(self, trace: Trace, manner: Manner | None = None) -> None:
        manner = manner or Manner()
        self._times = trace.times_s
        self._length_s = trace.length_s
        self._loop = manner.loop
        self._stretch = manner.scale.get("time", 1.0)
        self._offset_s = manner.offset_s
        if manner.loop:
            self._offset_s %= trace.length_s
        self._columns = [
            (name, values, manner.scale.get(name, 1.0), _ENDS[name][1])
            for name, values in trace.columns.items()
            if name not in manner.without
        ]

    @property
    def fields(self) -> tuple[str, ...]:
        """What it says something of."""
        return tuple(name for name, *_ in self._columns)

    def values(self, moment_s: float) -> Mapping[str, float | Delivery]:
        """What holds at a moment; what it says nothing of is left out."""
        _, index = self._place(moment_s)
        if index < 0:
            return {}
        found = ((n, values[index] * by, most) for n, values, by, most in self._columns)
        return {name: min(value, most) for name, value, most in found if value == value}

    def next_change(self, moment_s: float) -> float:
        """The first moment after this one at which it says something; infinite: never again."""
        if not self._columns or (len(self._times) == 1 and self._place(moment_s)[1] == 0):
            return math.inf
        cycle, index = self._place(moment_s)
        while True:
            cycle, index = self._following(cycle, index)
            if index < 0:
                return math.inf
            at = self._moment(cycle, index)
            if at > moment_s:
                return at

    def _moment(self, cycle: int, index: int) -> float:
        return (cycle * self._length_s + self._times[index] - self._offset_s) * self._stretch

    def _following(self, cycle: int, index: int) -> tuple[int, int]:
        if index + 1 < len(self._times):
            return cycle, index + 1
        return (cycle + 1, 0) if self._loop else (cycle, -1)

    def _place(self, moment_s: float) -> tuple[int, int]:
        """Cycle and index of what holds; index -1: nothing yet."""
        inside = moment_s / self._stretch + self._offset_s
        cycle = max(0, math.floor(inside / self._length_s)) if self._loop else 0
        index = bisect_right(self._times, inside - cycle * self._length_s) - 1
        if index < 0 and cycle > 0:
            cycle, index = cycle - 1, len(self._times) - 1
        # The last bit: sums the other way round than `_moment` may be off by it.
        if index >= 0 and self._moment(cycle, index) > moment_s:
            index -= 1
            if index < 0 and cycle > 0:
                cycle, index = cycle - 1, len(self._times) - 1
        following, after = self._following(cycle, index)
        if after >= 0 and self._moment(following, after) <= moment_s:
            return following, after
        return cycle, index


class OneByOne:
    """A packet-delivery trace as one value: its opportunities, for a driver that keeps time.

    Args:
        played: The same as rates: what holds after the end of one that doesn't loop.
        schedule: Its opportunities.
        delivery: How they are played.
    """

    def __init__(self, played: Played, schedule: Schedule, delivery: Delivery) -> None:
        self._played = played
        self._delivery = delivery
        self._rate_bps = schedule.rate_bps * delivery.scale / delivery.stretch
        left_s = schedule.length_s - delivery.offset_s
        self._end_s = math.inf if delivery.loop else left_s * delivery.stretch

    def at(self, zero_s: float) -> OneByOne:
        """The same, whose moment 0 is known in seconds since boot."""
        found = copy(self)
        found._delivery = replace(self._delivery, zero_s=zero_s)
        return found

    def values(self, moment_s: float) -> Mapping[str, float | Delivery]:
        """What holds at a moment."""
        if moment_s >= self._end_s:
            return self._played.values(moment_s)
        return {"rate_bps": self._rate_bps, "delivery": self._delivery}

    def next_change(self, moment_s: float) -> float:
        """The first moment after this one at which it says something; infinite: never again."""
        return self._end_s if moment_s < self._end_s else math.inf


CORE_BPS = 1e6
"""A rate of so much is read as one core, where a trace of rates is played by a host or module."""
LEAST_CORES = 0.01
"""A host has no less, whatever its trace says: it could do nothing at all any more."""
_WHOLE = ("memory_bytes", "read_bytes_per_s", "write_bytes_per_s")


class Scarcity:
    """A trace as the budget of a host or a module; where it has no `cpu`, its rates are cores.

    Args:
        played: The trace.
    """

    def __init__(self, played: Played) -> None:
        self._played = played

    def values(self, moment_s: float) -> Mapping[str, float | Delivery]:
        """What holds at a moment."""
        said = {n: v for n, v in self._played.values(moment_s).items() if isinstance(v, float)}
        found = {name: said[name] for name in BUDGET if name in said}
        if "cpu" not in found and "rate_bps" in said:
            found["cpu"] = said["rate_bps"] / CORE_BPS
        if "cpu" in found:
            found["cpu"] = max(LEAST_CORES, found["cpu"])
        return {name: round(v) if name in _WHOLE else v for name, v in found.items()}

    def next_change(self, moment_s: float) -> float:
        """The first moment after this one at which it says something; infinite: never again."""
        return self._played.next_change(moment_s)
