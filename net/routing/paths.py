"""Shortest paths from every node of a graph to every other: first steps only. Pure.

Two ways to the same answer: Dijkstra's from each target for small graphs, which starts at once; and
for larger ones numpy, which costs 0.1 s to import: a node's distances to *all* targets are a row,
and a row is the least of its neighbours' rows plus what the step there costs. Rows are swept in the
order of a breadth-first search, there and back, until none changes: two sweeps for trees and rings,
about five for random graphs, where Dijkstra's would take 1,000 runs for 1,000 nodes.

Must not know: names, addresses, links.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Step = tuple[int, int, int]
"""(delay in ns, node at the other end, rank in the tie-break) of one way out of a node."""

Towards = dict[int, "array[int]"]
"""Rank of a step -> the nodes that are reached that way, ascending; 4 bytes each, as there are
nodes times nodes of them."""

SMALL = 30_000
"""Nodes times steps up to which Dijkstra's is quicker than importing numpy: about 0.05 s."""
_MATRIX_BYTES = 128 << 20
"""Of the distances held at a time; more targets are done in turns."""
_ROWS = 256
"""Neighbours looked at in one piece: a hub may have thousands."""
_INFINITE = 1 << 62


def first_steps(steps: Sequence[Sequence[Step]]) -> list[Towards]:
    """For each node: rank of a step -> the targets that are reached that way, ascending.

    Least delay wins, then fewer steps, then the lower rank; following first steps therefore never
    goes round in circles.

    Args:
        steps: Ways out of each node.
    """
    if len(steps) * sum(map(len, steps)) <= SMALL:
        return _by_dijkstra(steps)
    scaled = _scaled(steps)
    return _by_dijkstra(steps) if scaled is None else _by_sweeps(steps, scaled)


def one_target(steps: Sequence[Sequence[Step]], target: int) -> Iterator[tuple[int, int]]:
    """(node, rank of its first step) of every node that can reach one target."""
    return _towards(_reversed(steps), target)


def _reversed(steps: Sequence[Sequence[Step]]) -> list[list[Step]]:
    """Of each node the steps that lead into it, with the node that they lead from."""
    into: list[list[Step]] = [[] for _ in steps]
    for node, out in enumerate(steps):
        for delay_ns, there, rank in out:
            into[there].append((delay_ns, node, rank))
    return into


def _by_dijkstra(steps: Sequence[Sequence[Step]]) -> list[Towards]:
    into = _reversed(steps)
    found: list[Towards] = [{} for _ in steps]
    for target in range(len(steps)):
        for node, rank in _towards(into, target):
            found[node].setdefault(rank, array("i")).append(target)
    return found


def _towards(into: list[list[Step]], target: int) -> Iterator[tuple[int, int]]:
    """Dijkstra's on the reversed graph; costs are (delay, steps): exact, compared at once."""
    best: list[tuple[int, int, int] | None] = [None] * len(into)
    done = [False] * len(into)
    queue = [(0, 0, target)]
    while queue:
        delay_ns, hops, here = heapq.heappop(queue)
        if done[here]:
            continue
        done[here] = True
        known = best[here]
        if known is not None:
            yield here, known[2]
        for cost, node, rank in into[here]:
            if done[node]:
                continue
            offer = (delay_ns + cost, hops + 1, rank)
            now = best[node]
            if now is None or offer < now:
                best[node] = offer
                if now is None or offer[:2] < now[:2]:
                    heapq.heappush(queue, (offer[0], offer[1], node))


def _scaled(steps: Sequence[Sequence[Step]]) -> tuple[int, int] | None:
    """(divisor, shift) that make every path's `delay / divisor << shift | steps` an int64.

    None: there are no such, the delays differ too much in size.
    """
    delays = [step[0] for out in steps for step in out]
    divisor = math.gcd(*delays) or 1
    shift = len(steps).bit_length()
    longest = (max(delays, default=0) // divisor + 1) * len(steps)
    return (divisor, shift) if longest << shift < _INFINITE >> 1 else None


def _by_sweeps(steps: Sequence[Sequence[Step]], scaled: tuple[int, int]) -> list[Towards]:
    import numpy as np

    divisor, shift = scaled
    ordered = [sorted(out, key=lambda step: step[2]) for out in steps]  # argmin takes the first
    ends = [np.array([there for _, there, _ in out], dtype=np.intp) for out in ordered]
    costs = [
        np.array([(delay // divisor << shift) + 1 for delay, _, _ in out], dtype=np.int64)
        for out in ordered
    ]
    count = len(steps)
    most = max(1, _MATRIX_BYTES // (8 * count))
    found: list[Towards] = [{} for _ in steps]
    order = _breadth_first(steps)
    into = [sorted({node for _, node, _ in back}) for back in _reversed(steps)]
    for first in range(0, count, most):
        targets = range(first, min(first + most, count))
        distances = np.full((count, len(targets)), _INFINITE, dtype=np.int64)
        distances[list(targets), range(len(targets))] = 0
        _sweep(distances, ends, costs, order, into)
        for node, out in enumerate(ordered):
            if out:
                best, index = _nearest(distances, ends[node], costs[node])
                index[best >= _INFINITE] = -1
                if node in targets:
                    index[node - first] = -1
                _collect(found[node], index, [rank for _, _, rank in out], first)
    return found


def _collect(into: Towards, index: NDArray[np.intp], ranks: list[int], first: int) -> None:
    """Targets by the step that leads to them, in ascending order."""
    import numpy as np

    order = np.argsort(index, kind="stable")
    sorted_index = index[order]
    starts = np.flatnonzero(np.diff(sorted_index, prepend=-2))
    ends = [*starts[1:].tolist(), len(order)]
    targets = (order + first).astype(np.intc)
    for start, end in zip(starts.tolist(), ends, strict=True):
        step = int(sorted_index[start])
        if step >= 0:
            part = targets[start:end].tobytes()
            into.setdefault(ranks[step], array("i")).frombytes(part)


def _sweep(
    distances: NDArray[np.int64],
    ends: list[NDArray[np.intp]],
    costs: list[NDArray[np.int64]],
    order: list[int],
    into: list[list[int]],
) -> None:
    """Lower every row until it is the least that its neighbours allow."""
    import numpy as np

    stale = [bool(len(there)) for there in ends]
    while any(stale):
        order = order[::-1]
        for node in order:
            if not stale[node]:
                continue
            stale[node] = False
            row = distances[node]
            best = np.minimum(_least(distances, ends[node], costs[node]), row)
            if np.array_equal(best, row):
                continue
            distances[node] = best
            for before in into[node]:
                stale[before] = True


def _offers(
    distances: NDArray[np.int64], ends: NDArray[np.intp], costs: NDArray[np.int64]
) -> Iterator[NDArray[np.int64]]:
    """The distance over each step to each target, some steps at a time."""
    for first in range(0, len(ends), _ROWS):
        part = slice(first, first + _ROWS)
        offers = distances[ends[part]]
        offers += costs[part, None]
        yield offers


def _least(
    distances: NDArray[np.int64], ends: NDArray[np.intp], costs: NDArray[np.int64]
) -> NDArray[np.int64]:
    """To each target: the least distance over all steps."""
    import numpy as np

    rows: list[NDArray[np.int64]] = []
    rows += [offers.min(axis=0) for offers in _offers(distances, ends, costs)]
    least: NDArray[np.int64] = rows[0] if len(rows) == 1 else np.minimum.reduce(rows)
    return least


def _nearest(
    distances: NDArray[np.int64], ends: NDArray[np.intp], costs: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """To each target: the least distance, and the first step that has it."""
    import numpy as np

    best: NDArray[np.int64] | None = None
    for part, offers in enumerate(_offers(distances, ends, costs)):
        here = offers.argmin(axis=0)
        least = np.take_along_axis(offers, here[None], axis=0)[0]
        if best is None:
            best, index = least, here
        else:
            better = least < best
            best = np.where(better, least, best)
            index = np.where(better, here + part * _ROWS, index)
    assert best is not None
    return best, index


def _breadth_first(steps: Sequence[Sequence[Step]]) -> list[int]:
    """All nodes, neighbours near each other, from the busiest on."""
    seen = [False] * len(steps)
    order: list[int] = []
    around = [[there for _, there, _ in out] for out in steps]
    for node, back in enumerate(_reversed(steps)):
        around[node] += [before for _, before, _ in back]
    for start in sorted(range(len(steps)), key=lambda node: -len(around[node])):
        if seen[start]:
            continue
        seen[start] = True
        reached = [start]
        for node in reached:  # grows while it is walked
            for near in around[node]:
                if not seen[near]:
                    seen[near] = True
                    reached.append(near)
        order += reached
    return order
