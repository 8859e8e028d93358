"""`Picture` -> SVG: one file that needs nothing else, readable in light and in dark. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

from otter_ctl.graph import boxes, words
from otter_ctl.graph.boxes import Area, Box, Chip
from otter_ctl.graph.layout import LINE_PX, Layout, lay_out
from otter_ctl.graph.model import Host, Link, Picture, Stream
from otter_ctl.graph.routes import Point, Route, route
from otter_ctl.graph.style import CSS

MARGIN = 28.0
TOP = 62.0
FOOT = 34.0
ARROW_PX = 8.0
STATES = {"ready": "good", "done": "good", "failed": "bad", "stopped": "idle", "pending": "idle"}


def svg(picture: Picture) -> str:
    """The picture as one SVG document."""
    layout = lay_out(picture)
    routes = route(layout)
    area = _extent(layout, routes)
    foot = _legend(picture, layout)
    wide = max(
        area.w, words.width(picture.name, 19) * 1.1 + 20, words.width(foot, boxes.SMALL_PX),
        words.width(_subtitle(picture), boxes.SMALL_PX),
    )  # fmt: skip
    width, height = wide + 2 * MARGIN, area.h + TOP + FOOT + MARGIN / 2
    name = clean(picture.name)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">',
        f'<title id="{name}-title">{clean(picture.name)}</title>',
        f'<desc id="{name}-desc">{clean(describe(picture))}</desc>',
        f"<style>{CSS}</style>",
        f'<rect class="paper" width="{width:.0f}" height="{height:.0f}" rx="10"/>',
        _text("title text", MARGIN, 34, picture.name),
        _text("dim", MARGIN, 51, _subtitle(picture)),
        f'<g transform="translate({_n(MARGIN - area.x)} {_n(TOP + 8 - area.y)})">',
        *(_curve(one, small=layout.small) for one in routes if not isinstance(one.item, Stream)),
        *(line for box in layout.boxes for line in _box(box, small=layout.small)),
        *(_curve(one, small=layout.small) for one in routes if isinstance(one.item, Stream)),
        *(line for one in routes for line in _label(one)),
        "</g>",
        _text("dim", MARGIN, height - 16, foot),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def clean(text: str) -> str:
    """Escaped; what XML can't hold or nobody can see becomes `\N{REPLACEMENT CHARACTER}`."""
    return escape("".join(c if c.isprintable() else "�" for c in text), {'"': "&quot;"})


def describe(picture: Picture) -> str:
    """The picture in words, for who can't see it."""
    said = [f"{picture.summary}."]
    for host in picture.hosts[:50]:
        inside = ", ".join(words.counted(m.name, m.count) for m in host.modules) or "no modules"
        said.append(f"Host {words.counted(host.name, host.count)}: {inside}.")
    for link in picture.links[:50]:
        ends = f"between {link.a} and {link.b}"
        said.append(f"Link {ends if link.reverse is not None else f'from {link.a} to {link.b}'}.")
    if len(picture.hosts) > 50 or len(picture.links) > 50:
        said.append("And more.")
    return " ".join(said)


def _n(number: float) -> str:
    """A coordinate: a tenth of a pixel is enough."""
    return f"{number:.1f}".removesuffix(".0")


def _subtitle(picture: Picture) -> str:
    state = f"{picture.state}{words.DOT}" if picture.state else ""
    return state + picture.summary.replace(", ", words.DOT)


def _legend(picture: Picture, layout: Layout) -> str:
    said = []
    if picture.links and not layout.small:
        said.append("line: link (delay is one way)")
    if picture.streams:
        said.append("arrow: stream of messages")
    if picture.kind == "plan" and any(_changes(picture)):
        said.append("+ created, ~ changed live, ± replaced, − removed")
    return words.DOT.join(said)


def _changes(picture: Picture) -> Iterator[str]:
    yield from (host.change for host in picture.hosts)
    yield from (link.change for link in picture.links)
    yield from (stream.change for stream in picture.streams)
    yield from (m.change for host in picture.hosts for m in host.modules)


def _extent(layout: Layout, routes: Iterable[Route]) -> Area:
    """What boxes, curves and labels cover."""
    whole = layout.extent()
    left, top, right, bottom = whole.x, whole.y, whole.right, whole.bottom
    for one in routes:
        points = [one.at(i / 12) for i in range(13)] if not layout.small else []
        if one.label is not None:
            points += [(one.label.x, one.label.y), (one.label.right, one.label.bottom)]
        for x, y in points:
            left, right = min(left, x - 4), max(right, x + 4)
            top, bottom = min(top, y - 4), max(bottom, y + 4)
    return Area(left, top, right - left, bottom - top)


# --- boxes -----------------------------------------------------------------------------------


def _box(box: Box, *, small: bool) -> Iterator[str]:
    if box.host is None:
        yield from _cloud(box.area)
        return
    host, a = box.host, box.area
    marks = f" {host.change}" if host.change else ""
    marks += " gone" if host.change == "remove" else ""
    yield f"<g><title>{clean(_host_title(host))}</title>"
    for i in (2, 1) if host.count > 1 else ():
        yield _rect(Area(a.x + 5 * i, a.y - 5 * i, a.w, a.h), "stack" + marks, 10)
    yield _rect(a, "box" + marks, 5 if small else 10)
    if small:
        yield _text("text mid", a.middle[0], a.y + 16, box.title)
    else:
        yield _header_shape(box)
        y = a.y + 21
        yield _text("name text", a.x + boxes.PAD, y, box.title)
        if box.detail:
            yield _text("dim", a.x + boxes.PAD, y + 16, box.detail)
        for chip in box.chips:
            yield from _chip(chip)
    yield "</g>"


def _host_title(host: Host) -> str:
    """What a pointer over the box tells."""
    said = [f"host {host.name}", words.budget(host) or "no limits"]
    if host.machine:
        said.append(f"on {host.machine}")
    said += [f"module {m.name}" for m in host.modules[:20]]
    return ", ".join(said)


def _rect(area: Area, kind: str, radius: float) -> str:
    return (
        f'<rect class="{kind}" x="{_n(area.x)}" y="{_n(area.y)}" width="{_n(area.w)}" '
        f'height="{_n(area.h)}" rx="{radius:g}"/>'
    )


def _header_shape(box: Box) -> str:
    """The tinted header inside the box's outline."""
    a, r = box.area, 9.0
    x, y, w, h = a.x + 0.6, a.y + 0.6, a.w - 1.2, box.header - 0.6
    if not box.chips:
        return _rect(Area(x, y, w, h - 0.6), "head", r)
    return (
        f'<path class="head" d="M{_n(x)} {_n(y + h)}v{_n(r - h)}q0 {_n(-r)} {_n(r)} {_n(-r)}'
        f'h{_n(w - 2 * r)}q{_n(r)} 0 {_n(r)} {_n(r)}v{_n(h - r)}z"/>'
    )


def _chip(chip: Chip) -> Iterator[str]:
    a, module = chip.area, chip.module
    marks = f" {module.change}" if module.change else ""
    marks += " gone" if module.change == "remove" else ""
    if module.count > 1:
        yield _rect(Area(a.x + 3, a.y - 3, a.w, a.h), "chip", 7)
    yield _rect(a, "chip" + marks, 7)
    x = a.x + 10
    if module.state:
        kind = STATES.get(module.state, "busy")
        yield f'<circle class="{kind}" cx="{_n(x + 4)}" cy="{_n(a.y + 14)}" r="4"/>'
        x += 14
    tint = module.change or "text"
    yield _text(f"module {tint}", x, a.y + 18.5, chip.title)
    if chip.detail:
        yield _text("dim", a.x + 10, a.y + 34, chip.detail)


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}">{clean(text)}</text>'


_PUFFS = ((0.3, -3, -53), (0.4, 36, -24), (0.28, 28, 17), (0.3, 3, 60))
"""The cloud's arcs: radius, and how far each leads, in hundredths of its size."""


def _cloud(a: Area) -> Iterator[str]:
    """The outside world."""
    path = f"M{_n(a.x + a.w * 0.2)} {_n(a.bottom - 4)}"
    for radius, across, down in _PUFFS:
        r = _n(radius * a.h)
        path += f"a{r} {r} 0 0 1 {_n(a.w * across / 100)} {_n(a.h * down / 100)}"
    yield f'<g><title>the outside world</title><path class="cloud" d="{path}z"/>'
    yield _text("text mid", a.middle[0], a.y + a.h * 0.66, "outside") + "</g>"


# --- curves ----------------------------------------------------------------------------------


def _curve(one: Route, *, small: bool) -> str:
    kind = _kind(one.item)
    marks = ""
    if one.item is not None and one.item.change:
        marks = f" {one.item.change}" + (" gone" if one.item.change == "remove" else "")
    if isinstance(one.item, Stream):
        marks += f" {one.item.transport}"
    start = one.curve[0][0]
    path = f"M{_n(start[0])} {_n(start[1])}" + "".join(
        "C" + " ".join(f"{_n(x)} {_n(y)}" for x, y in cubic[1:]) for cubic in one.curve
    )
    if small:
        end = one.curve[-1][3]
        path = f"M{_n(start[0])} {_n(start[1])}L{_n(end[0])} {_n(end[1])}"
        return f'<path class="{kind}{marks} faint" d="{path}"/>'
    drawn = f'<path class="{kind}{marks}" d="{path}"/>'
    if isinstance(one.item, Stream) or (one.item is not None and one.item.reverse is None):
        tint = f"{kind}head {one.item.change}".strip()
        drawn += f'<polygon class="{tint}" points="{_arrow(one.at(0.985), one.curve[-1])}"/>'
    return f"<g><title>{clean(_route_title(one.item))}</title>{drawn}</g>"


def _kind(item: Link | Stream | None) -> str:
    return "outer" if item is None else "stream" if isinstance(item, Stream) else "link"


def _route_title(item: Link | Stream | None) -> str:
    if item is None:
        return "the way to the outside world"
    if isinstance(item, Stream):
        return f"stream {item.source}.{item.output} to {item.target}.{item.input}, {item.transport}"
    there = ", ".join(words.properties(item.forward)) or "unshaped"
    if item.reverse is None:
        return f"link {item.name}, one way from {item.a} to {item.b}: {there}"
    back = ", ".join(words.properties(item.reverse)) or "unshaped"
    return f"link {item.name}, {item.a} to {item.b}: {there}; {item.b} to {item.a}: {back}"


def _arrow(before: Point, last: tuple[Point, Point, Point, Point]) -> str:
    """The head at a curve's end, along its direction there."""
    tip = last[3]
    angle = math.atan2(tip[1] - before[1], tip[0] - before[0])
    points = [tip] + [
        (tip[0] + ARROW_PX * math.cos(angle + turn), tip[1] + ARROW_PX * math.sin(angle + turn))
        for turn in (2.7, -2.7)
    ]
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)


def _label(one: Route) -> Iterator[str]:
    if one.label is None or one.item is None:
        return
    a = one.label
    named = isinstance(one.item, Link) and one.item.name != f"{one.item.a}-{one.item.b}"
    tint = one.item.change or f"{_kind(one.item)}text"
    yield _rect(a, "halo", 4)
    for i, line in enumerate(one.lines):
        bold = " bold" if i == 0 and named else ""
        y = a.y + 12 + i * LINE_PX
        yield _text(f"{tint}{bold} mid", a.middle[0], y, line)
