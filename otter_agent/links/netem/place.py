"""Where a direction's qdiscs are, what dumps say of them, and messages that change them. Pure.

Handles are reserved: 4f01: to 4f0a: on a link's device and on the device of its detour.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from otter_agent.links.netem import filters, tc
from otter_agent.links.netem.filters import DETOUR, IN, Filter, Where
from otter_agent.links.netem.options import LEAVES, Htb, Leaf, Netem, Share
from otter_agent.links.netem.tree import Apart, Tree
from otter_agent.network.messages import Request

ENTRY, SHARES, WIRE, FLIGHT = 0x4F010000, 0x4F020000, 0x4F040000, 0x4F050000
PACE = 0x4F0A0000
SHARE = SHARES + 1
LEAF_HANDLES = {"bfifo": 0x4F030000, "pfifo": 0x4F060000, "codel": 0x4F070000, "red": 0x4F080000}
_PARENTS = {SHARES: ENTRY + 1, FLIGHT: WIRE + 1, PACE: FLIGHT + 1} | dict.fromkeys(
    LEAF_HANDLES.values(), SHARE
)
_KINDS = (
    dict.fromkeys((ENTRY, WIRE, FLIGHT, PACE), "netem")
    | {SHARES: "htb"}
    | {handle: kind for kind, handle in LEAF_HANDLES.items()}
)
_ROOTS = {ENTRY, WIRE}
DETOUR_PREFIX = "s."
_DEVICE_MAX = 15

Side = Literal["source", "target"]
_PURPOSES = {
    "entry": "set loss, duplication and corruption",
    "htb": "set the rate",
    "share": "set the rate",
    "leaf": "set the queue",
    "wire": "set the rate",
    "pace": "set the rate",
    "flight": "set delay, jitter, reordering and slots",
    "detour": "send what comes in through its queue",
    "ingress": "send what comes in through its queue",
    "undo": "send what comes in through its queue",
}


def detour_device(device: str) -> str:
    """Name of the device through whose queue all goes that comes in by another."""
    return short(DETOUR_PREFIX, device)


@lru_cache(maxsize=4096)
def short(prefix: str, device: str) -> str:
    """A device's name with a prefix, in so many characters as names may have."""
    name = prefix + device
    if len(name) <= _DEVICE_MAX:
        return name
    digest = hashlib.blake2b(device.encode(), digest_size=3).hexdigest()
    return f"{name[: _DEVICE_MAX - 7]}~{digest}"


def detour_filter(index: int, detour: int) -> Filter:
    """All that comes in by a device goes through the queue of another."""
    return Filter(where=Where(index=index, parent=IN, priority=DETOUR, handle=1), to=detour)


class Step(NamedTuple):
    """One message of a change."""

    side: Side
    part: str
    request: Request


@dataclass(slots=True, kw_only=True)
class Place:
    """One direction's devices and qdiscs as they are.

    Attributes:
        source: Index of the device that packets leave by, or of that on their way to a medium.
        apart: Whether its queue is that of a medium, and who sends.
        target: Index of the one that they come in by.
        detour: Index of the device beside that; 0: there is none.
        ingress: Whether the device has somewhere to put filters on what comes in.
        filtered: Whether what comes in goes through the detour.
        stats: Counters, by handle.
        arrived: Packets and their bytes that came in at the target so far; where they were read.
        lost: Packets that the source let go and the target had no room for; likewise.
    """

    source: int
    target: int
    apart: Apart = ""
    detour: int = 0
    ingress: bool = False
    filtered: bool = False
    htb: bool = False
    tree: Tree = field(default_factory=Tree)
    stats: dict[int, tc.Stats] = field(default_factory=dict, compare=False)
    arrived: tuple[int, int] = field(default=(0, 0), compare=False)
    lost: int = field(default=0, compare=False)


def foreign(seen: Iterable[tc.Seen], index: int) -> str:
    """What somebody else has put on a device, or among our qdiscs; empty: nothing."""
    for one in seen:
        if one.index != index or not one.handle >> 16 or one.message != tc.RTM_NEWQDISC:
            continue
        ours = _KINDS.get(one.handle) == one.kind
        if one.parent == tc.ROOT and not (ours and one.handle in _ROOTS):
            return f"{one.kind} {one.handle >> 16:x}:"
        if one.parent in _PARENTS.values() and not (ours and _PARENTS[one.handle] == one.parent):
            return f"{one.kind} {one.handle >> 16:x}:"
    return ""


def absorb(place: Place, seen: tc.Seen, side: Side) -> None:
    """Take in what a dump or an echo says of one side's devices."""
    if side == "source":
        _from_source(place, seen)
    else:
        _from_target(place, seen)


def _from_source(place: Place, seen: tc.Seen) -> None:
    tree = place.tree
    if seen.index != place.source:
        return
    if seen.message == tc.RTM_NEWTCLASS:
        if seen.handle == SHARE:
            place.tree = replace(tree, share=Share.decode(seen.options))
        return
    if _KINDS.get(seen.handle) != seen.kind:
        return
    place.stats[seen.handle] = seen.stats
    if seen.handle == SHARES:
        place.htb = True
    elif seen.handle == ENTRY:
        place.tree = replace(tree, entry=Netem.decode(seen.options, seen.overhead))
    elif seen.handle in LEAF_HANDLES.values():
        place.tree = replace(tree, leaf=LEAVES[seen.kind].decode(seen.options))


def _from_target(place: Place, seen: tc.Seen) -> None:
    tree = place.tree
    if seen.index == place.target:
        if seen.parent == tc.INGRESS:
            place.ingress = True
        return
    if seen.index != place.detour or _KINDS.get(seen.handle) != seen.kind:
        return
    place.stats[seen.handle] = seen.stats
    if seen.handle == WIRE:
        place.tree = replace(tree, wire=Netem.decode(seen.options, seen.overhead))
    elif seen.handle == FLIGHT:
        place.tree = replace(tree, flight=Netem.decode(seen.options, seen.overhead))
    elif seen.handle == PACE:
        place.tree = replace(tree, pace=Netem.decode(seen.options, seen.overhead))


def agrees(have: Tree, want: Tree) -> bool:
    """Whether what is there does what is wanted."""
    return not _differing(have, want)


def _differing(have: Tree, want: Tree) -> set[str]:
    """Written out: each change asks twice."""
    parts = set()
    if want.entry is not None and want.entry != have.entry:
        parts.add("entry")
    if want.share is not None and want.share != have.share:
        parts.add("share")
    if want.leaf is not None and want.leaf != have.leaf:
        parts.add("leaf")
    if want.wire is not None and want.wire != have.wire:
        parts.add("wire")
    if want.flight is not None and want.flight != have.flight:
        parts.add("flight")
    if want.pace is not None and want.pace != have.pace:
        parts.add("pace")
    return parts


def steps(place: Place, want: Tree) -> list[Step]:
    """What makes it so, in order; whatever is there is changed in its place."""
    differ = _differing(place.tree, want)
    return [*_target_steps(place, want, differ), *_source_steps(place, want, differ)]


def _target_steps(place: Place, want: Tree, differ: set[str]) -> list[Step]:
    if want.wire is None:
        return []
    todo: list[Step] = []
    if "wire" in differ:
        new, purpose = place.tree.wire is None, _PURPOSES["wire"]
        request = tc.put_qdisc(place.detour, WIRE, tc.ROOT, want.wire, purpose, new=new)
        todo.append(Step("target", "wire", request))
    if "flight" in differ and want.flight is not None:
        new, purpose = place.tree.flight is None, _PURPOSES["flight"]
        request = tc.put_qdisc(place.detour, FLIGHT, WIRE + 1, want.flight, purpose, new=new)
        todo.append(Step("target", "flight", request))
    if "pace" in differ and want.pace is not None:
        new, purpose = place.tree.pace is None, _PURPOSES["pace"]
        request = tc.put_qdisc(place.detour, PACE, FLIGHT + 1, want.pace, purpose, new=new)
        todo.append(Step("target", "pace", request))
    if not place.ingress:
        todo.append(Step("target", "ingress", tc.put_ingress(place.target, _PURPOSES["ingress"])))
    if not place.filtered:
        # One to a device that is no more would swallow everything.
        detour = detour_filter(place.target, place.detour)
        todo.append(Step("target", "undo", filters.drop(detour.where, _PURPOSES["undo"])))
        todo.append(Step("target", "detour", detour.put(_PURPOSES["detour"])))
    return todo


def _source_steps(place: Place, want: Tree, differ: set[str]) -> list[Step]:
    todo: list[Step] = []
    index = place.source
    if "entry" in differ and want.entry is not None:
        new, purpose = place.tree.entry is None, _PURPOSES["entry"]
        request = tc.put_qdisc(index, ENTRY, tc.ROOT, want.entry, purpose, new=new)
        todo.append(Step("source", "entry", request))
    if want.share is None:
        return todo
    if not place.htb:
        request = tc.put_qdisc(index, SHARES, ENTRY + 1, Htb(), _PURPOSES["htb"], new=True)
        todo.append(Step("source", "htb", request))
    if place.tree.share is None and want.leaf is not None:
        # The queue comes while the rate holds nothing up: what would wait is lost when it comes.
        open_ = Share(rate=10**12)
        todo.append(Step("source", "share", _share(index, open_, new=True)))
    if "leaf" in differ and want.leaf is not None:
        todo.append(Step("source", "leaf", _leaf(index, want.leaf, place.tree.leaf)))
    if "share" in differ:
        new = place.tree.share is None and want.leaf is None
        todo.append(Step("source", "share", _share(index, want.share, new=new)))
    return todo


def _share(index: int, share: Share, *, new: bool) -> Request:
    return tc.put_class(index, SHARE, share, _PURPOSES["share"], new=new)


def _leaf(index: int, leaf: Leaf, there: Leaf | None) -> Request:
    new = there is None or there.kind != leaf.kind
    handle = LEAF_HANDLES[leaf.kind]
    return tc.put_qdisc(index, handle, SHARE, leaf, _PURPOSES["leaf"], new=new)
