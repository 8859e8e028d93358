"""Curves of links and streams between boxes that stand. Pure.

Links lead from header to header, streams from module to module. What spans a column passes
between its boxes. Ends that share a side are spread along it, in the order of where they lead.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from otter_ctl.graph.boxes import Area, Chip
from otter_ctl.graph.layout import Layout, label_size, link_label, stream_label
from otter_ctl.graph.model import Link, Stream

Point = tuple[float, float]
Side = Literal["left", "right", "top", "bottom"]
Cubic = tuple[Point, Point, Point, Point]
APART_PX = 9.0
"""Between two ends on one side."""


@dataclass(slots=True)
class Route:
    """A curve.

    Attributes:
        item: What it draws; None: a gateway's line to the outside.
        label: Its lines, and where they stand; None: it has none.
    """

    item: Link | Stream | None
    curve: list[Cubic]
    lines: list[str] = field(default_factory=list)
    label: Area | None = None

    def at(self, t: float) -> Point:
        """The point at `t` from 0 to 1."""
        scaled = min(max(t, 0.0), 1.0) * len(self.curve)
        n = min(int(scaled), len(self.curve) - 1)
        u = scaled - n
        weights = ((1 - u) ** 3, 3 * u * (1 - u) ** 2, 3 * u * u * (1 - u), u**3)
        x = sum(w * p[0] for w, p in zip(weights, self.curve[n], strict=True))
        y = sum(w * p[1] for w, p in zip(weights, self.curve[n], strict=True))
        return x, y


@dataclass(slots=True)
class _End:
    """Where a curve meets a box; the point follows when all ends of that side are known."""

    area: Area
    side: Side
    key: tuple[object, ...]
    towards: Point
    point: Point = (0.0, 0.0)


def route(layout: Layout) -> list[Route]:
    """Links first, then streams: the order in which they are drawn."""
    if layout.small:
        links = [Route(x, [_straight(layout, a, b)]) for a, b, x in layout.lines]
        return links + [
            Route(s, [_straight(layout, a[0], b[0])])
            for a, b, s in layout.streams
            if a[0] != b[0]
        ]  # fmt: skip
    routes = _link_routes(layout) + _stream_routes(layout)
    _place_labels(layout, routes)
    return routes


def _straight(layout: Layout, a: int, b: int) -> Cubic:
    """From border to border."""
    start, end = layout.boxes[a].area, layout.boxes[b].area
    p, q = _border(start, end.middle), _border(end, start.middle)
    third = (q[0] - p[0]) / 3, (q[1] - p[1]) / 3
    return p, (p[0] + third[0], p[1] + third[1]), (q[0] - third[0], q[1] - third[1]), q


def _border(area: Area, towards: Point) -> Point:
    """Where the line from the middle to a point leaves the rectangle."""
    x, y = area.middle
    dx, dy = towards[0] - x, towards[1] - y
    if not dx and not dy:
        return x, y
    scale = min(
        area.w / 2 / abs(dx) if dx else math.inf, area.h / 2 / abs(dy) if dy else math.inf
    )  # fmt: skip
    return x + dx * scale, y + dy * scale


# --- ends ------------------------------------------------------------------------------------


def _header(layout: Layout, n: int) -> Area:
    area = layout.boxes[n].area
    return Area(area.x, area.y, area.w, layout.boxes[n].header)


def _sides(layout: Layout, a: int, b: int) -> tuple[Side, Side]:
    """At which sides a curve leaves and enters."""
    if layout.places[a] == layout.places[b]:
        return "right", "right"
    return ("right", "left") if _right_of(layout, a, b) else ("left", "right")


def _right_of(layout: Layout, a: int, b: int) -> bool:
    """Whether `b` stands to the right of `a`."""
    return layout.boxes[b].area.middle[0] >= layout.boxes[a].area.middle[0]


def _spread_ends(ends: Sequence[_End]) -> None:
    """Give each end its point: evenly along the side, in the order of where they lead."""
    groups: dict[tuple[object, ...], list[_End]] = defaultdict(list)
    for end in ends:
        groups[(*end.key, end.side)].append(end)
    for group in groups.values():
        upright = group[0].side in ("left", "right")
        group.sort(key=lambda end: end.towards[1] if upright else end.towards[0])
        area = group[0].area
        room = (area.h if upright else area.w) - 12
        step = min(APART_PX if upright else 40.0, room / max(1, len(group) - 1))
        for i, end in enumerate(group):
            off = (i - (len(group) - 1) / 2) * step
            x, y = end.area.middle
            if upright:
                end.point = (end.area.x if end.side == "left" else end.area.right), y + off
            else:
                end.point = x + off, (end.area.y if end.side == "top" else end.area.bottom)


# --- links -----------------------------------------------------------------------------------


def _link_routes(layout: Layout) -> list[Route]:
    pairs: dict[frozenset[int], list[int]] = defaultdict(list)
    for i, (a, b, _) in enumerate(layout.lines):
        pairs[frozenset((a, b))].append(i)
    ends: list[tuple[_End, _End]] = []
    for i, (a, b, _) in enumerate(layout.lines):
        order = pairs[frozenset((a, b))].index(i) * 0.01
        ends.append(_link_ends(layout, a, b, order))
    _spread_ends([end for pair in ends for end in pair])
    routes = []
    for i, ((a, b, link), (start, end)) in enumerate(zip(layout.lines, ends, strict=True)):
        lines = _link_lines(layout, a, b, link)
        same = pairs[frozenset((a, b))]
        tall = max(_height(layout, *layout.lines[j]) for j in same)
        bow = (same.index(i) - (len(same) - 1) / 2) * (tall + 8) * 4 / 3 if len(same) > 1 else 0.0
        routes.append(Route(link, [_bend(start, end, bow)], lines))
    return routes


def _link_ends(layout: Layout, a: int, b: int, order: float) -> tuple[_End, _End]:
    upper, lower = (a, b) if layout.boxes[a].area.y <= layout.boxes[b].area.y else (b, a)
    if _adjacent(layout, upper, lower):
        areas = layout.boxes[upper].area, layout.boxes[lower].area
        down = _End(areas[0], "bottom", ("box", upper), (order, 0.0))
        up = _End(areas[1], "top", ("box", lower), (order, 0.0))
        return (down, up) if upper == a else (up, down)
    first, second = _sides(layout, a, b)
    start, end = _header(layout, a), _header(layout, b)
    return (
        _End(start, first, ("box", a), (end.middle[0], end.middle[1] + order)),
        _End(end, second, ("box", b), (start.middle[0], start.middle[1] + order)),
    )


def _adjacent(layout: Layout, upper: int, lower: int) -> bool:
    """Whether two boxes stand in one column, one directly below the other."""
    place = layout.places[upper]
    if place != layout.places[lower]:
        return False
    column = layout.columns[place.group, place.column]
    return abs(column.index(upper) - column.index(lower)) == 1


def _link_lines(layout: Layout, a: int, b: int, link: Link | None) -> list[str]:
    if link is None:
        return []
    upper, lower = (a, b) if layout.boxes[a].area.y <= layout.boxes[b].area.y else (b, a)
    if _adjacent(layout, upper, lower):
        return link_label(link, rightwards=upper == a, upright=True)
    return link_label(link, rightwards=_right_of(layout, a, b))


def _height(layout: Layout, a: int, b: int, link: Link | None) -> float:
    lines = _link_lines(layout, a, b, link)
    return label_size(lines)[1] if lines else 8.0


def _bend(start: _End, end: _End, bow: float = 0.0) -> Cubic:
    """A curve that leaves and enters at right angles; `bow` pushes its middle aside."""
    (x0, y0), (x1, y1) = start.point, end.point
    if start.side in ("top", "bottom"):
        pull = (y1 - y0) * 0.4
        return (x0, y0), (x0 + bow, y0 + pull), (x1 + bow, y1 - pull), (x1, y1)
    if start.side == end.side:
        out = (max(x0, x1) if start.side == "right" else min(x0, x1)) + (
            (1 if start.side == "right" else -1) * (44 + 0.06 * abs(y1 - y0) + abs(bow) / 2)
        )
        return (x0, y0), (out, y0), (out, y1), (x1, y1)
    pull = max(abs(x1 - x0) * 0.45, 24.0) * (1 if start.side == "right" else -1)
    return (x0, y0), (x0 + pull, y0 + bow), (x1 - pull, y1 + bow), (x1, y1)


# --- streams ---------------------------------------------------------------------------------


def _stream_routes(layout: Layout) -> list[Route]:
    ends = []
    for (a, i), (b, j), _ in layout.streams:
        source, target = _chip(layout, a, i).area, _chip(layout, b, j).area
        first, second = _sides(layout, a, b)
        ends.append(
            (
                _End(source, first, ("chip", a, i), target.middle),
                _End(target, second, ("chip", b, j), source.middle),
            )
        )
    _spread_ends([end for pair in ends for end in pair])
    used: dict[tuple[int, int, int], int] = defaultdict(int)
    routes = []
    for ((a, _), (b, _), stream), (start, finish) in zip(layout.streams, ends, strict=True):
        via = _corridors(layout, a, b, start.point, finish.point, used)
        routes.append(Route(stream, _through(start, via, finish), [stream_label(stream)]))
    return routes


def _chip(layout: Layout, box: int, chip: int) -> Chip:
    return layout.boxes[box].chips[chip]


def _corridors(
    layout: Layout, a: int, b: int, start: Point, end: Point, used: dict[tuple[int, int, int], int]
) -> list[tuple[Point, Point]]:
    """For each column between two boxes, the straight piece that passes it clear of its boxes."""
    here, there = layout.places[a], layout.places[b]
    if here.group != there.group:
        return []
    step = 1 if there.column > here.column else -1
    found = []
    last = start
    for c in range(here.column + step, there.column, step):
        column = layout.columns[here.group, c]
        areas = [layout.boxes[n].area for n in column]
        left, right = min(x.x for x in areas), max(x.right for x in areas)
        share = ((left + right) / 2 - last[0]) / ((end[0] - last[0]) or 1.0)
        wanted = last[1] + share * (end[1] - last[1])
        between = [(u.bottom + v.y) / 2 for u, v in pairwise(areas) if v.y - u.bottom > 20]
        lanes = [areas[0].y - 22, *between, areas[-1].bottom + 22]
        lane = min(range(len(lanes)), key=lambda i: abs(lanes[i] - wanted))
        taken = used[here.group, c, lane]
        used[here.group, c, lane] += 1
        away = 20.0 if lane == len(lanes) - 1 else -20.0 if lane == 0 else 7.0
        y = lanes[lane] + taken * away
        piece = ((left - 6, y), (right + 6, y))
        found.append(piece if step > 0 else (piece[1], piece[0]))
        last = found[-1][1]
    return found


def _through(start: _End, via: Sequence[tuple[Point, Point]], end: _End) -> list[Cubic]:
    if not via:
        return [_bend(start, end)]
    points = [start.point, *(p for piece in via for p in piece), end.point]
    curve = []
    for (x0, y0), (x1, y1) in pairwise(points):
        pull = (x1 - x0) * 0.5
        curve.append(((x0, y0), (x0 + pull, y0), (x1 - pull, y1), (x1, y1)))
    return curve


# --- labels ----------------------------------------------------------------------------------

_TRIED = (0.5, 0.42, 0.58, 0.34, 0.66, 0.27, 0.73, 0.2, 0.8, 0.14, 0.86)
_CELL_PX = 8.0
_CROSSED = 500.0
"""What covering another curve counts as, in square pixels."""


def _place_labels(layout: Layout, routes: Sequence[Route]) -> None:
    """Each label on or beside its curve, where it covers least of boxes, labels and curves."""
    walls = [box.area for box in layout.boxes]
    crossed = _cells(routes)
    for i, one in enumerate(routes):
        if not one.lines:
            continue
        w, h = label_size(one.lines)
        tried: list[tuple[float, int, Area]] = []
        for t in _TRIED:
            x, y = one.at(t)
            for beside in (0.0, -h / 2 - 3, h / 2 + 3):
                area = Area(x - w / 2, y - h / 2 + beside, w, h)
                covered = [part for wall in walls if (part := area.overlap(wall))]
                cost = 4 * sum(covered) + 2 * _CROSSED * len(covered)
                cost += _CROSSED * len(_curves_in(area, crossed) - {i})
                cost += (60 if isinstance(one.item, Stream) else 250) * bool(beside)
                tried.append((cost + 200 * abs(t - 0.5), len(tried), area))
        one.label = min(tried)[2]
        walls.append(one.label)


def _cells(routes: Sequence[Route]) -> dict[tuple[int, int], set[int]]:
    """Which curves pass through each cell of a fine grid."""
    cells: dict[tuple[int, int], set[int]] = defaultdict(set)
    for i, one in enumerate(routes):
        steps = 80 * len(one.curve)
        for k in range(steps + 1):
            x, y = one.at(k / steps)
            cells[int(x // _CELL_PX), int(y // _CELL_PX)].add(i)
    return cells


def _curves_in(area: Area, cells: dict[tuple[int, int], set[int]]) -> set[int]:
    found: set[int] = set()
    for x in range(int(area.x // _CELL_PX), int(area.right // _CELL_PX) + 1):
        for y in range(int(area.y // _CELL_PX), int(area.bottom // _CELL_PX) + 1):
            found |= cells.get((x, y), set())
    return found
