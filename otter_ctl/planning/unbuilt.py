"""What a plan asks for and this version doesn't do: told, never ignored. Pure.

Scarcity that isn't made yet is warned of: the mesh runs, but better than asked for. What would
mean something else if it were left out is unsupported: `apply` refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

from otter_ctl.errors import PlanError
from otter_ctl.planning.model import Plan
from otter_ctl.topology.model import Host, Module, Stream, Topology

T = TypeVar("T", Host, Module)
Groups = dict[tuple[str, bool], tuple[tuple[str, ...], int]]
"""Table (and whether it made several) -> keys that nothing acts on, and how many it made."""

OF_RATE = ("queue_delay_above", "use_above", "use_below")
"""Tests of conditions that only a link with a rate can pass."""
MOST = 8
"""Lines of one sort; then they are counted."""


def unapplied(topology: Topology) -> Iterator[str]:
    """Storage bandwidth and speeds: nothing acts on them yet."""
    yield from _lines("host", _grouped(topology.hosts, _host_keys))
    yield from _lines("module", _grouped(topology.modules, _module_keys))


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


def _host_keys(host: Host) -> tuple[str, ...]:
    held = {"speed": host.speed, "io": host.io}
    return tuple(key for key, value in held.items() if value is not None)


def _module_keys(module: Module) -> tuple[str, ...]:
    held = {"io": module.io}
    return tuple(key for key, value in held.items() if value is not None)


def _grouped(items: Iterable[T], keys: Callable[[T], tuple[str, ...]]) -> Groups:
    found: Groups = {}
    for item in items:
        asked = keys(item)
        if asked:
            table = (item.made_from or item.name, bool(item.made_from))
            found[table] = (asked, found.get(table, (asked, 0))[1] + 1)
    return found


def _lines(what: str, groups: Groups) -> Iterator[str]:
    lines = []
    for (name, several), (keys, count) in groups.items():
        subject = f"{what}s {name} ({count})" if several else f"{what} {name}"
        verb = "are" if len(keys) > 1 else "is"
        lines.append(f"{subject}: {', '.join(keys)} {verb} not applied in this version")
    yield from _bounded(lines, f"{what}s")


def _bounded(lines: Sequence[str], what: str) -> Iterator[str]:
    """At most `MOST` lines, and how many more there are."""
    yield from lines[:MOST]
    if len(lines) > MOST:
        yield f"and {len(lines) - MOST} more {what} likewise"
