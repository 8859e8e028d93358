"""Hosts in columns, so that links lead from a column to the next and cross little. Pure.

Columns are distances from some host, to one side or to both; every likely host is tried and the
best picture wins. So a link never spans a column. (Sugiyama, Tagawa, Toda 1981, with layers by
distance instead of by direction; order within a column by barycentres.)
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

TRIED = 24
"""Hosts that are tried as the start at most."""
SWEEPS = 6
RATIO = 2.2
"""Width to height of a picture that fits a page or a slide."""

Columns = list[list[int]]


@dataclass(slots=True)
class Graph:
    """What decides the order: nodes are numbers from 0.

    Attributes:
        heights: Of each node, in pixels.
        edges: Node pairs joined by links; a pair may come more than once.
        flows: Node pairs (from, to) of streams.
        gateways: Nodes that belong at the right.
        column_px: Width of a column with its gap, about.
    """

    heights: list[float]
    edges: list[tuple[int, int]]
    flows: list[tuple[int, int]] = field(default_factory=list)
    gateways: frozenset[int] = frozenset()
    column_px: float = 300.0

    def neighbours(self) -> list[list[int]]:
        """Each node's, once each, in order."""
        found: list[set[int]] = [set() for _ in self.heights]
        for a, b in self.edges:
            if a != b:
                found[a].add(b)
                found[b].add(a)
        return [sorted(nodes) for nodes in found]


def components(graph: Graph) -> list[list[int]]:
    """Sets of nodes that links join, each sorted, the largest first."""
    near, seen, found = graph.neighbours(), set[int](), []
    for node in range(len(graph.heights)):
        if node not in seen:
            reached = sorted(_distances(near, node, set()))
            seen.update(reached)
            found.append(reached)
    return sorted(found, key=lambda nodes: (-len(nodes), nodes))


def arrange(graph: Graph, nodes: Sequence[int]) -> Columns:
    """The best columns found for the nodes of one component."""
    near = graph.neighbours()
    inside = set(nodes)
    edges = [e for e in graph.edges if e[0] in inside and e[0] != e[1]]
    flows = [f for f in graph.flows if f[0] in inside and f[1] in inside]
    best: tuple[float, Columns] | None = None
    for layers in _candidates(near, nodes, flows):
        columns = _ordered(layers, near)
        cost = _cost(graph, columns, edges, flows)
        if best is None or cost < best[0] - 1e-9:
            best = cost, columns
    assert best is not None
    return best[1]


def _distances(near: Sequence[Sequence[int]], start: int, walls: set[int]) -> dict[int, int]:
    """Hops from `start` to every node that is reached without passing `walls`."""
    hops, queue = {start: 0}, deque([start])
    while queue:
        node = queue.popleft()
        for other in near[node]:
            if other not in hops and other not in walls:
                hops[other] = hops[node] + 1
                queue.append(other)
    return hops


def _candidates(
    near: Sequence[Sequence[int]], nodes: Sequence[int], flows: Sequence[tuple[int, int]]
) -> Iterator[dict[int, int]]:
    """Node -> column, for every start that may give a good picture, both ways round."""
    starts = sorted(nodes, key=lambda n: (-len(near[n]), n))
    ends = sorted(nodes, key=lambda n: (len(near[n]), n))
    for start in dict.fromkeys(starts[: TRIED // 2] + ends[: TRIED // 2]):
        hops = _distances(near, start, set())
        yield hops
        yield {node: -hop for node, hop in hops.items()}
        if len(near[start]) > 1:
            sides = _two_sided(near, start, flows)
            yield sides
            yield {node: -hop for node, hop in sides.items()}


def _two_sided(
    near: Sequence[Sequence[int]], start: int, flows: Sequence[tuple[int, int]]
) -> dict[int, int]:
    """Branches of `start` to its left and right: senders left, receivers right, else balanced."""
    placed, weights = {start: 0}, {-1: 0.0, 1: 0.0}
    branches: list[dict[int, int]] = []
    for first in near[start]:
        if not any(first in branch for branch in branches):
            branches.append(_distances(near, first, {start}))
    branches.sort(key=lambda branch: (-len(branch), min(branch)))
    for branch in branches:
        out = sum((a in branch) - (b in branch) for a, b in flows)
        side = (-1 if out > 0 else 1) if out else min((1, -1), key=lambda s: weights[s])
        weights[side] += len(branch)
        hops = _distances(near, start, placed.keys() - {start})
        placed.update((node, side * hops[node]) for node in branch)
    return placed


def _ordered(layers: dict[int, int], near: Sequence[Sequence[int]]) -> Columns:
    """Columns by layer, each ordered so that links cross as little as sweeps find."""
    columns: Columns = [[] for _ in range(max(layers.values()) - min(layers.values()) + 1)]
    first = min(layers.values())
    for node in sorted(layers):
        columns[layers[node] - first].append(node)
    best, fewest = columns, _crossings(columns, near)
    for sweep in range(SWEEPS):
        columns = [list(column) for column in columns]
        order = columns if sweep % 2 == 0 else columns[::-1]
        for column in order:
            ranks = {n: (i + 0.5) / len(c) for c in columns for i, n in enumerate(c)}
            column.sort(key=lambda node: (_barycentre(node, near, ranks), ranks[node]))
        crossings = _crossings(columns, near)
        if crossings < fewest:
            best, fewest = columns, crossings
    return best


def _barycentre(node: int, near: Sequence[Sequence[int]], ranks: dict[int, float]) -> float:
    found = [ranks[other] for other in near[node]]
    return sum(found) / len(found) if found else ranks[node]


def _crossings(columns: Columns, near: Sequence[Sequence[int]]) -> float:
    """Crossings between columns, and links within one that pass by other hosts."""
    rank = {node: (c, i) for c, column in enumerate(columns) for i, node in enumerate(column)}
    count = 0.0
    for c, column in enumerate(columns):
        seen: list[int] = []
        for node in column:
            ends = sorted(rank[other][1] for other in near[node] if rank[other][0] == c + 1)
            for end in ends:
                count += len(seen) - bisect_left(seen, end + 1)
            for end in ends:
                insort(seen, end)
            own = rank[node][1]
            inside = (rank[other][1] for other in near[node] if rank[other][0] == c)
            count += sum(1.5 * (other - own - 1) for other in inside if other > own + 1)
    return count


def _cost(
    graph: Graph,
    columns: Columns,
    edges: Iterable[tuple[int, int]],
    flows: Sequence[tuple[int, int]],
) -> float:
    """What makes a picture hard to read: crossings, streams to the left, odd proportions."""
    column = {node: c for c, nodes in enumerate(columns) for node in nodes}
    near: list[list[int]] = [[] for _ in graph.heights]
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    backwards = sum(column[a] >= column[b] for a, b in flows if a != b)
    beside = sum(column[a] == column[b] for a, b in edges)
    width = graph.column_px * len(columns)
    height = max(sum(graph.heights[n] + 40 for n in nodes) for nodes in columns)
    shape = abs(math.log(width / height / RATIO))
    tangled = _tangled(column, near, flows)
    last = len(columns) - 1
    inner = sum(column[n] != last for n in graph.gateways if n in column)
    cost = _crossings(columns, near) + 0.8 * backwards + 0.6 * beside
    return cost + 0.7 * shape + 0.7 * tangled + 3.0 * inner


def _tangled(
    column: dict[int, int], near: Sequence[Sequence[int]], flows: Sequence[tuple[int, int]]
) -> int:
    """Links beyond the first that a host with streams has on one side: they cross the streams."""
    with_streams = {node for a, b in flows if a != b for node in (a, b)}
    count = 0
    for node in with_streams & column.keys():
        for side in (-1, 1):
            there = {o for o in near[node] if column[o] - column[node] == side}
            count += max(0, len(there & with_streams) - 1)
    return count
