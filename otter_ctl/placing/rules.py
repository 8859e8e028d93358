"""Whether an item may be in a room, and why not. Pure.

Items that must share a room are one `Group`: placed, moved and refused together. Must not know:
costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from net.units import format_size
from otter_ctl.placing.request import Barred, Item, Request, Room

SLACK = 1e-9
"""Tenths of cores add up to a whole one."""
WHOLE = "whole"
"""The resource of which a room has one, for items that are the whole of it."""


@dataclass(slots=True)
class Group:
    """Items that share a room.

    Attributes:
        fixed: Where it must be; empty: to be found.
        members: Names, in the order of the file.
    """

    members: list[str]
    needs: dict[str, float] = field(default_factory=dict)
    wants: frozenset[str] = frozenset()
    among: frozenset[str] | None = None
    fixed: str = ""
    there: dict[str, float] = field(default_factory=dict)
    images: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Of its first member."""
        return self.members[0]


def groups(request: Request) -> list[Group]:
    """All items, those that must be together as one; in the order of the file."""
    leader = {item.name: item.name for item in request.items}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    order = {item.name: number for number, item in enumerate(request.items)}
    for item in request.items:
        for other in item.beside:
            first, second = sorted((find(item.name), find(other)), key=order.__getitem__)
            leader[second] = first
    made: dict[str, Group] = {}
    for item in request.items:
        _join(made.setdefault(find(item.name), Group([])), item)
    return list(made.values())


def _join(group: Group, item: Item) -> None:
    group.members.append(item.name)
    for kind, needs in item.needs.items():
        group.needs[kind] = group.needs.get(kind, 0.0) + needs
    group.wants |= item.wants
    group.images |= item.images
    if item.among is not None:
        group.among = item.among if group.among is None else group.among & item.among
    if item.room is not None:
        group.fixed = item.room
    for room, cost in item.there.items():
        group.there[room] = group.there.get(room, 0.0) + cost


@dataclass(slots=True)
class Rooms:
    """What is seated where so far."""

    by_name: dict[str, Room]
    used: dict[str, dict[str, float]]
    seated: dict[str, str] = field(default_factory=dict)
    """Item -> room."""
    enemies: dict[str, set[str]] = field(default_factory=dict)
    """Item -> items that must not share its room, whichever of the two said so."""
    noun: str = "host"
    images: dict[tuple[str, str], int] = field(default_factory=dict)
    """(store, image) -> groups there that need it."""
    joined: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Item -> (item that a flow joins it with, how that goes); empty: no rooms are barred."""
    barred: Barred | None = None

    @classmethod
    def of(cls, request: Request) -> Rooms:
        """Empty ones."""
        enemies: dict[str, set[str]] = {}
        for item in request.items:
            for other in item.apart:
                enemies.setdefault(item.name, set()).add(other)
                enemies.setdefault(other, set()).add(item.name)
        by_name = {room.name: room for room in request.rooms}
        used: dict[str, dict[str, float]] = {name: {} for name in by_name}
        joined: dict[str, list[tuple[str, str]]] = {}
        for flow in request.flows if request.barred is not None else ():
            joined.setdefault(flow.source, []).append((flow.target, flow.by))
            joined.setdefault(flow.target, []).append((flow.source, flow.by))
        return cls(
            by_name, used, enemies=enemies, noun=request.noun, joined=joined, barred=request.barred
        )

    def take(self, group: Group, room: str) -> None:
        """Seat a group, whether it fits or not."""
        used = self.used[room]
        for kind, needs in group.needs.items():
            used[kind] = used.get(kind, 0.0) + needs
        self._count(group, room, 1)
        for member in group.members:
            self.seated[member] = room

    def leave(self, group: Group) -> str:
        """Take a group out of its room, and say which that was."""
        room = self.seated[group.name]
        used = self.used[room]
        for kind, needs in group.needs.items():
            used[kind] -= needs
        self._count(group, room, -1)
        for member in group.members:
            del self.seated[member]
        return room

    def _count(self, group: Group, room: str, by: int) -> None:
        store = self.by_name[room].keeps if group.images else ""
        for image in group.images:
            self.images[store, image] = self.images.get((store, image), 0) + by

    def fits(self, group: Group, room: str) -> bool:
        """Whether a group may be in a room as things are."""
        at = self.by_name[room]
        if at.closed:
            return False
        has, used = at.has, self.used[room]
        for kind, needs in group.needs.items():
            if kind in has and needs > has[kind] - used.get(kind, 0.0) + SLACK:
                return False
        return (
            (group.among is None or room in group.among)
            and group.wants <= at.offers
            and self.enemy(group, room) is None
            and self.cut_off(group, room) is None
        )

    def alone(self, group: Group, room: str) -> bool:
        """Whether it could be there if nobody else were."""
        at = self.by_name.get(room)
        return (
            at is not None
            and not at.closed
            and (group.among is None or room in group.among)
            and group.wants <= at.offers
            and self._lacking(group, at, {}) is None
        )

    def refusal(self, group: Group, room: str) -> str:
        """Why a group can't be in a room; empty if it can."""
        at = self.by_name[room]
        if group.among is not None and room not in group.among:
            return f"isn't among the {self.noun}s that it may be on"
        if at.closed:
            return at.closed
        if not group.wants <= at.offers:
            lacking = sorted(group.wants - at.offers)
            return f"lacks {', '.join(_lack(name, at.lacks) for name in lacking)}"
        kind = self._lacking(group, at, self.used[room])
        if kind == WHOLE:
            return "is another host already, as a whole"
        if kind is not None:
            free = max(at.has[kind] - self.used[room].get(kind, 0.0), 0.0)
            return f"has {amounts(kind, free, group.needs[kind])} free"
        if (enemy := self.enemy(group, room)) is not None:
            return f"has {enemy}, which it must be apart from"
        if (found := self.cut_off(group, room)) is None:
            return ""
        other, why = found
        return f"can have no link with {other}, which is on {self.seated[other]}: {why}"

    def _lacking(self, group: Group, room: Room, used: Mapping[str, float]) -> str | None:
        for kind, needs in group.needs.items():
            has = room.has.get(kind)
            if has is not None and needs > has - used.get(kind, 0.0) + SLACK:
                return kind
        return None

    def enemy(self, group: Group, room: str) -> str | None:
        """An item in a room that a group must be apart from."""
        if not self.enemies:
            return None
        others: Iterable[str] = (e for m in group.members for e in self.enemies.get(m, ()))
        return next((e for e in sorted(others) if self.seated.get(e) == room), None)

    def cut_off(self, group: Group, room: str) -> tuple[str, str] | None:
        """An item elsewhere that a group has a flow with, and why none can lead there."""
        if self.barred is None:
            return None
        for member in group.members:
            for other, by in self.joined.get(member, ()):
                there = self.seated.get(other, room)
                if there != room and (why := self.barred(room, there, by)):
                    return other, why
        return None


def _lack(name: str, lacks: Mapping[str, str]) -> str:
    return f"{name} ({lacks[name]})" if lacks.get(name) else name


def amounts(kind: str, free: float, needs: float) -> str:
    """Of what is free and what is asked: `0.5 of 0.75 cores`."""
    if kind == "cpu":
        return f"{free:g} of {needs:g} cores"
    if kind == "gpu":
        return f"{free:.0%} of {needs:.0%} of a GPU"
    words = kind.replace("_", " ")
    return f"{format_size(int(free))} of {format_size(int(needs))} {words}"
