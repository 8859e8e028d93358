"""Events and traces of a topology -> what the agent gets of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from net.links.traces.trace import Trace
from otter_agent import api
from otter_ctl.planning.model import Blob, Upload
from otter_ctl.topology.model import TimedEvent, Topology, TraceUse


def timeline(topology: Topology, blobs: Mapping[Upload, Blob]) -> api.TimelineSpec:
    """All that changes by itself while the mesh runs."""
    traces = []
    for link in topology.links:
        if link.forward_trace is not None:
            traces.append(_trace(link.name, "forward", link.forward_trace, blobs))
        if link.reverse_trace is not None:
            traces.append(_trace(link.name, "reverse", link.reverse_trace, blobs))
    moves = (
        api.Move(at_s=move.at_s, host=move.host, link=move.link, every_s=move.every_s)
        for move in topology.moves
    )
    return api.TimelineSpec(
        traces=tuple(traces), events=tuple(map(_event, topology.events)), moves=tuple(moves)
    )


def trace_notes(topology: Topology) -> Iterator[str]:
    """What is odd about traces, each file once: gaps."""
    found: dict[str, None] = {}
    for link in topology.links:
        for use in (link.forward_trace, link.reverse_trace):
            if use is not None and isinstance(use.trace, Trace):
                found |= dict.fromkeys(use.trace.notes)
    yield from found


def _trace(
    link: str,
    way: Literal["forward", "reverse"],
    use: TraceUse,
    blobs: Mapping[Upload, Blob],
) -> api.TraceUse:
    manner = use.manner
    return api.TraceUse(
        link=link,
        way=way,
        name=use.name,
        blob=blobs[use.trace].digest,
        loop=manner.loop,
        offset_s=manner.offset_s,
        scale=dict(manner.scale),
        without=tuple(manner.without),
    )


def _event(event: TimedEvent) -> api.TimelineEvent:
    return api.TimelineEvent(
        at_s=event.at_s,
        both=event.both,
        forward=event.forward,
        reverse=event.reverse,
        hosts=event.hosts,
        modules=event.modules,
        action=event.action,
        when=event.when,
        change={
            name: list(value) if isinstance(value, tuple) else value
            for name, value in event.change.values.items()
        },
        reset=event.reset,
        for_s=event.for_s,
        every_s=event.every_s,
        ramp_s=event.ramp_s,
        text=event.text,
    )
