"""Places for more hosts than columns can show: by forces, then on a grid without overlaps. Pure.

Spring forces (Fruchterman, Reingold 1991, from rustworkx) bring joined hosts together; each host
then takes the free cell of a grid that is nearest to where they left it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

ITERATIONS = 120
QUICK = 2000
"""Hosts up to which all iterations are made: each takes time with the square of their number."""


def spread(count: int, edges: Sequence[tuple[int, int]], cell: tuple[float, float], ratio: float,
           seed: int) -> list[tuple[float, float]]:  # fmt: skip
    """Centres of the nodes, in pixels, on a grid of cells of a size; the same for the same seed.

    Args:
        count: Nodes are 0 to `count` - 1.
        edges: Node pairs joined by links.
        cell: Width and height, in pixels.
        ratio: Width to height of the whole.
        seed: Of the first places.
    """
    import rustworkx

    graph: rustworkx.PyGraph[int, int] = rustworkx.PyGraph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from([(a, b, 1) for a, b in sorted(set(edges)) if a != b])
    iterations = max(10, int(ITERATIONS * min(1.0, (QUICK / max(count, 1)) ** 2)))
    found = rustworkx.spring_layout(graph, num_iter=iterations, seed=seed)
    xs = _unit([float(found[n][0]) for n in range(count)])
    ys = _unit([float(found[n][1]) for n in range(count)])
    roomy = 2.2 * count  # cells: so many that the forces' picture stays recognisable
    rows = max(1, math.ceil(math.sqrt(roomy * cell[0] / cell[1] / ratio)))
    columns = max(1, math.ceil(roomy / rows))
    taken: dict[tuple[int, int], int] = {}
    for node in sorted(range(count), key=lambda n: math.hypot(xs[n] - 0.5, ys[n] - 0.5)):
        wanted = xs[node] * (columns - 1), ys[node] * (rows - 1)
        taken[_nearest(wanted, columns, rows, taken)] = node
    centres = {node: ((c + 0.5) * cell[0], (r + 0.5) * cell[1]) for (c, r), node in taken.items()}
    return [centres[node] for node in range(count)]


def _unit(values: Sequence[float]) -> list[float]:
    """Moved and scaled to 0 to 1."""
    least = min(values)
    span = max(values) - least or 1.0
    return [(value - least) / span for value in values]


def _nearest(
    wanted: tuple[float, float], columns: int, rows: int, taken: dict[tuple[int, int], int]
) -> tuple[int, int]:
    """The free cell nearest to a place, looked for in growing squares around it."""
    middle = round(wanted[0]), round(wanted[1])
    best: tuple[float, tuple[int, int]] | None = None
    for radius in range(columns + rows):
        if best is not None and best[0] <= (radius - 0.5) ** 2:
            break
        for cell in _square(middle, radius):
            if 0 <= cell[0] < columns and 0 <= cell[1] < rows and cell not in taken:
                far = (cell[0] - wanted[0]) ** 2 + (cell[1] - wanted[1]) ** 2
                best = min(best, (far, cell)) if best else (far, cell)
    assert best is not None  # there are twice as many cells as hosts
    return best[1]


def _square(middle: tuple[int, int], radius: int) -> list[tuple[int, int]]:
    """The cells at a distance, as a square's border."""
    x, y = middle
    if radius == 0:
        return [middle]
    across = range(-radius, radius + 1)
    inner = range(1 - radius, radius)
    return [(x + d, y + s * radius) for d in across for s in (-1, 1)] + [
        (x + s * radius, y + d) for d in inner for s in (-1, 1)
    ]
