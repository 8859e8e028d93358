"""What the cells of a mesh ask for together, at first and later: not all drivers can. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from net.links.changes import in_force
from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.links.ways import ways

_ANOTHER = 0.5
"""What a trace may make of a rate; another trace, another part of that."""


def states(spec: api.MeshSpec) -> Iterator[list[LinkSpec]]:
    """All that is asked of directions that share a medium: at first, and after each change alone.

    Traces are each of one direction: with them rates differ, whatever they are, unless all who
    share the medium play the same one in the same manner.
    """
    base = {way: asked for way, asked in ways(spec).items() if asked.medium is not None}
    if not base:
        return
    yield list(base.values())
    ends = {link.name: link.a for link in spec.links}
    if factors := _played(spec.timeline.traces):
        found = {way: factors.get((way.link, way.source == ends[way.link])) for way in base}
        yield [
            asked if factor is None else replace(asked, rate_bps=(asked.rate_bps or 0.0) * factor)
            for asked, factor in zip(base.values(), found.values(), strict=True)
        ]
    for number, event in enumerate(spec.timeline.events):
        links = {*event.both, *event.forward, *event.reverse}
        if links.isdisjoint(way.link for way in base):
            continue
        change = event.timed(number).change
        touched = {
            way
            for way in base
            if way.link in event.both
            or way.link in (event.forward if way.source == ends[way.link] else event.reverse)
        }
        yield [in_force(a, change) if way in touched else a for way, a in base.items()]


def _played(traces: Iterable[api.TraceUse]) -> dict[tuple[str, bool], float]:
    """Link and whether it is its way forward -> what its trace may make of its rate."""
    seen: dict[tuple[object, ...], float] = {}
    found = {}
    for use in traces:
        scale = frozenset(use.scale.items())
        same = (use.blob, use.loop, use.offset_s, scale, use.without, use.opportunities)
        factor = seen.setdefault(same, _ANOTHER / (1 + len(seen)))
        found[use.link, use.way == "forward"] = factor
    return found
