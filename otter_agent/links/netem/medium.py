"""What members of a cell share: the queues of a medium, in the namespace of the host in its middle.

      comes in by a member's link                         leaves by a member's link
    device ─ clsact: all of it, marked ──┐     ┌── e.DEVICE: 4f01: (loss, …), marked
             clsact: what is marked      │     │   clsact on device: what is marked passes
               through s.DEVICE ◄──┐     ▼     ▼                           ▲
                                   │   c.MEDIUM ─ htb 4f02: the capacity   │
                                   │              └ drr 4f09: turns        │
                                   │                 └ 4f09:N the queue of a member's direction
                                   └── d.MEDIUM ─ clsact: by their marks ──┘

`c.` and `d.` are the ends of one pair: what HTB lets go comes in at the other, and goes where its
mark says. What is shared is sending time, but HTB and DRR know bytes only. So all members must have
one rate; of those that have another (`uneven`) each still has its part of the time, but together
they have more than there is while the slower ones send.

Rejected: classes of HTB per member (each has a burst of its own); an ifb instead of the pair (what
it gives back passes no filter again, so no delay could follow); size tables, in which the packets
of slower members count more (the kernel takes them on roots only since 2024).

Must not know: netlink, namespaces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from net.links.spec import LinkSpec
from otter_agent.errors import NetworkError
from otter_agent.links.base import Direction
from otter_agent.links.netem import filters, tc, tree
from otter_agent.links.netem.filters import ALL, IN, MARKED, OUT, Filter, Where
from otter_agent.links.netem.lateness import USUAL_NS
from otter_agent.links.netem.options import (
    LEAVES,
    Drr,
    Htb,
    Leaf,
    Share,
    Turn,
)
from otter_agent.links.netem.place import ENTRY, SHARE, SHARES, short
from otter_agent.network.messages import Request

TURNS = 0x4F090000
_QUANTUM = 1514
"""What a member may send in its turn: a full packet, with its header."""
_HEAVY = 100_000
"""Times that at most; if weights are further apart, turns are smaller."""
_MARK = 0x4F000000
_MOST_NUMBERS = 0xFFFF
"""Of classes of a qdisc. A namespace's devices have rising indexes, also after others have gone."""
_PURPOSE = "share the medium"

Key = tuple[object, ...]


@lru_cache(maxsize=1024)
def devices(medium: str) -> tuple[str, str]:
    """Names of a medium's pair."""
    digest = hashlib.blake2b(medium.encode(), digest_size=5).hexdigest()
    return f"c.{digest}", f"d.{digest}"


def entry_device(device: str) -> str:
    """Name of the device whose queue has what a cell's host sends by another, before the medium."""
    return short("e.", device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One direction that sends on a medium.

    Attributes:
        link: Index of its link's device at the host in the middle.
        inner: Of the device through which it goes there beside: `s.` of what comes in, after the
            medium; `e.` of what is sent, before.
        uplink: Whether it is sent by the member.
    """

    direction: Direction
    spec: LinkSpec
    link: int
    inner: int
    uplink: bool

    @property
    def number(self) -> int:
        """Its own among all at this host, as long as the device is there.

        Raises:
            NetworkError: There is none left: another one's would be shared in silence.
        """
        number = 2 * self.link + (not self.uplink)
        if number > _MOST_NUMBERS:
            why = f"over {self.link} devices were made in that namespace; make the mesh anew"
            raise NetworkError("netem", _PURPOSE, str(self.direction), why)
        return number

    @property
    def bytes_per_s(self) -> int:
        """What it has while it sends."""
        return tree.bytes_per_s(self.spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """Something that shall be there.

    Attributes:
        value: What it shall be; what is there is compared with that.
        changes: What makes it so, if it is another.
        whose: The direction that it is for; None: the medium's.
    """

    key: Key
    value: object
    makes: Request
    changes: tuple[Request, ...]
    whose: Direction | None = None


def part(spec: LinkSpec) -> tuple[object, ...]:
    """All of what is asked that the queues of its medium are made from; of no medium: nothing."""
    if spec.medium is None:
        return ()
    queue = None if spec.rate_bps is None else tree.leaf(spec)
    return spec.medium, spec.medium_weight, spec.rate_bps, tree.overhead(spec), queue


def uneven(specs: Iterable[LinkSpec]) -> bool:
    """Whether what shares a medium is more than one kind: no kernel shares time among these."""
    return len({(spec.rate_bps, tree.overhead(spec)) for spec in specs}) > 1


def things(
    pair: tuple[int, int], members: Sequence[Member], late_ns: int = USUAL_NS
) -> Iterator[Thing]:
    """All that a medium is made of, in the order in which it may come and change."""
    into, out = pair
    fastest = max(one.bytes_per_s for one in members)
    share = tree.share(fastest, late_ns)
    yield _root(into, tree.overhead(members[0].spec))
    yield _class(into, SHARE, share)
    yield _qdisc(into, TURNS, SHARE, Drr())
    yield _ingress(out)
    heaviest = max(one.spec.medium_weight or 1.0 for one in members)
    for one in members:
        yield from _member(pair, one, fastest, max(1.0, heaviest / _HEAVY))


def _member(pair: tuple[int, int], one: Member, fastest: int, less: float) -> Iterator[Thing]:
    into, out = pair
    turn, mark, whose = TURNS | one.number, _MARK | one.number, one.direction
    part = (one.spec.medium_weight or 1.0) * one.bytes_per_s / fastest
    yield _class(into, turn, Turn(quantum=max(1, round(_QUANTUM * part / less))), whose)
    yield _leaf(into, turn, tree.leaf(one.spec), whose)
    arriving = Where(index=out, parent=IN, priority=MARKED, handle=mark)
    yield _filter(Filter(where=arriving, to=one.link, inward=one.uplink), whose)
    yield _ingress(one.link)
    # What comes from the medium: past the filter that leads to it.
    side = IN if one.uplink else OUT
    back = Where(index=one.link, parent=side, priority=MARKED, handle=mark)
    yield _filter(Filter(where=back, to=one.inner if one.uplink else 0, mark=0), whose)
    if one.uplink:
        every = Where(index=one.link, parent=IN, priority=ALL, handle=1)
        yield _filter(Filter(where=every, to=into, mark=mark, turn=turn), whose)
        return
    yield _qdisc(one.inner, SHARES, ENTRY + 1, Htb(), whose)
    leaving = Where(index=one.inner, parent=SHARES, priority=ALL, handle=1)
    yield _filter(Filter(where=leaving, to=into, mark=mark, turn=turn), whose)
    every = Where(index=one.link, parent=OUT, priority=ALL, handle=1)
    yield _filter(Filter(where=every, to=one.inner), whose)


def way_in(member: Member) -> Where:
    """Of the filter that leads its packets to a medium."""
    side = IN if member.uplink else OUT
    return Where(index=member.link, parent=side, priority=ALL, handle=1)


def removal(pair: tuple[int, int], number: int) -> list[Request]:
    """What ends a member's part, with what waits in it."""
    into, out = pair
    arriving = Where(index=out, parent=IN, priority=MARKED, handle=_MARK | number)
    return [filters.drop(arriving, _PURPOSE), tc.drop_class(into, TURNS | number, _PURPOSE)]


def leaf_key(pair: tuple[int, int], number: int) -> Key:
    """Of a member's queue."""
    return ("leaf", pair[0], TURNS | number)


# --- what is there --------------------------------------------------------------------------------


def known(seen: Iterable[tc.Seen]) -> dict[Key, object]:
    """From dumps and echoes of qdiscs and classes: those that may be of a medium."""
    found: dict[Key, object] = {}
    for one in seen:
        if one.message == tc.RTM_NEWTCLASS:
            if one.kind == "htb" and one.handle == SHARE:
                found["class", one.index, one.handle] = Share.decode(one.options)
            elif one.kind == "drr":
                found["class", one.index, one.handle] = Turn.decode(one.options)
        elif one.parent == tc.INGRESS:
            found["ingress", one.index] = True
        elif one.kind in ("htb", "drr"):
            value = Htb(overhead=one.overhead) if one.kind == "htb" else Drr()
            found["qdisc", one.index, one.handle] = value
        elif one.parent & 0xFFFF0000 == TURNS and one.kind in LEAVES:
            found["leaf", one.index, one.parent] = LEAVES[one.kind].decode(one.options)
    return found


def known_filters(seen: Iterable[tuple[Where, int]]) -> dict[Key, object]:
    """From dumps of filters."""
    return {("filter", where): to for where, to in seen}


def requests(
    have: Mapping[Key, object], wanted: Iterable[Thing]
) -> Iterator[tuple[Thing, Request]]:
    """What makes it so, in order."""
    for thing in wanted:
        if thing.key not in have:
            yield thing, thing.makes
        elif have[thing.key] != thing.value:
            yield from ((thing, request) for request in thing.changes)


# --- the parts ------------------------------------------------------------------------------------


def _root(index: int, overhead: int) -> Thing:
    value = Htb(overhead=overhead)
    return Thing(
        key=("qdisc", index, SHARES),
        value=value,
        makes=tc.put_qdisc(index, SHARES, tc.ROOT, value, _PURPOSE, new=True),
        changes=(tc.put_overhead(index, SHARES, value.kind, overhead, _PURPOSE),),
    )


def _qdisc(
    index: int, handle: int, parent: int, value: Htb | Drr, whose: Direction | None = None
) -> Thing:
    makes = tc.put_qdisc(index, handle, parent, value, _PURPOSE, new=True)
    return Thing(key=("qdisc", index, handle), value=value, makes=makes, changes=(), whose=whose)


def _class(index: int, handle: int, value: Share | Turn, whose: Direction | None = None) -> Thing:
    return Thing(
        key=("class", index, handle),
        value=value,
        makes=tc.put_class(index, handle, value, _PURPOSE, new=True),
        changes=(tc.put_class(index, handle, value, _PURPOSE, new=False),),
        whose=whose,
    )


def _leaf(index: int, parent: int, value: Leaf, whose: Direction) -> Thing:
    """Of another kind: it takes the place of what is there."""
    return Thing(
        key=("leaf", index, parent),
        value=value,
        makes=tc.put_qdisc(index, 0, parent, value, _PURPOSE, new=True),
        changes=(tc.put_qdisc(index, 0, parent, value, _PURPOSE, new=True),),
        whose=whose,
    )


def _filter(value: Filter, whose: Direction) -> Thing:
    makes = value.put(_PURPOSE)
    changes = (filters.drop(value.where, _PURPOSE), makes)
    key = ("filter", value.where)
    return Thing(key=key, value=value.to, makes=makes, changes=changes, whose=whose)


def _ingress(index: int) -> Thing:
    makes = tc.put_ingress(index, _PURPOSE)
    return Thing(key=("ingress", index), value=True, makes=makes, changes=())
