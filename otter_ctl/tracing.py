"""One query end to end: all messages that answer each other, from modules' records. Pure.

Where the lines come from (a run folder, an agent) is the caller's. Must not know: HTTP, the CLI.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from net.traces import TIMES, Record, parse

MAX_MESSAGES = 10_000
"""Of one trace; then it is cut off."""
TOGETHER = 100
"""Ids that are looked for at once."""
PARTS = ("output", "sending", "link", "queue", "module")
"""Of a message's way, between the moments of `TIMES`."""

Find = Callable[[Sequence[str]], AsyncIterator[tuple[str, str]]]
"""(module, line) of each line that holds one of the ids."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A message on a stream, in its place.

    Attributes:
        module: In whose records it is.
        depth: How many messages it answers, one after the other.
    """

    record: Record
    module: str
    depth: int = 0

    @property
    def began(self) -> float:
        """Its first moment; 0: none is known."""
        return min(self.record.times.values(), default=0.0)

    def parts(self) -> dict[str, float]:
        """Where its time went, seconds."""
        times = self.record.times
        steps = zip(PARTS, pairwise(TIMES), strict=True)
        return {name: times[b] - times[a] for name, (a, b) in steps if a in times and b in times}

    def as_data(self) -> dict[str, Any]:
        """As JSON can say it; times are seconds since 1970, as those of events."""
        record = self.record
        return {
            "id": record.id, "reply_to": record.reply_to or None, "stream": record.stream,
            "from": record.source, "to": record.target, "depth": self.depth,
            **{name: record.times.get(name) for name in TIMES},
            "parts": self.parts(), "bytes": record.nbytes, "outcome": record.outcome,
            "clock_error_s": record.clock_error_s, "recorded_by": self.module,
        }  # fmt: skip


@dataclass(slots=True)
class Trace:
    """All that belongs to one query.

    Attributes:
        id: What was asked for.
        hops: By time.
        cut: Whether there are more than are here.
    """

    id: str
    hops: list[Hop] = field(default_factory=list)
    cut: bool = False

    @property
    def began(self) -> float:
        """Its first moment."""
        return min((hop.began for hop in self.hops), default=0.0)

    @property
    def ended(self) -> float:
        """Its last moment."""
        return max((t for hop in self.hops for t in hop.record.times.values()), default=0.0)

    def as_data(self) -> dict[str, Any]:
        """As JSON can say it."""
        return {
            "id": self.id,
            "began": self.began,
            "ended": self.ended,
            "total_s": self.ended - self.began,
            "cut": self.cut,
            "messages": [hop.as_data() for hop in self.hops],
        }


async def trace(wanted: str, find: Find) -> Trace:
    """The message, all that it answers, and all that answers any of these."""
    found: dict[tuple[str, str], Record] = {}  # by module and line: fan-out gives an id many
    asked: set[str] = set()
    waiting = [wanted]
    while waiting and len(found) < MAX_MESSAGES:
        ids, waiting = waiting[:TOGETHER], waiting[TOGETHER:]
        asked.update(ids)
        new: dict[str, None] = {}
        async for module, line in find(ids):
            record = parse(line)
            if record is None or asked.isdisjoint((record.id, record.reply_to)):
                continue  # an id that is a part of another's
            found[module, line] = record
            new.update(dict.fromkeys((record.id, record.reply_to)))
            if len(found) >= MAX_MESSAGES:
                break
        waiting += [one for one in new if one and one not in asked and one not in waiting]
    depths = _depths(found.values())
    hops = [Hop(record, module, depths[record.id]) for (module, _), record in found.items()]
    hops.sort(key=lambda hop: (hop.began, hop.depth, hop.record.stream))
    return Trace(wanted, hops, cut=bool(waiting) or len(found) >= MAX_MESSAGES)


def _depths(records: Iterable[Record]) -> dict[str, int]:
    """Id -> how many messages it answers. Records may be lies: circles end somewhere."""
    above = {record.id: record.reply_to for record in records}
    depths: dict[str, int] = {}
    for one in above:
        path: dict[str, None] = {}
        at = one
        while at in above and at not in depths and at not in path:
            path[at] = None
            at = above[at]
        depth = depths.get(at, -1)
        for step in reversed(path):
            depth += 1
            depths.setdefault(step, depth)
    return depths
