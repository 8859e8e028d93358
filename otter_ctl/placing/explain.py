"""Why an item is where it is, and why nowhere else. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from net.units import format_duration
from otter_ctl.placing.costs import NOWHERE_S
from otter_ctl.placing.request import Request
from otter_ctl.placing.rules import Group
from otter_ctl.placing.seating import Seating

SAME_S = 5e-7
"""Differences that nobody would read."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item is in its room.

    Attributes:
        item: Its name.
        room: Where it is.
        why: In words: named, kept, or cheapest.
        cost_s: What it costs there.
        others: Each other room -> why not there: what it lacks, or what it would cost more.
    """

    item: str
    room: str
    why: str
    cost_s: float
    others: Mapping[str, str] = field(default_factory=dict)


def explain(request: Request, seats: Mapping[str, str]) -> list[Reason]:
    """A reason for each item, in their order.

    Args:
        request: What was placed.
        seats: Item -> room, as a placer gave it.
    """
    seating = Seating(request)
    loose = {group.name for group in seating.loose}
    for group in seating.loose:
        seating.rooms.take(group, seats[group.name])
    now = {item.name: item.now for item in request.items}
    by_group = {
        group.name: _reason(seating, group, seats[group.name], now, group.name in loose)
        for group in seating.groups
    }
    return [
        Reason(item.name, r.room, r.why, r.cost_s, r.others)
        for item in request.items
        for r in (by_group[seating.of[item.name].name],)
    ]


def _reason(
    seating: Seating, group: Group, room: str, now: Mapping[str, str], loose: bool
) -> Reason:
    rooms = seating.rooms
    rooms.leave(group)
    cost = seating.cost_s(group, room)
    if not loose:
        rooms.take(group, room)
        named = "named in the file" if rooms.noun == "host" else "may be on no other"
        kept = named if group.fixed else "runs there already"
        return Reason(group.name, room, kept, cost)
    refused = {other: rooms.refusal(group, other) for other in rooms.by_name if other != room}
    others = {other: why or _dearer(seating, group, other, cost) for other, why in refused.items()}
    rooms.take(group, room)
    together = f" (with {', '.join(group.members[1:])})" if group.members[1:] else ""
    choice = not all(refused.values())
    why = "costs least there" if choice else f"the only {rooms.noun} that it fits on"
    return Reason(group.name, room, why + together, cost, others)


def _dearer(seating: Seating, group: Group, room: str, than_s: float) -> str:
    """`adds 12.3ms to the messages of a second`."""
    more = seating.cost_s(group, room) - than_s
    if more >= NOWHERE_S / 2:
        return "has no way to those it talks to"
    if abs(more) < SAME_S:
        return "costs the same: comes later in the file"
    if more < 0:
        return f"saves {_told(-more)} by itself, but costs more for all together"
    return f"adds {_told(more)} to the messages of a second"


def _told(seconds: float) -> str:
    return format_duration(float(f"{seconds:.3g}"))
