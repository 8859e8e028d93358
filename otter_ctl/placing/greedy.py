"""Quick and good: the most connected first, each where it costs least; then moves and swaps. Pure.

A group of items is seated once those it talks to most are, so that a pipeline grows from its pinned
ends. Groups without flows are seated by how full rooms are, from a heap per sort of need: rooms
only fill up, so what a room cost when it was looked at last is never more than it costs now. Then
groups are moved, and pairs swapped, as long as that saves something; and then, as long as there are
`LOOKS`, a few are taken out and seated anew, which is kept if the whole is better for it (iterated
local search). The dice are seeded: the same request gives the same placement everywhere.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping

from otter_ctl.placing.costs import total_s
from otter_ctl.placing.request import Request, UnplacedError
from otter_ctl.placing.rules import Group
from otter_ctl.placing.seating import Seating

LOOKS = 60_000
"""Rooms tried for groups while a placement is improved: about half a second."""
WIDE = 64
"""Rooms beside those of its peers that a group is tried in, where there are very many."""
SHAKES = 40
"""Shakes in a row that bring nothing, and the search is over."""
_GAIN_S = 1e-9


def greedy(request: Request) -> dict[str, str]:
    """Item -> room.

    Raises:
        UnplacedError: A group fits nowhere, whichever is seated first.
    """
    seating = Seating(request)
    try:
        _grow(seating)
    except UnplacedError:
        seating = Seating(request)
        _largest_first(seating)
    if (request.flows or request.sends) and seating.loose:
        _search(seating)
    return {item.name: seating.rooms.seated[item.name] for item in request.items}


def rejected(seating: Seating, group: Group) -> UnplacedError:
    """That it goes nowhere, and why."""
    why = {room: seating.rooms.refusal(group, room) for room in seating.rooms.by_name}
    return UnplacedError(group.name, why)


class _Emptiest:
    """The rooms that are cheapest by fullness alone, for groups with the same needs."""

    def __init__(self, seating: Seating) -> None:
        self._seating = seating
        self._heaps: dict[tuple[object, ...], list[tuple[float, int]]] = {}
        self._names = list(seating.rooms.by_name)

    def take(self, group: Group) -> str | None:
        """The first that it fits in, of those that cost least."""
        key = (*sorted(group.needs.items()), group.wants, group.among, *group.there.items())
        heap = self._heaps.get(key)
        if heap is None:
            heap = [(self._cost(group, n), n) for n in range(len(self._names))]
            heapq.heapify(heap)
            self._heaps[key] = heap
        fits = self._seating.rooms.fits
        while heap:
            known, number = heap[0]
            now = self._cost(group, number)
            if now > known + 1e-15:
                heapq.heapreplace(heap, (now, number))
            elif fits(group, self._names[number]):
                return self._names[number]
            else:
                heapq.heappop(heap)  # it only gets fuller
        return None

    def _cost(self, group: Group, number: int) -> float:
        return self._seating.cost_s(group, self._names[number])


def _grow(seating: Seating) -> None:
    """Seat all loose groups, those next that send most to, or get most from, seated ones."""
    order = {group.name: number for number, group in enumerate(seating.groups)}
    pull = {group.name: 0.0 for group in seating.loose}
    for group in seating.groups:
        if seating.seated(group):
            _pull(seating, group, pull)
    heap = [(-pull[g.name], -_size(seating, g), order[g.name], g.name) for g in seating.loose]
    heapq.heapify(heap)
    by_name = {group.name: group for group in seating.loose}
    emptiest = _Emptiest(seating)
    while heap:
        group = by_name[heapq.heappop(heap)[-1]]
        if seating.seated(group):
            continue
        _seat(seating, group, emptiest)
        for peer in _pull(seating, group, pull):
            heapq.heappush(
                heap, (-pull[peer.name], -_size(seating, peer), order[peer.name], peer.name)
            )


def _pull(seating: Seating, group: Group, pull: dict[str, float]) -> list[Group]:
    """The loose groups that a seated one pulls, each by what it sends and gets."""
    peers = []
    for _, other, size, weight in seating.ties(group):
        peer = seating.of[other]
        if peer.name in pull and not seating.seated(peer):
            pull[peer.name] += weight * (1.0 + abs(size))
            peers.append(peer)
    return peers


def _size(seating: Seating, group: Group) -> float:
    """By what part of an average room it fills: large ones have fewer places to go."""
    return group.needs.get("cpu", 0.0) if seating.ties(group) else 0.0


def _largest_first(seating: Seating) -> None:
    """Where pieces hardly fit, the large ones go first."""
    emptiest = _Emptiest(seating)
    for group in sorted(seating.loose, key=lambda g: -sum(_shares(seating, g))):
        _seat(seating, group, emptiest)


def _shares(seating: Seating, group: Group) -> list[float]:
    """Of each resource that it needs, which part of the largest room's."""
    largest: Mapping[str, float] = {
        kind: max((r.has.get(kind, 0.0) for r in seating.request.rooms), default=0.0)
        for kind in group.needs
    }
    return [needs / (largest[kind] or 1.0) for kind, needs in group.needs.items()]


def _seat(seating: Seating, group: Group, emptiest: _Emptiest) -> None:
    enemies = seating.rooms.enemies
    free = not seating.ties(group) and not any(member in enemies for member in group.members)
    if free and not _particular(seating, group):
        room = emptiest.take(group)
    else:
        found = seating.best(group, _candidates(seating, group))
        found = found or seating.best(group, seating.rooms.by_name)
        room = None if found is None else found[1]
    if room is None:
        raise rejected(seating, group)
    seating.rooms.take(group, room)


def _particular(seating: Seating, group: Group) -> bool:
    """Whether rooms differ for it by the images that are there, which others may bring."""
    return bool(group.images and seating.request.sends)


def _candidates(seating: Seating, group: Group) -> list[str]:
    """All rooms, if they are few; else those of its peers, and the first that have room."""
    names = list(seating.rooms.by_name)
    if len(names) <= WIDE:
        return names
    near = dict.fromkeys(room for peer in seating.peers(group) if (room := seating.seated(peer)))
    others = (name for name in names if name not in near and seating.rooms.fits(group, name))
    if _particular(seating, group):
        own = (name for name in names if name not in near and not seating.brings(group, name))
        near |= dict.fromkeys(name for name, _ in zip(own, range(WIDE), strict=False))
    return [*near, *(name for name, _ in zip(others, range(WIDE), strict=False))]


def _search(seating: Seating) -> None:
    """Improve; shake and improve again, and go back where that was no better."""
    dice = random.Random(0)  # noqa: S311
    looks = _improve(seating, LOOKS)
    best_s, vain = total_s(seating.request, seating.rooms.seated), 0
    while looks > 0 and vain < SHAKES:
        before = {group.name: seating.rooms.seated[group.name] for group in seating.loose}
        looks = _improve(seating, looks - _shake(seating, dice))
        now_s = total_s(seating.request, seating.rooms.seated)
        if now_s < best_s - _GAIN_S:
            best_s, vain = now_s, 0
        else:
            _restore(seating, before)
            vain += 1


def _shake(seating: Seating, dice: random.Random) -> int:
    """Take out a few groups that talk to each other, seat them anew; how many rooms that tried."""
    first = dice.choice(seating.loose)
    near = [peer for peer in seating.peers(first) if peer in seating.loose]
    chosen = {group.name: group for group in (first, *dice.sample(near, min(2, len(near))))}
    other = dice.choice(seating.loose)
    chosen[other.name] = other
    before = {name: seating.rooms.leave(group) for name, group in chosen.items()}
    groups = list(chosen.values())
    dice.shuffle(groups)
    for group in groups:
        fitting = [room for room in seating.rooms.by_name if seating.rooms.fits(group, room)]
        if not fitting:
            for seated in groups[: groups.index(group)]:
                seating.rooms.leave(seated)
            for name, room in before.items():
                seating.rooms.take(chosen[name], room)
            break
        seating.rooms.take(group, dice.choice(fitting))
    return len(groups) * len(seating.rooms.by_name)


def _restore(seating: Seating, seats: Mapping[str, str]) -> None:
    moved = [g for g in seating.loose if seating.rooms.seated[g.name] != seats[g.name]]
    for group in moved:
        seating.rooms.leave(group)
    for group in moved:
        seating.rooms.take(group, seats[group.name])


def _improve(seating: Seating, looks: int) -> int:
    """Move and swap while that saves something; how many rooms may still be tried."""
    better = True
    while better and looks > 0:
        better = False
        for group in seating.loose:
            candidates = _candidates(seating, group)
            looks -= len(candidates)
            better |= _move(seating, group, candidates)
            if looks <= 0:
                return looks
        for number, group in enumerate(seating.loose):
            for other in seating.loose[number + 1 :]:
                looks -= 2
                better |= _swap(seating, group, other)
            if looks <= 0:
                return looks
    return looks


def _move(seating: Seating, group: Group, candidates: list[str]) -> bool:
    before = seating.rooms.leave(group)
    now = seating.cost_s(group, before)
    found = seating.best(group, candidates)
    moved = found is not None and found[0] < now - _GAIN_S
    seating.rooms.take(group, found[1] if found is not None and moved else before)
    return moved


def _swap(seating: Seating, one: Group, two: Group) -> bool:
    """Exchange the rooms of two, if both fit and it saves something."""
    rooms = seating.rooms
    first, second = rooms.seated[one.name], rooms.seated[two.name]
    if first == second:
        return False
    before = _pair_s(seating, one, two)
    rooms.leave(one)
    rooms.leave(two)
    if rooms.fits(one, second):
        rooms.take(one, second)
        if rooms.fits(two, first):
            rooms.take(two, first)
            if _pair_s(seating, one, two) < before - _GAIN_S:
                return True
            rooms.leave(two)
        rooms.leave(one)
    rooms.take(one, first)
    rooms.take(two, second)
    return False


def _pair_s(seating: Seating, one: Group, two: Group) -> float:
    """What two seated groups cost together: each flow and each fullness once."""
    rooms = seating.rooms
    first, second = rooms.leave(one), rooms.leave(two)
    cost = seating.cost_s(one, first)
    rooms.take(one, first)
    cost += seating.cost_s(two, second)
    rooms.take(two, second)
    return cost
