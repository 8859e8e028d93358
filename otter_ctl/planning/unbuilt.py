"""What a plan asks for and this version doesn't do: told, never ignored. Pure.

Scarcity that isn't made yet is warned of: the mesh runs, but better than asked for. What would
mean something else if it were left out is unsupported: `apply` refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from otter_ctl.errors import PlanError
from otter_ctl.planning.model import Plan
from otter_ctl.topology.model import Stream, Topology

OF_RATE = ("queue_delay_above", "use_above", "use_below")
"""Tests of conditions that only a link with a rate can pass."""
MOST = 8
"""Lines of one sort; then they are counted."""


def refuse_unsupported(plan: Plan) -> None:
    """Nothing is applied that would mean something else than what is written.

    Raises:
        PlanError: Names what this version can't do.
    """
    if plan.unsupported:
        more = plan.unsupported[1:]
        hint = f"and {len(more)} more: see `otterctl plan`" if more else ""
        where, _, reason = plan.unsupported[0].partition(": ")
        raise PlanError(where, reason, hint=hint)


def unreachable(
    streams: Iterable[Stream], seats: Mapping[str, str], reach: Mapping[str, AbstractSet[str]]
) -> Iterator[str]:
    """Streams whose hosts have no way there, or none back: TCP needs both."""
    lines = []
    for stream in streams:
        source, target = seats[stream.source], seats[stream.target]
        for a, b in ((source, target), (target, source)):
            if a != b and b not in reach[a]:
                lines.append(f"stream {stream.name}: host {a} has no route to host {b}")
    yield from _bounded(lines, "streams")


def waiting_for_ever(topology: Topology) -> Iterator[str]:
    """Events that wait for what a link's rate does, where nothing in the file gives it one."""
    links = {link.name: link for link in topology.links}
    rated = {
        name
        for event in topology.events
        if event.change.values.get("rate_bps") is not None
        for name in (*event.both, *event.forward, *event.reverse)
    }
    lines = []
    for event in topology.events:
        when = event.when
        if when is None or when.test not in OF_RATE or when.name in rated:
            continue
        link = links[when.name]
        ways = (
            (f"{link.a}>{link.b}", link.forward, link.forward_trace),
            (f"{link.b}>{link.a}", link.reverse, link.reverse_trace),
        )
        asked = [(spec, trace) for way, spec, trace in ways if when.direction in ("", way)]
        if not any(trace or (spec and spec.rate_bps is not None) for spec, trace in asked):
            why = f"`{when.test}` of link {link.name}, which has no rate"
            lines.append(f"event {event.text}: waits for {why}: it won't happen")
    yield from _bounded(lines, "events")


def _bounded(lines: Sequence[str], what: str) -> Iterator[str]:
    """At most `MOST` lines, and how many more there are."""
    yield from lines[:MOST]
    if len(lines) > MOST:
        yield f"and {len(lines) - MOST} more {what} likewise"
