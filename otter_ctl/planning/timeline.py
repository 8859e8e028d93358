"""Events and traces of a topology -> what the agent gets of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from net.links.traces.trace import Trace
from otter_agent import api
from otter_ctl.planning.model import Blob, Upload
from otter_ctl.topology.model import Link, TimedEvent, Topology, TraceUse


def timeline(topology: Topology, blobs: Mapping[Upload, Blob]) -> api.TimelineSpec:
    """All that changes by itself while the mesh runs."""
    traces = []
    for link in topology.links:
        if link.forward_trace is not None:
            traces.append(_trace(link, "forward", link.forward_trace, blobs))
        if link.reverse_trace is not None:
            traces.append(_trace(link, "reverse", link.reverse_trace, blobs))
    traces += [_budget(h.trace, blobs, host=h.name) for h in topology.hosts if h.trace]
    traces += [_budget(m.trace, blobs, module=m.name) for m in topology.modules if m.trace]
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
    for use in topology.trace_uses():
        if isinstance(use.trace, Trace):
            found |= dict.fromkeys(use.trace.notes)
    yield from found


def _trace(
    link: Link,
    way: Literal["forward", "reverse"],
    use: TraceUse,
    blobs: Mapping[Upload, Blob],
) -> api.TraceUse:
    manner = use.manner
    spec = link.forward if way == "forward" else link.reverse
    one_by_one = isinstance(use.trace, Trace) and use.trace.opportunities_s is not None
    # A shared medium says whose turn it is; who sets the rate himself wants no other.
    shared = spec is not None and spec.medium is not None
    return api.TraceUse(
        link=link.name,
        way=way,
        name=use.name,
        blob=blobs[use.trace].digest,
        loop=manner.loop,
        offset_s=manner.offset_s,
        scale=dict(manner.scale),
        without=tuple(manner.without),
        opportunities=one_by_one and not shared and "rate_bps" not in manner.without,
    )


def _budget(
    use: TraceUse, blobs: Mapping[Upload, Blob], *, host: str = "", module: str = ""
) -> api.TraceUse:
    manner = use.manner
    return api.TraceUse(
        link="",
        way="forward",
        name=use.name,
        blob=blobs[use.trace].digest,
        loop=manner.loop,
        offset_s=manner.offset_s,
        scale=dict(manner.scale),
        host=host,
        module=module,
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
