"""Links -> static routes of every host: shortest paths by delay. Pure.

Ties go to fewer hops, then to the next host's name, then to the link's; so a plan is the same on
every laptop. One route per neighbour that leads anywhere, with all destinations in it: a host of a
large mesh has a thousand destinations, but few neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from net.links.spec import LinkSpec
from net.routing.blocks import Block, dotted
from net.routing.paths import Step, Towards, first_steps, one_target

DEFAULT = "0.0.0.0/0"


class Link(Protocol):
    """What joins two hosts; a direction that is None can't be gone."""

    @property
    def name(self) -> str:
        """The link's."""
        ...

    @property
    def a(self) -> str:
        """One host."""
        ...

    @property
    def b(self) -> str:
        """The other."""
        ...

    @property
    def forward(self) -> LinkSpec | None:
        """From `a` to `b`."""
        ...

    @property
    def reverse(self) -> LinkSpec | None:
        """From `b` to `a`."""
        ...


class Route(NamedTuple):
    """What a host sends to one neighbour: destinations, the neighbour's address, the link."""

    to: tuple[str, ...]
    via: str
    link: str


@dataclass(frozen=True, slots=True, order=True)
class Hop:
    """The next step towards somewhere; ordered as ties are broken."""

    host: str
    link: str


class Reach(Mapping[str, AbstractSet[str]]):
    """Host -> the hosts that it has a route to; sets are made when asked for."""

    def __init__(self, names: Sequence[str], towards: Sequence[Towards]) -> None:
        self._numbers = {name: number for number, name in enumerate(names)}
        self._names = names
        self._towards = towards
        self._made: dict[str, set[str]] = {}

    def __getitem__(self, host: str) -> AbstractSet[str]:
        made = self._made.get(host)
        if made is None:
            lists = self._towards[self._numbers[host]].values()
            made = self._made[host] = {self._names[n] for targets in lists for n in targets}
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


@dataclass(frozen=True, slots=True)
class Routes:
    """The outcome.

    Attributes:
        tables: Routes of each host.
        reach: Host -> the hosts that it has a route to.
    """

    tables: dict[str, tuple[Route, ...]]
    reach: Mapping[str, AbstractSet[str]]


@dataclass(slots=True)
class Graph:
    """Hosts numbered by their addresses; the steps out of each."""

    names: list[str]
    steps: list[list[Step]]
    hops: list[Hop] = field(default_factory=list)
    """By rank in the tie-break."""


def compute(
    blocks: Mapping[str, Block], links: Sequence[Link], gateways: Collection[str] = ()
) -> Routes:
    """Routes from every host to every other's block that it can reach, and to a gateway."""
    names = sorted(blocks, key=lambda name: blocks[name].base)
    made = graph(names, links)
    towards = first_steps(made.steps)
    ranges = Ranges([blocks[name] for name in names])
    via = {name: dotted(block.host) for name, block in blocks.items()}
    tables = {
        name: tuple(
            Route(to=ranges.cover(by_hop[rank]), via=via[hop.host], link=hop.link)
            for rank in sorted(by_hop)
            for hop in (made.hops[rank],)
        )
        for name, by_hop in zip(names, towards, strict=True)
    }
    for name, hop in _outward(made, gateways):
        tables[name] += (Route(to=(DEFAULT,), via=via[hop.host], link=hop.link),)
    return Routes(tables, Reach(names, towards))


def _outward(made: Graph, gateways: Collection[str]) -> Iterable[tuple[str, Hop]]:
    """The next hop of every host towards the outside world; none of a gateway, which is there.

    The outside is one more node behind all gateways, so everybody's nearest is found at once.
    """
    if not gateways:
        return
    inside, outside = len(made.hops), len(made.names)
    steps: list[list[Step]] = [
        [*out, (0, outside, inside)] if name in gateways else out
        for name, out in zip(made.names, made.steps, strict=True)
    ]
    for number, rank in one_target([*steps, []], outside):
        if rank < inside:
            yield made.names[number], made.hops[rank]


class Ranges:
    """Blocks in the order of their addresses, and the CIDRs that cover some of them."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._bases = [block.base for block in blocks]
        self._ends = [block.base + block.size for block in blocks]
        self._covers: dict[tuple[int, int], list[str]] = {}
        """First and last of touching blocks -> their CIDRs: many hosts sum up the same ones."""

    def cover(self, numbers: Sequence[int]) -> tuple[str, ...]:
        """The fewest CIDRs that cover exactly these blocks, which are in ascending order."""
        bases, ends = self._bases, self._ends
        found: list[str] = []
        first = last = numbers[0]
        for number in numbers[1:]:
            if bases[number] != ends[last]:
                self._add(found, first, last)
                first = number
            last = number
        self._add(found, first, last)
        return tuple(found)

    def _add(self, found: list[str], first: int, last: int) -> None:
        cover = self._covers.get((first, last))
        if cover is None:
            cover = [str(block) for block in _aligned(self._bases[first], self._ends[last])]
            self._covers[first, last] = cover
        found += cover


def _aligned(base: int, end: int) -> Iterable[Block]:
    """Cut a range into the largest aligned blocks."""
    while base < end:
        size = base & -base or 1 << 32
        while size > end - base:
            size >>= 1
        yield Block(base, size)
        base += size


def graph(names: list[str], links: Sequence[Link]) -> Graph:
    """Hosts in the order of their addresses, and the directions of links out of each."""
    number = {name: i for i, name in enumerate(names)}
    ends = [end for link in links for end in _directions(link)]
    ends.sort(key=lambda end: (end[1].host, end[1].link))
    made = Graph(names, [[] for _ in names])
    for rank, (source, hop, delay_ns) in enumerate(ends):
        made.hops.append(hop)
        made.steps[number[source]].append((delay_ns, number[hop.host], rank))
    return made


def _directions(link: Link) -> Iterable[tuple[str, Hop, int]]:
    """(sender, hop, delay in ns) of each direction that was written."""
    for source, target, spec in ((link.a, link.b, link.forward), (link.b, link.a, link.reverse)):
        if spec is not None:
            yield source, Hop(target, link.name), round((spec.delay_s or 0.0) * 1e9)
