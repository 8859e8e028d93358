"""Where every box stands. Pure.

Few hosts: columns (columns.py), their headers level where that can be. Many: a grid (spread.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from otter_ctl.graph import boxes, columns, words
from otter_ctl.graph.boxes import Area, Box
from otter_ctl.graph.model import Link, Picture, Stream
from otter_ctl.graph.spread import spread

MOST = 80
"""So many boxes are drawn with all that is in them."""
MOST_LINES = 300
"""And so many links and streams: beyond, labels cover each other, and take minutes to place."""
LINE_PX = 14.0
GAP, WIDE_GAP = 30.0, 96.0
ROW_PX = 1100.0


@dataclass(frozen=True, slots=True)
class Place:
    """The column of a box: which group of joined hosts, and which column of it."""

    group: int
    column: int


@dataclass(slots=True)
class Layout:
    """Boxes in the order of the picture's hosts, then a cloud per gateway.

    Attributes:
        places: Of each box, where there are columns.
        columns: (group, column) -> its boxes from top to bottom.
        lines: Links as pairs of boxes, and None for a gateway's line to its cloud.
        small: Whether there is no room for budgets, modules and labels.
    """

    boxes: list[Box]
    lines: list[tuple[int, int, Link | None]]
    streams: list[tuple[tuple[int, int], tuple[int, int], Stream]]
    places: list[Place] = field(default_factory=list)
    columns: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    small: bool = False

    def extent(self) -> Area:
        """What the boxes cover."""
        areas = [box.area for box in self.boxes]
        left, top = min(a.x for a in areas), min(a.y for a in areas)
        right, bottom = max(a.right for a in areas), max(a.bottom for a in areas)
        return Area(left, top, right - left, bottom - top)


def lay_out(picture: Picture, *, seed: int = 1) -> Layout:
    """Sizes and places of everything that has a place; the same for the same picture."""
    lines_of_all = len(picture.links) + len(picture.streams)
    small = len(picture.hosts) > MOST or lines_of_all > MOST_LINES
    made = [(boxes.small if small else boxes.full)(host) for host in picture.hosts]
    number = {host.name: n for n, host in enumerate(picture.hosts)}
    lines: list[tuple[int, int, Link | None]] = [
        (number[x.a], number[x.b], x) for x in picture.links
    ]
    for n, host in enumerate(picture.hosts):
        if host.gateway:
            lines.append((n, len(made), None))
            made.append(boxes.cloud())
    chips = {
        module.name: (n, c)
        for n, host in enumerate(picture.hosts)
        for c, module in enumerate(host.modules)
    }
    streams = [(chips[s.source], chips[s.target], s) for s in picture.streams]
    layout = Layout(made, lines, streams, small=small)
    if small:
        _on_grid(layout, seed)
    else:
        _in_columns(layout)
    return layout


def link_label(link: Link, *, rightwards: bool, upright: bool = False) -> list[str]:
    """The lines that say what a link has; directions as arrows of the picture."""
    common, there, back = words.directions(link.forward, link.reverse)
    arrows = ("↓", "↑") if upright else ("→", "←")
    if not rightwards:
        arrows = arrows[1], arrows[0]
    named = link.name if link.name != f"{link.a}-{link.b}" else ""
    title = words.shorten(named, 30) + (f" × {link.count}" if link.count > 1 else "")
    halves = [f"{arrow} {words.DOT.join(w)}" for arrow, w in zip(arrows, (there, back), strict=True)
              if w]  # fmt: skip
    one = words.DOT.join(halves)
    split = [one] if words.width(one, boxes.SMALL_PX) < 170 else halves
    lines = [line for line in (title.strip(), words.DOT.join(common), *split) if line]
    mark = boxes.MARKS[link.change]
    return [(mark + "".join(lines[:1])).strip(), *lines[1:]] if mark else lines


def stream_label(stream: Stream) -> str:
    """`text → question · tcp`."""
    ports = stream.output
    if stream.input != stream.output:
        ports = f"{stream.output} → {stream.input}"
    many = f" × {stream.count}" if stream.count > 1 else ""
    return f"{boxes.MARKS[stream.change]}{ports}{words.DOT}{stream.transport}{many}"


def label_size(lines: Sequence[str]) -> tuple[float, float]:
    """Width and height of a label."""
    return max(words.width(x, boxes.SMALL_PX) for x in lines) + 10, LINE_PX * len(lines) + 4


def _on_grid(layout: Layout, seed: int) -> None:
    cell = max(box.area.w for box in layout.boxes) + 18, 24.0 + 22
    edges = [(a, b) for a, b, _ in layout.lines]
    places = spread(len(layout.boxes), edges, cell, 1.6, seed)
    for box, (x, y) in zip(layout.boxes, places, strict=True):
        box.move(x - box.area.w / 2, y - box.area.h / 2)


def _in_columns(layout: Layout) -> None:
    graph = columns.Graph(
        heights=[box.area.h for box in layout.boxes],
        edges=[(a, b) for a, b, _ in layout.lines],
        flows=[(a[0], b[0]) for a, b, _ in layout.streams],
        gateways=frozenset(n for n, box in enumerate(layout.boxes) if box.host is None),
    )
    places: dict[int, Place] = {}
    x = y = row = 0.0
    apart = 2 * GAP + (100 if _streams_between_groups(layout, graph) else 0)
    for group, nodes in enumerate(columns.components(graph)):
        found = columns.arrange(graph, nodes)
        for c, column in enumerate(found):
            layout.columns[group, c] = column
            places.update((node, Place(group, c)) for node in column)
        size = _place_group(layout, graph, found)
        if x and x + size[0] > ROW_PX:
            x, y, row = 0.0, y + row + 2 * GAP, 0.0
        for node in nodes:
            area = layout.boxes[node].area
            layout.boxes[node].move(area.x + x, area.y + y)
        x, row = x + size[0] + apart, max(row, size[1])
    layout.places = [places[n] for n in range(len(layout.boxes))]


def _streams_between_groups(layout: Layout, graph: columns.Graph) -> bool:
    groups = {n: i for i, nodes in enumerate(columns.components(graph)) for n in nodes}
    return any(groups[a] != groups[b] for (a, _), (b, _), _ in layout.streams)


def _place_group(
    layout: Layout, graph: columns.Graph, found: columns.Columns
) -> tuple[float, float]:
    """Place one group's boxes from (0, 0); returns its size."""
    levels = _levels(layout, graph.neighbours(), found)
    tops = {n: level - layout.boxes[n].header / 2 for n, level in levels.items()}
    highest = min(tops.values())
    x = 0.0
    for c, column in enumerate(found):
        width = max(layout.boxes[n].area.w for n in column)
        for n in column:
            box = layout.boxes[n]
            box.move(x + (width - box.area.w) / 2, tops[n] - highest)
        x += width + (_gap_after(layout, found, c) if c < len(found) - 1 else 0)
    return x, max(layout.boxes[n].area.bottom for column in found for n in column)


def _gap_after(layout: Layout, found: columns.Columns, c: int) -> float:
    """Room between two columns for the labels of what leads across."""
    here, there = set(found[c]), set(found[c + 1])
    widths = [WIDE_GAP - 40]
    for a, b, link in layout.lines:
        if link and ((a in here and b in there) or (b in here and a in there)):
            lines = link_label(link, rightwards=True)
            widths.append(label_size(lines)[0] if lines else 0)
        if link and a in here and b in here:  # its label stands beside it
            widths.append(label_size(link_label(link, rightwards=True) or [""])[0] / 2)
    left = {n for column in found[: c + 1] for n in column}
    right = {n for column in found[c + 1 :] for n in column}
    for (a, _), (b, _), stream in layout.streams:
        if (a in left and b in right) or (b in left and a in right) or (a in here and b in here):
            widths.append(label_size([stream_label(stream)])[0])
    return max(widths) + 44


def _levels(
    layout: Layout, near: Sequence[Sequence[int]], found: columns.Columns
) -> dict[int, float]:
    """Heights of the headers' middles: level with what they are linked to, without overlaps."""
    column_of = {n: c for c, column in enumerate(found) for n in column}
    gaps = [_gaps(layout, column) for column in found]
    levels: dict[int, float] = {}
    for column, between in zip(found, gaps, strict=True):
        levels.update(zip(column, settle([0.0] * len(column), between), strict=True))
    for sweep in range(24):
        order = range(len(found)) if sweep % 2 == 0 else range(len(found) - 1, -1, -1)
        for c in order:
            wanted = [_wanted(n, near, levels, column_of) for n in found[c]]
            levels.update(zip(found[c], settle(wanted, gaps[c]), strict=True))
    return levels


def _wanted(
    node: int, near: Sequence[Sequence[int]], levels: Mapping[int, float], column_of: dict[int, int]
) -> float:
    others = [levels[o] for o in near[node] if column_of[o] != column_of[node]]
    return sum(others) / len(others) if others else levels[node]


def _gaps(layout: Layout, column: Sequence[int]) -> list[float]:
    """From each header's middle to the next one's, at least."""
    gaps = []
    for upper, lower in pairwise(column):
        between = GAP
        for a, b, link in layout.lines:
            if link and {a, b} == {upper, lower}:
                lines = link_label(link, rightwards=True)
                between = max(between, (label_size(lines)[1] if lines else 0) + 34)
        above, below = layout.boxes[upper], layout.boxes[lower]
        gaps.append(above.area.h - above.header / 2 + between + below.header / 2)
    return gaps


def settle(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The values nearest to `wanted` (least squares) of which each is `gaps` above the one before.

    Source: pool adjacent violators (Ayer et al. 1955).
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    blocks: list[tuple[float, int]] = []  # mean, how many
    for value, offset in zip(wanted, offsets, strict=True):
        mean, count = value - offset, 1
        while blocks and blocks[-1][0] > mean:
            before, many = blocks.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        blocks.append((mean, count))
    flat = [mean for mean, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(flat, offsets, strict=True)]
