"""Why an item is where it is, and why nowhere else. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from net.units import format_duration, format_size
from otter_ctl.placing.costs import NOWHERE_S, image_s
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
        image_bytes: Of images that have to be brought there for it.
    """

    item: str
    room: str
    why: str
    cost_s: float
    others: Mapping[str, str] = field(default_factory=dict)
    image_bytes: int = 0


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
        replace(r, item=item.name)
        for item in request.items
        for r in (by_group[seating.of[item.name].name],)
    ]


def _reason(
    seating: Seating, group: Group, room: str, now: Mapping[str, str], loose: bool
) -> Reason:
    rooms = seating.rooms
    rooms.leave(group)
    cost, brings = seating.cost_s(group, room), seating.brings(group, room)
    if not loose:
        rooms.take(group, room)
        named = "named in the file" if rooms.noun == "host" else "may be on no other"
        kept = named if group.fixed else "runs there already"
        return Reason(group.name, room, kept, cost, image_bytes=brings)
    refused = {other: rooms.refusal(group, other) for other in rooms.by_name if other != room}
    than = cost, brings
    others = {other: why or _dearer(seating, group, other, than) for other, why in refused.items()}
    sizes = [seating.brings(group, other) for other in others]
    rooms.take(group, room)
    together = f" (with {', '.join(group.members[1:])})" if group.members[1:] else ""
    choice = not all(refused.values())
    why = "costs least there" if choice else f"the only {rooms.noun} that it fits on"
    if brings:
        together += f"; {_sized(brings)} of images are brought there"
    elif any(sizes):
        together += "; its images are there, or come with others"
    return Reason(group.name, room, why + together, cost, others, brings)


def _dearer(seating: Seating, group: Group, room: str, than: tuple[float, int]) -> str:
    """`adds 12.3ms to the messages of a second`."""
    more = seating.cost_s(group, room) - than[0]
    extra = seating.brings(group, room) - than[1]
    if more < NOWHERE_S / 2 and extra > 0:
        return _with_images(more, extra)
    if more >= NOWHERE_S / 2:
        return "has no way to those it talks to"
    if abs(more) < SAME_S:
        return "costs the same: comes later in the file"
    if more < 0:
        return f"saves {_told(-more)} by itself, but costs more for all together"
    return f"adds {_told(more)} to the messages of a second"


def _with_images(more_s: float, extra: int) -> str:
    """Of a room to which more bytes of images have to be brought."""
    images = f"{_sized(extra)} more of images would be brought there"
    talk_s = more_s - image_s(extra)
    if abs(talk_s) < SAME_S:
        return images
    if talk_s > 0:
        return f"adds {_told(talk_s)} to the messages of a second, and {images}"
    return f"saves {_told(-talk_s)} in the messages of a second, but {images}"


def _sized(size: int) -> str:
    """To two digits: `1200MB`."""
    step: int = 10 ** max(3, len(str(size)) - 2)
    return format_size(round(size / step) * step)


def _told(seconds: float) -> str:
    return format_duration(float(f"{seconds:.3g}"))
