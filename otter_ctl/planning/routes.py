"""Links -> static routes of every host: shortest paths by delay. Pure.

Ties go to fewer hops, then to the next host's name, then to the link's; so a plan is the same on
every laptop. Costs are integers, `delay in ns << 20 | hops`: sums are exact and compare at once.
For each destination the tree of shortest paths *towards* it is grown (Dijkstra on the reversed
links); since every link costs at least one hop, following next hops can't go round in circles.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from otter_agent.api import Link, Route
from otter_ctl.planning.addresses import Block, dotted

DEFAULT = "0.0.0.0/0"
_HOP = 1
_DELAY_SHIFT = 20
"""Room for a million hops below the delay."""


@dataclass(frozen=True, slots=True, order=True)
class Hop:
    """The next step towards somewhere; ordered as ties are broken."""

    host: str
    link: str


@dataclass(frozen=True, slots=True)
class Routes:
    """The outcome.

    Attributes:
        tables: Routes of each host.
        reach: Host -> the hosts that it has a route to.
    """

    tables: dict[str, tuple[Route, ...]]
    reach: dict[str, set[str]]


@dataclass(slots=True)
class _Graph:
    """Hosts numbered by name; for each the links that lead *into* it."""

    names: list[str]
    into: list[list[tuple[int, int, int]]] = field(default_factory=list)
    """Of each host: (cost, sending host, rank of the hop in the tie-break)."""
    hops: list[Hop] = field(default_factory=list)
    """By rank."""


def compute(
    blocks: Mapping[str, Block], links: Sequence[Link], gateways: Collection[str] = ()
) -> Routes:
    """Routes from every host to every other's block that it can reach, and to a gateway."""
    graph = _graph(sorted(blocks), links)
    towards: dict[str, dict[int, list[Block]]] = {name: {} for name in blocks}
    reach: dict[str, set[str]] = {name: set() for name in blocks}
    for number, target in enumerate(graph.names):
        for source, rank in _next_hops(graph, number):
            name = graph.names[source]
            towards[name].setdefault(rank, []).append(blocks[target])
            reach[name].add(target)
    via = {name: dotted(block.host) for name, block in blocks.items()}
    tables = {
        name: tuple(
            Route(to=cidr, via=via[graph.hops[rank].host], link=graph.hops[rank].link)
            for rank, targets in sorted(by_hop.items())
            for cidr in merge(targets)
        )
        for name, by_hop in towards.items()
    }
    for name, hop in _outward(graph, gateways):
        tables[name] += (Route(to=DEFAULT, via=via[hop.host], link=hop.link),)
    return Routes(tables, reach)


def _outward(graph: _Graph, gateways: Collection[str]) -> Iterable[tuple[str, Hop]]:
    """The next hop of every host towards the outside world; none of a gateway, which is there.

    The outside is one more node behind all gateways, so everybody's nearest is found at once.
    """
    inside = len(graph.hops)
    graph.names.append("")
    graph.into.append([])
    for number, name in enumerate(graph.names):
        if name in gateways:
            graph.into[-1].append((_HOP, number, len(graph.hops)))
            graph.hops.append(Hop("", ""))
    for number, rank in _next_hops(graph, len(graph.names) - 1):
        if rank < inside:
            yield graph.names[number], graph.hops[rank]


def merge(blocks: Iterable[Block]) -> list[str]:
    """The fewest CIDRs that cover exactly these (disjoint or touching) blocks."""
    ranges: list[list[int]] = []
    for base, end in sorted((b.base, b.base + b.size) for b in blocks):
        if ranges and base <= ranges[-1][1]:
            ranges[-1][1] = max(end, ranges[-1][1])
        else:
            ranges.append([base, end])
    return [str(block) for base, end in ranges for block in _aligned(base, end)]


def _aligned(base: int, end: int) -> Iterable[Block]:
    """Cut a range into the largest aligned blocks."""
    while base < end:
        size = base & -base or 1 << 32
        while size > end - base:
            size >>= 1
        yield Block(base, size)
        base += size


def _graph(names: list[str], links: Sequence[Link]) -> _Graph:
    number = {name: i for i, name in enumerate(names)}
    ends = [
        (hop, cost, number[source], number[hop.host])
        for link in links
        for source, hop, cost in _directions(link)
    ]
    ends.sort(key=lambda end: end[0])
    graph = _Graph(names, [[] for _ in names])
    for rank, (hop, cost, source, target) in enumerate(ends):
        graph.hops.append(hop)
        graph.into[target].append((cost, source, rank))
    return graph


def _directions(link: Link) -> Iterable[tuple[str, Hop, int]]:
    """(sender, hop, cost) of each direction that was written."""
    for source, target, spec in ((link.a, link.b, link.forward), (link.b, link.a, link.reverse)):
        if spec is not None:
            delay_ns = round((spec.delay_s or 0.0) * 1e9)
            yield source, Hop(target, link.name), (delay_ns << _DELAY_SHIFT) + _HOP


def _next_hops(graph: _Graph, target: int) -> Iterable[tuple[int, int]]:
    """(host, rank of its next hop) of every host that can reach `target`."""
    best: list[tuple[int, int] | None] = [None] * len(graph.names)
    done = [False] * len(graph.names)
    queue = [(0, target)]
    while queue:
        so_far, here = heapq.heappop(queue)
        if done[here]:
            continue
        done[here] = True
        known = best[here]
        if known is not None:
            yield here, known[1]
        for cost, source, rank in graph.into[here]:
            if done[source]:
                continue
            offer = (so_far + cost, rank)
            now = best[source]
            if now is None or offer < now:
                best[source] = offer
                if now is None or offer[0] < now[0]:
                    heapq.heappush(queue, (offer[0], source))
