"""What the plan expects of streams and links: median latency of a message, utilisation. Pure.

Of a stream with `expect` both are known; of others only what a message of `DEFAULT_BYTES` takes. A
link's utilisation is the expected bytes a second of all streams that cross it against its rate.
Messages that share a link wait for each other (`waiting.py`); one stream alone, sent at even times,
waits for nobody until ρ reaches 1. What isn't in it: loss and its repair, what modules compute,
queues that a module fills itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from otter_ctl.planning.crossing import Crossing, Step
from otter_ctl.planning.latency import Parts, Took, wire_bytes
from otter_ctl.planning.pace import Pace, as_measured, at_pace
from otter_ctl.planning.waiting import Other, median_wait_s
from otter_ctl.topology.model import Stream

DEFAULT_BYTES = 1024
FULL = 1.0
FEW = 16
"""Streams that share a direction, each of which is looked at by itself."""


@dataclass(frozen=True, slots=True)
class StreamForecast:
    """What is expected of one stream.

    Attributes:
        latency_s: From `send` to the receiver's hand, the median; None: there is no way, or a link
            is overfull.
        message_bytes: Of a message, as `expect` says or by default.
        expected: Whether the topology says what to expect.
        links: That it crosses, in order.
        approximate: Why it may be far off; empty: it shouldn't be.
        parts: Of the latency, by what takes it; None: there is none.
    """

    stream: str
    latency_s: float | None
    message_bytes: float
    expected: bool
    links: tuple[str, ...] = ()
    approximate: str = ""
    parts: Parts | None = None


@dataclass(frozen=True, slots=True)
class LinkForecast:
    """What is expected of one direction of a link: `utilisation` 1 is all of its rate."""

    link: str
    source: str
    target: str
    rate_bps: float
    expected_bps: float

    @property
    def utilisation(self) -> float:
        """Of its rate."""
        return self.expected_bps / self.rate_bps


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of a whole plan; links that nobody is expected on, or without a rate, are left out."""

    streams: tuple[StreamForecast, ...] = ()
    links: tuple[LinkForecast, ...] = ()

    def warnings(self) -> Iterable[str]:
        """One line for each direction that is asked for more than it has."""
        for link in self.links:
            if link.utilisation > FULL:
                way = f"{link.source} to {link.target}"
                yield (
                    f"link {link.link}: streams are expected to send {link.expected_bps / 1e6:.3g} "
                    f"Mbit/s from {way}, which carries {link.rate_bps / 1e6:.3g}: queues fill up"
                )


Way = tuple[str, str]
"""(link, sending host) of a direction."""


def forecast(
    streams: Sequence[Stream],
    seats: Mapping[str, str],
    crossing: Crossing,
    pace: Pace = as_measured,
) -> Forecast:
    """What to expect, with modules where `seats` says, on machines of that pace."""
    paths = {s.name: crossing.path(seats[s.source], seats[s.target]) for s in streams}
    loads = _loads(streams, paths)
    links = tuple(
        LinkForecast(step.link, step.source, step.target, step.spec.rate_bps, load.bps)
        for load in loads.values()
        for step in (load.step,)
        if step.spec.rate_bps
    )
    return Forecast(
        tuple(_stream(s, seats, crossing, paths[s.name], loads, pace) for s in streams), links
    )


@dataclass(slots=True)
class _Load:
    """What is expected of one direction."""

    step: Step
    bps: float = 0.0
    busy: float = 0.0
    """The part of the time in which it sends."""
    services_s2: float = 0.0
    """Σ of rate times service time squared."""
    others: dict[str, Other] = field(default_factory=dict)
    """Stream -> what it does to those that share the direction."""


def _loads(
    streams: Sequence[Stream], paths: Mapping[str, tuple[Step, ...] | None]
) -> dict[Way, _Load]:
    loads: dict[Way, _Load] = {}
    for stream in streams:
        if stream.expect_bytes is None or not stream.expect_per_s:
            continue
        bps = 8 * wire_bytes(stream.expect_bytes) * stream.expect_per_s
        for step in paths[stream.name] or ():
            load = loads.setdefault((step.link, step.source), _Load(step))
            load.bps += bps
            if math.isfinite(step.rate_bps):
                service_s = 8 * wire_bytes(stream.expect_bytes) / step.rate_bps
                busy = stream.expect_per_s * service_s
                load.busy += busy
                load.services_s2 += busy * service_s
                load.others[stream.name] = Other(busy, service_s)
    return loads


def _stream(
    stream: Stream,
    seats: Mapping[str, str],
    crossing: Crossing,
    path: tuple[Step, ...] | None,
    loads: Mapping[Way, _Load],
    pace: Pace,
) -> StreamForecast:
    known = stream.expect_bytes is not None
    size = float(DEFAULT_BYTES if stream.expect_bytes is None else stream.expect_bytes)
    source, target = seats[stream.source], seats[stream.target]
    every_s = 1 / stream.expect_per_s if stream.expect_per_s else None
    tcp, udp = (stream.transport == kind for kind in ("tcp", "udp"))
    took = crossing.took(source, target, size, tcp=tcp, udp=udp, every_s=every_s)
    met = [loads.get((s.link, s.source)) for s in path or ()]
    waiting_s = _wait_s(stream.name, met, took)
    parts = None
    if took.parts is not None and math.isfinite(waiting_s):
        own = at_pace(took.parts, (source, target), path or (), pace)
        parts = replace(own, waiting_s=waiting_s)
    links = tuple(step.link for step in path or ())
    latency_s = parts.seconds if parts is not None else None
    return StreamForecast(stream.name, latency_s, size, known, links, _doubt(path or ()), parts)


def _wait_s(stream: str, loads: Iterable[_Load | None], took: Took) -> float:
    """For the others on the way; each is met where it is slowest. Infinite: a link is overfull.

    Those that come while a message's packets still leave, `took.spread_s` long, get between them:
    as many as mostly do.
    """
    met: dict[str, Other] = {}
    seconds = 0.0
    for load in loads:
        if load is None or not math.isfinite(load.step.rate_bps):
            continue
        if load.busy >= FULL:
            return math.inf
        if len(load.others) > FEW:  # Pollaczek and Khinchin's mean
            seconds += load.services_s2 / (2 - 2 * load.busy)
            continue
        for name, other in load.others.items():
            if name != stream and (name not in met or met[name].service_s < other.service_s):
                met[name] = other
    spread_s = took.spread_s
    between_s = sum(o.service_s * round(spread_s * o.busy / o.service_s) for o in met.values())
    return seconds + median_wait_s(list(met.values()), took.jitter) + between_s


def _doubt(path: Sequence[Step]) -> str:
    lossy = [
        step.link
        for step in path
        if step.spec.loss_ratio or step.spec.loss_gilbert or step.spec.loss_markov
    ]
    return f"loses packets on {', '.join(lossy)}" if lossy else ""
