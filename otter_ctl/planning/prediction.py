"""What the plan expects of streams and links: latency of a message, utilisation. Pure.

Of a stream with `expect` both are known; of others only what a message of `DEFAULT_BYTES` takes. A
link's utilisation is the expected bytes a second of all streams that cross it against its rate.
Waiting behind others is added as in an M/G/1 queue (Pollaczek and Khinchin; Kleinrock, Queueing
Systems I), where more than one stream shares a link; one alone, sent at even times, waits for
nobody until ρ reaches 1. What isn't in it: jitter, loss and its repair, what modules compute,
queues that a module fills itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from otter_ctl.planning.crossing import Crossing, Step, wire_bytes
from otter_ctl.topology.model import Stream

DEFAULT_BYTES = 1024
FULL = 1.0
IDLE_S = 0.2
"""Linux starts slowly again after a pause of its retransmission timeout, which is at least this."""


@dataclass(frozen=True, slots=True)
class StreamForecast:
    """What is expected of one stream.

    Attributes:
        latency_s: From `send` to the receiver's hand; None: there is no way, or a link is overfull.
        message_bytes: Of a message, as `expect` says or by default.
        expected: Whether the topology says what to expect.
        links: That it crosses, in order.
        approximate: Why it may be far off; empty: it shouldn't be.
    """

    stream: str
    latency_s: float | None
    message_bytes: float
    expected: bool
    links: tuple[str, ...] = ()
    approximate: str = ""


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


def forecast(streams: Sequence[Stream], seats: Mapping[str, str], crossing: Crossing) -> Forecast:
    """What to expect, with modules where `seats` says."""
    paths = {s.name: crossing.path(seats[s.source], seats[s.target]) for s in streams}
    loads = _loads(streams, paths)
    links = tuple(
        LinkForecast(step.link, step.source, step.target, step.spec.rate_bps, load.bps)
        for load in loads.values()
        for step in (load.step,)
        if step.spec.rate_bps
    )
    return Forecast(
        tuple(_stream(s, seats, crossing, paths[s.name], loads) for s in streams), links
    )


@dataclass(slots=True)
class _Load:
    """What is expected of one direction."""

    step: Step
    bps: float = 0.0
    streams: int = 0
    busy_s: float = 0.0
    """Seconds a second that it sends."""
    services_s2: float = 0.0
    """Σ of rate times service time squared."""


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
            load.streams += 1
            if step.spec.rate_bps:
                service_s = 8 * wire_bytes(stream.expect_bytes) / step.spec.rate_bps
                load.busy_s += stream.expect_per_s * service_s
                load.services_s2 += stream.expect_per_s * service_s**2
    return loads


def _stream(
    stream: Stream,
    seats: Mapping[str, str],
    crossing: Crossing,
    path: tuple[Step, ...] | None,
    loads: Mapping[Way, _Load],
) -> StreamForecast:
    known = stream.expect_bytes is not None
    size = float(DEFAULT_BYTES if stream.expect_bytes is None else stream.expect_bytes)
    source, target = seats[stream.source], seats[stream.target]
    rtt_s = crossing.message_s(target, source, 0) + crossing.message_s(source, target, 0)
    rests = not stream.expect_per_s or 1 / stream.expect_per_s > max(IDLE_S, rtt_s)
    latency = crossing.message_s(source, target, size, tcp=stream.transport == "tcp" and rests)
    latency += sum(_wait_s(loads.get((step.link, step.source))) for step in path or ())
    links = tuple(step.link for step in path or ())
    finite = latency if math.isfinite(latency) else None
    return StreamForecast(stream.name, finite, size, known, links, _doubt(path or ()))


def _wait_s(load: _Load | None) -> float:
    """Mean wait of Pollaczek and Khinchin: Σ λ s² / (2 - 2ρ); for whom shares the link."""
    if load is None or not load.step.spec.rate_bps:
        return 0.0
    if load.busy_s >= FULL:
        return math.inf
    return load.services_s2 / (2 - 2 * load.busy_s) if load.streams > 1 else 0.0


def _doubt(path: Sequence[Step]) -> str:
    lossy = [
        step.link
        for step in path
        if step.spec.loss_ratio or step.spec.loss_gilbert or step.spec.loss_markov
    ]
    return f"loses packets on {', '.join(lossy)}" if lossy else ""
