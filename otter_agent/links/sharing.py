"""What the cells of a mesh ask for together, at first and later: not all drivers can. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from net.links.changes import in_force
from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.links.ways import ways

_ANOTHER = 0.5
"""What a trace may make of a rate."""


def states(spec: api.MeshSpec) -> Iterator[list[LinkSpec]]:
    """All that is asked of directions that share a medium: at first, and after each change alone.

    Traces are each of one direction: with them rates differ, whatever they are.
    """
    base = {way: asked for way, asked in ways(spec).items() if asked.medium is not None}
    if not base:
        return
    yield list(base.values())
    played = {(use.link, use.way == "forward") for use in spec.timeline.traces}
    ends = {link.name: link.a for link in spec.links}
    if played:
        yield [
            replace(asked, rate_bps=(asked.rate_bps or 0.0) * _ANOTHER)
            if (way.link, way.source == ends[way.link]) in played
            else asked
            for way, asked in base.items()
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
