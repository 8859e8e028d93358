"""What a message takes from host to host, as the topology's links are asked to be. Pure.

Paths are the plan's: those that the routes follow. Formulas, for a message of B bytes over links of
delays d_i and rates r_i (a link without a rate adds nothing):

    wire   = B + 96 + 52·ceil((B + 96) / 1448)         headers of messages, of TCP/IP per packet
    time   = 0.3 ms + Σ d_i + 8·wire / min r_i + Σ over the other rates 8·min(wire, 1500) / r_i

and for TCP after a pause, slow start (Cardwell, Savage, Anderson: Modeling TCP latency, 2000; an
initial window of 10 segments, RFC 6928): each window that is sent before the path is full waits for
its acknowledgement, `rtt + 8·1500 / min r - 8·window / min r` if that is more than nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from net.links.spec import LinkSpec
from net.routing.paths import one_target
from net.routing.routes import Graph, graph
from otter_agent.api import Link

OWN_S = 0.0003
"""What messages take without any link: both modules' loops and the copying of little."""
OWN_S_PER_BYTE = 0.5e-9
HEAD_BYTES = 96
SEGMENT_BYTES = 1448
PACKET_HEAD_BYTES = 52
PACKET_BYTES = 1500
FIRST_WINDOW_BYTES = 10 * SEGMENT_BYTES


@dataclass(frozen=True, slots=True)
class Step:
    """One direction of a link on a path."""

    link: str
    source: str
    target: str
    spec: LinkSpec


class Crossing:
    """Paths between hosts, and times over them.

    Args:
        names: Of all hosts.
        links: Those that carry something at first.
    """

    def __init__(self, names: Iterable[str], links: Sequence[Link]) -> None:
        names = list(names)
        self._graph: Graph = graph(names, links)
        self._number = {name: number for number, name in enumerate(names)}
        self._links = {link.name: link for link in links}
        self._towards: dict[str, dict[int, int]] = {}
        self._paths: dict[tuple[str, str], tuple[Step, ...] | None] = {}

    def path(self, source: str, target: str) -> tuple[Step, ...] | None:
        """The links from one host to another; none if it is the same; None: there is no way."""
        key = (source, target)
        if key not in self._paths:
            self._paths[key] = self._walk(source, target)
        return self._paths[key]

    def _walk(self, source: str, target: str) -> tuple[Step, ...] | None:
        ranks = self._towards.get(target)
        if ranks is None:
            ranks = dict(one_target(self._graph.steps, self._number[target]))
            self._towards[target] = ranks
        steps: list[Step] = []
        at = source
        while at != target:
            rank = ranks.get(self._number[at])
            if rank is None:
                return None
            hop = self._graph.hops[rank]
            link = self._links[hop.link]
            spec = link.forward if link.a == at and link.b == hop.host else link.reverse
            steps.append(Step(hop.link, at, hop.host, spec or LinkSpec()))
            at = hop.host
        return tuple(steps)

    def message_s(self, source: str, target: str, size: float, *, tcp: bool = True) -> float:
        """Latency of a message after a pause, in seconds; infinite: there is no way."""
        out, back = self.path(source, target), self.path(target, source)
        if out is None or (back is None and tcp):
            return math.inf
        rtt_s = _delay_s(out) + (_delay_s(back) if back else 0.0)
        return message_s([step.spec for step in out], size, rtt_s=rtt_s if tcp else 0.0)


def _delay_s(path: Sequence[Step]) -> float:
    return sum(step.spec.delay_s or 0.0 for step in path)


def message_s(path: Sequence[LinkSpec], size: float, *, rtt_s: float = 0.0) -> float:
    """The formula of this module's head.

    Args:
        path: Directions of links, in the order in which they are crossed.
        size: Bytes of the message.
        rtt_s: There and back, for slow start; 0: none (UDP, or a window that has grown).
    """
    wire = wire_bytes(size)
    seconds = OWN_S + OWN_S_PER_BYTE * size + sum(spec.delay_s or 0.0 for spec in path)
    rates = sorted(spec.rate_bps for spec in path if spec.rate_bps)
    if rates:
        seconds += 8 * wire / rates[0]
        seconds += sum(8 * min(wire, PACKET_BYTES) / rate for rate in rates[1:])
    return seconds + _slow_start_s(wire, rates[0] if rates else math.inf, rtt_s)


def wire_bytes(size: float) -> float:
    """Of IP packets that carry a message of so many bytes."""
    full = size + HEAD_BYTES
    return full + PACKET_HEAD_BYTES * math.ceil(full / SEGMENT_BYTES)


def _slow_start_s(wire: float, rate_bps: float, rtt_s: float) -> float:
    window, sent, waited = float(FIRST_WINDOW_BYTES), 0.0, 0.0
    while rtt_s and sent + window < wire:
        stall = rtt_s + 8 * PACKET_BYTES / rate_bps - 8 * window / rate_bps
        if stall <= 0:
            break
        waited += stall
        sent += window
        window *= 2
    return waited
