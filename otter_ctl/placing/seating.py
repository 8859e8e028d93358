"""A placement in the making: groups in rooms, and what a change of one would cost. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from otter_ctl.placing import costs
from otter_ctl.placing.request import Request
from otter_ctl.placing.rules import Group, Rooms, groups

Tie = tuple[str, str, float, float]
"""(own item, the other, bytes of a message, weight) of a flow; bytes below 0: it comes in."""


class Seating:
    """Groups in rooms.

    Attributes:
        groups: All of them, in the order of the file.
        loose: Those that may be moved.
        rooms: What is where.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.groups = groups(request)
        self.rooms = Rooms.of(request)
        self.of = {member: group for group in self.groups for member in group.members}
        self._ties: dict[str, list[Tie]] = {}
        self._crossed: dict[tuple[str, str, float], float] = {}
        for flow in request.flows:
            ends = self.of[flow.source], self.of[flow.target]
            if ends[0] is not ends[1]:
                out = (flow.source, flow.target, flow.message_bytes, flow.weight)
                back = (flow.target, flow.source, -flow.message_bytes, flow.weight)
                self._ties.setdefault(ends[0].name, []).append(out)
                self._ties.setdefault(ends[1].name, []).append(back)
        self.loose = self._settle()

    def _settle(self) -> list[Group]:
        """Seat what has no choice: who names its room, then who runs; the others are loose.

        Of two that run in one room and must be apart now, the first of the file stays.
        """
        current = {item.name: item.now for item in self.request.items}
        loose = []
        for group in self.groups:
            if group.fixed:
                self.rooms.take(group, group.fixed)
        for group in self.groups:
            if group.fixed:
                continue
            now = current[group.name]
            stays = self.rooms.alone if self.request.crowded else self._holds
            if stays(group, now) and self.rooms.enemy(group, now) is None:
                self.rooms.take(group, now)
            else:
                loose.append(group)
        return loose

    def _holds(self, group: Group, room: str) -> bool:
        """Whether it fits beside all that are seated there already."""
        return room in self.rooms.by_name and self.rooms.fits(group, room)

    def ties(self, group: Group) -> list[Tie]:
        """Its flows from and to other groups."""
        return self._ties.get(group.name, [])

    def peers(self, group: Group) -> Iterator[Group]:
        """The groups that it talks to."""
        return (self.of[tie[1]] for tie in self.ties(group))

    def seated(self, group: Group) -> str | None:
        """Its room, if it has one."""
        return self.rooms.seated.get(group.name)

    def cost_s(self, group: Group, room: str) -> float:
        """What seating a group in a room adds, as things are."""
        images_s = costs.image_s(self.brings(group, room)) if group.images else 0.0
        return self.alone_s(group, room) + images_s + self.crowd_s(group, room)

    def brings(self, group: Group, room: str) -> int:
        """Bytes of images that have to be brought if it is there, beside what others bring."""
        store, known = self.rooms.by_name[room].keeps, self.rooms.images
        sends = self.request.sends
        return sum(
            sends.get((store, image), 0) for image in group.images if not known.get((store, image))
        )

    def alone_s(self, group: Group, room: str) -> float:
        """The same without what fullness and images cost."""
        return group.there.get(room, 0.0) + self.talk_s(group, room)

    def best(self, group: Group, among: Iterable[str]) -> tuple[float, str] | None:
        """The cheapest room that it fits in; the first of those that cost the same."""
        found: tuple[float, str] | None = None
        for room in among:
            if self.rooms.fits(group, room):
                cost = self.cost_s(group, room)
                if found is None or cost < found[0] - 1e-12:
                    found = cost, room
        return found

    def talk_s(self, group: Group, room: str) -> float:
        """What its flows from and to seated groups cost, were it there."""
        seats, cost = self.rooms.seated, 0.0
        for _, other, size, weight in self.ties(group):
            there = seats.get(other)
            if there is not None:
                cost += weight * (
                    self.flow_s(room, there, size) if size >= 0 else self.flow_s(there, room, -size)
                )
        return cost

    def flow_s(self, source: str, target: str, size: float) -> float:
        """Latency between two rooms; asked of the request once."""
        key = (source, target, size)
        known = self._crossed.get(key)
        if known is None:
            known = self._crossed[key] = costs.flow_s(self.request, source, target, size)
        return known

    def crowd_s(self, group: Group, room: str) -> float:
        """What a group's fullness adds to a room's cost."""
        has, used, needs = self.rooms.by_name[room].has, self.rooms.used[room], group.needs
        if not has or not needs:
            return 0.0
        before = after = 0.0
        for kind, whole in has.items():
            if whole > 0:
                part = used.get(kind, 0.0) / whole
                before = max(before, part)
                after = max(after, part + needs.get(kind, 0.0) / whole)
        return costs.CROWDING_S * (after**2 - before**2)
