"""Events with `attach`: hosts that move from cell to cell, and what that is for their links.

    at          all links of the host to cells: down; its ways lead to the new cell
    at + gap    its link to the new cell: up

A host that comes into a cell of which it is no member visits it: it has a link there from the
beginning, which is down. Must not know: TOML, positions, routes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from net.links.changes import Change
from net.units import format_duration
from otter_ctl.topology.globs import Names
from otter_ctl.topology.model import Cell, Host, HostMove, Link, TimedEvent
from otter_ctl.topology.reader import Bad, Fields, Place, did_you_mean, shown

_NOT_WITH = ("link", "cell", "module", "set", "reset", "action", "when", "for", "ramp")


def is_attach(own: Fields) -> bool:
    """Whether an event moves hosts."""
    return "attach" in own.given


def visits(written: Sequence[Fields], hosts: Names | None) -> dict[str, list[str]]:
    """Cell -> hosts that will come there; what is wrong is reported by `read_moves`."""
    found: dict[str, dict[str, None]] = {}
    for own in written:
        cell = own["attach"].get("cell") if "attach" in own else None
        if cell is None or "host" not in own or hosts is None:
            continue
        for word in own["host"]:
            try:
                found.setdefault(cell, {}).update(dict.fromkeys(hosts.match(word)))
            except Bad:
                continue
    return {cell: list(names) for cell, names in found.items()}


def read_moves(
    written: Sequence[Fields],
    names: Names | None,
    hosts: Mapping[str, Host],
    cells: Sequence[Cell],
    links: Sequence[Link],
) -> tuple[tuple[HostMove, ...], tuple[TimedEvent, ...]]:
    """All sound moves, and what they are for links, in the order of the file."""
    moves: list[HostMove] = []
    events: list[TimedEvent] = []
    known = {cell.name: cell for cell in cells}
    for own in written:
        if not is_attach(own):
            continue
        for move, more in _moves(own, names, hosts, known, links):
            moves.append(move)
            events += more
    return tuple(moves), tuple(events)


def _moves(
    own: Fields,
    names: Names | None,
    hosts: Mapping[str, Host],
    cells: Mapping[str, Cell],
    links: Sequence[Link],
) -> Iterator[tuple[HostMove, list[TimedEvent]]]:
    if not _is_whole(own) or names is None:
        return
    place = own.place.child("host")
    found: dict[str, None] = {}
    for number, word in enumerate(own["host"]):
        several = len(own["host"]) > 1
        found |= dict.fromkeys(names.find(word, place.child(number) if several else place))
    cell = cells.get(own["attach"]["cell"])
    if cell is None:
        where = own["attach"].place.child("cell")
        near = did_you_mean(own["attach"]["cell"], cells, where)
        where.report(f"unknown cell {shown(own['attach']['cell'])}{near}")
        return
    for host in found:
        if not _can_move(place, hosts[host], cells, links):
            return
        link = next((m.link for m in cell.members if m.host == host), None)
        if link is None:
            place.report(f"{shown(host)} can't come into cell {shown(cell.name)}: it is its middle")
            return
        yield _move(own, host, cell, link, cells)


def _is_whole(own: Fields) -> bool:
    """Whether it says who goes where, and nothing else."""
    if "host" not in own.given:
        own.place.report("missing key `host`", "it says who moves")
        return False
    for key in _NOT_WITH:
        if key in own.given:
            own.place.child(key).report("goes not together with `attach`", "write two events")
            return False
    if "at" not in own.given:
        own.place.report("missing key `at`", "it says when it begins, from the epoch")
    attach: Fields | None = own.get("attach")
    whole = not own.given - own.values.keys() and "at" in own and attach is not None
    return (
        whole
        and attach is not None
        and not attach.given - attach.values.keys()
        and ("cell" in attach)
    )


def _can_move(place: Place, host: Host, cells: Mapping[str, Cell], links: Sequence[Link]) -> bool:
    """Whether nobody's way leads through it; reports why not."""
    own = {m.link: m for cell in cells.values() for m in cell.members if m.host == host.name}
    others = [x.name for x in links if host.name in (x.a, x.b) and x.name not in own]
    at_first = [member for member in own.values() if not member.visits]
    if others:
        hint = "a host that moves between cells has no links but theirs"
        place.report(f"{shown(host.name)} can't move: it has link {shown(others[0])}", hint)
    elif len(at_first) > 1:
        place.report(
            f"{shown(host.name)} can't move: it is in several cells at first",
            "let one of them have it as a member",
        )
    elif host.gateway:
        place.report(f"{shown(host.name)} can't move: it is a gateway")
    return not others and len(at_first) < 2 and not host.gateway


def _move(
    own: Fields, host: str, cell: Cell, link: str, cells: Mapping[str, Cell]
) -> tuple[HostMove, list[TimedEvent]]:
    at, every, gap = own["at"], own.get("every"), own["attach"].get("gap", 0.0)
    everywhere = tuple(m.link for c in cells.values() for m in c.members if m.host == host)
    text = f"{host}: attaches to {cell.name}"
    leaves = TimedEvent(
        at_s=at, both=everywhere, change=Change.of(up=False), every_s=every,
        text=f"{text} after {format_duration(gap)}" if gap else text,
    )  # fmt: skip
    comes = TimedEvent(
        at_s=at + gap, both=(link,), change=Change.of(up=True), every_s=every,
        text=f"{host}: is attached to {cell.name}",
    )  # fmt: skip
    return HostMove(at_s=at, host=host, link=link, every_s=every), [leaves, comes]
