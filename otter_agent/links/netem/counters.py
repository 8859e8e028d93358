"""What the qdiscs' statistics mean for a direction. Pure.

A qdisc's drops are counted again by each above it. netem counts no duplicates and no corrupted
packets, and none of them measures its own lateness.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from msgspec.structs import replace

from otter_agent.links.base import Counters, Direction
from otter_agent.links.netem import place as places
from otter_agent.links.netem.options import Netem
from otter_agent.links.netem.place import Place
from otter_agent.links.netem.tc import Stats
from otter_agent.links.netem.tree import ETHERNET

_RED = struct.Struct("=4I")  # tc_red_xstats: early, pdrop, other, marked
_CODEL = struct.Struct("=I4I4I")  # tc_codel_xstats after its type
_NONE = Stats()


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A member's queue on a medium.

    Attributes:
        kind: Of the qdisc.
        overhead: What it counts on top of each packet's bytes.
    """

    kind: str
    overhead: int
    stats: Stats


def counters_of(place: Place, queue: Queue | None = None) -> Counters:
    """Drops while down are among those of `loss`.

    What arrived is what came in by the target's device and doesn't wait behind it any more: so it
    counts from when the link was made, shaped or not.
    """
    tree, stats = place.tree, place.stats
    entry = stats.get(places.ENTRY, _NONE) if tree.entry is not None else _NONE
    shares = stats.get(places.SHARES, _NONE) if place.htb else _NONE
    wire = stats.get(places.WIRE, _NONE) if tree.wire is not None else _NONE
    if queue is not None:
        return _of_member(place, queue, entry, wire)
    early, marked = _managed(place)
    dropped = {
        "loss": max(0, entry.drops - shares.drops),
        "queue": max(0, shares.drops - early),
        "aqm": early,
        "room": wire.drops,
        "overrun": place.lost,
    }
    packets, size = place.arrived
    before, behind = _bytes(tree.entry, entry), _bytes(tree.wire, wire)
    return Counters(
        packets=max(0, packets - wire.waiting_packets - wire.drops),
        bytes=max(0, size - ETHERNET * packets - behind),
        dropped={cause: count for cause, count in dropped.items() if count},
        marked=marked,
        waiting_packets=entry.waiting_packets + wire.waiting_packets,
        waiting_bytes=before + behind,
    )


def _of_member(place: Place, queue: Queue, entry: Stats, wire: Stats) -> Counters:
    """What members send comes in before it waits: so it counts when it has passed the delay."""
    leaf = queue.stats
    early, marked = _managed_of(queue.kind, leaf)
    dropped = {
        "loss": entry.drops,
        "queue": max(0, leaf.drops - early),
        "aqm": early,
        "room": wire.drops,
        "overrun": place.lost,
    }
    tree, (packets, size) = place.tree, place.arrived
    before, behind = _bytes(tree.entry, entry), _bytes(tree.wire, wire)
    counts = (tree.wire.overhead or 0) if tree.wire else 0
    if place.apart == "up":
        packets, size = wire.packets, max(0, wire.size - (counts + ETHERNET) * wire.packets)
    else:
        size = max(0, size - ETHERNET * packets - behind)
        packets = max(0, packets - wire.waiting_packets - wire.drops)
    each = (queue.overhead + ETHERNET) * leaf.waiting_packets
    return Counters(
        packets=packets,
        bytes=size,
        dropped={cause: count for cause, count in dropped.items() if count},
        marked=marked,
        waiting_packets=entry.waiting_packets + wire.waiting_packets + leaf.waiting_packets,
        waiting_bytes=before + behind + max(0, leaf.waiting_size - each),
    )


def _bytes(netem: Netem | None, stats: Stats) -> int:
    """What waits, in bytes of IP packets."""
    if netem is None:
        return 0
    return max(0, stats.waiting_size - ((netem.overhead or 0) + ETHERNET) * stats.waiting_packets)


def _managed(place: Place) -> tuple[int, int]:
    """What CoDel or RED dropped before the queue was full, and what it marked."""
    leaf = place.tree.leaf
    if leaf is None:
        return 0, 0
    return _managed_of(leaf.kind, place.stats.get(places.LEAF_HANDLES[leaf.kind], _NONE))


def _managed_of(kind: str, stats: Stats) -> tuple[int, int]:
    if kind == "red" and len(stats.app) >= _RED.size:
        early, _, _, marked = _RED.unpack_from(stats.app)
        return early, marked
    if kind == "codel" and len(stats.app) >= _CODEL.size:
        *_, over, marked, _, _ = _CODEL.unpack_from(stats.app)
        return max(0, stats.drops - over), marked
    return 0, 0


@dataclass(slots=True)
class _Spell:
    """Drops of the time when a direction was down: so far, and from which count on now."""

    before: int = 0
    since: int | None = None


class Downtimes:
    """Tells drops while down from losses: the kernel counts them together.

    What was before this process began is counted as loss.
    """

    def __init__(self) -> None:
        self._spells: dict[Direction, _Spell] = {}

    def note(self, direction: Direction, place: Place) -> None:
        """Its first netem was changed."""
        drops = place.stats.get(places.ENTRY, _NONE).drops
        down = place.tree.entry is not None and bool(place.tree.entry.tag & 1)
        self.turned(direction, drops, down=down)

    def turned(self, direction: Direction, drops: int, *, down: bool) -> None:
        """It is down now, or isn't; what its first netem had dropped by then."""
        spell = self._spells.get(direction)
        if spell is None:
            if not down:
                return
            spell = self._spells[direction] = _Spell()
        if down and spell.since is None:
            spell.since = drops
        elif not down and spell.since is not None:
            spell.before += max(0, drops - spell.since)
            spell.since = None

    def split(self, direction: Direction, counters: Counters) -> Counters:
        """The counters, with what was lost while down as `down`."""
        spell = self._spells.get(direction)
        if spell is None:
            return counters
        lost = counters.dropped.get("loss", 0)
        down = spell.before
        if spell.since is not None:
            below = counters.dropped.get("queue", 0) + counters.dropped.get("aqm", 0)
            down += max(0, lost + below - spell.since)
        down = min(down, lost)
        dropped = {**counters.dropped, "loss": lost - down, "down": down}
        return replace(counters, dropped={k: v for k, v in dropped.items() if v})

    def forget(self, direction: Direction) -> None:
        """It is no more."""
        self._spells.pop(direction, None)
