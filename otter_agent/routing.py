"""Routes of a mesh that follows its links: shortest paths over those that are up.

Delays are those of the topology, so a trace of delays moves no route. What is computed is what the
plan would have been without the directions that are down; only hosts whose routes differ are
touched. Must not know: who took a link down, how routes are installed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection

import msgspec

from net.routing.blocks import parse_block
from net.routing.routes import compute
from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.links.telling import Tell
from otter_agent.links.ways import Way

AGAIN_S = 1.0
"""After routes that couldn't be installed."""
_MOST_SHOWN = 4
Down = frozenset[Way]


def shortest(spec: api.MeshSpec, down: Down) -> api.MeshSpec:
    """The spec with the routes that it has while some directions are down. Pure.

    A host that moves from cell to cell is a leaf, and its ways are its moves' affair.
    """
    moving = {move.host for move in spec.timeline.moves}
    visits = {move.link for move in spec.timeline.moves}
    links = []
    partly = {link.name for link in spec.beyond}
    for link in (*(link for link in spec.links if link.name not in partly), *spec.beyond):
        if link.name in visits and link.forward is not None and link.forward.up is False:
            continue  # nobody is there at first, and none but moves lead there
        gone = set() if link.a in moving else {(w.source, w.target) for w in down_of(link, down)}
        links.append(
            msgspec.structs.replace(
                link,
                forward=None if (link.a, link.b) in gone else link.forward,
                reverse=None if (link.b, link.a) in gone else link.reverse,
            )
        )
    everybody = api.all_hosts(spec)
    blocks = {name: parse_block(host.block) for name, host in everybody.items()}
    gateways = {name for name, host in everybody.items() if host.gateway}
    tables = compute(blocks, links, gateways).tables
    hosts = tuple(
        msgspec.structs.replace(
            host, routes=tuple(api.Route(**way._asdict()) for way in tables[host.name])
        )
        for host in spec.hosts
    )
    return msgspec.structs.replace(spec, hosts=hosts)


def down_of(link: api.Link, down: Down) -> list[Way]:
    """The directions of a link that are down."""
    ways = (Way(link.name, link.a, link.b), Way(link.name, link.b, link.a))
    return [way for way in ways if way in down]


class Routing:
    """Of one mesh.

    Args:
        spec: Gives its topology.
        down: Gives the directions that are down now.
        settled: Returns when what is asked of links is in force: no way is to lead over one that
            isn't up yet.
        tell: Records events.
        apply: Installs the routes of hosts.
    """

    def __init__(
        self,
        spec: Callable[[], api.MeshSpec],
        down: Callable[[], Down],
        settled: Callable[[], Awaitable[None]],
        tell: Tell,
        apply: Callable[[Collection[str]], Awaitable[None]],
    ) -> None:
        self._spec = spec
        self._down = down
        self._settled = settled
        self._tell = tell
        self._apply = apply
        self._made: tuple[api.MeshSpec, Down, api.MeshSpec] | None = None
        self._followed: tuple[Down, api.MeshSpec] | None = None
        self._news = asyncio.Event()
        self._since = 0.0
        self._elsewhere: dict[str, Down] = {}

    def hear(self, machine: str, down: Down) -> None:
        """The directions that are down, of those that another machine makes scarce."""
        if self._elsewhere.get(machine, frozenset()) != down:
            self._elsewhere[machine] = down
            self.turned()

    def _all_down(self) -> Down:
        """Another machine's word is taken for links that there are, and that end there."""
        found, spec = self._down(), self._spec()
        if any(self._elsewhere.values()):
            links = (*spec.links, *spec.beyond)
            ways = {Way(link.name, *ends) for link in links for ends in _both(link)}
            for other in spec.away:
                told = self._elsewhere.get(other.machine, frozenset()) & ways
                found |= {w for w in told if w.source in other.hosts or w.target in other.hosts}
        return found

    def turned(self) -> None:
        """A link went down, or came up."""
        if not self._news.is_set():
            self._since = time.monotonic()
            self._news.set()

    def routed(self, spec: api.MeshSpec) -> api.MeshSpec:
        """With the routes of now, for whoever makes the whole network."""
        if spec.routing != "shortest":
            self._followed = None
            return spec
        down = self._all_down()
        if self._made is None or self._made[0] is not spec or self._made[1] != down:
            self._made = spec, down, shortest(spec, down) if down else spec
        if self._followed is None:
            self._followed = down, self._made[2]
        return self._made[2]

    async def run(self) -> None:
        """Follow links until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._follow(self._since)
            except NetworkError as error:
                self._tell("network", self._spec().name, f"routing: {error}", "failed")
                await asyncio.sleep(AGAIN_S)
                self.turned()

    async def _follow(self, since: float) -> None:
        await self._settled()
        spec, down = self._spec(), self._all_down()
        was, old = self._followed or (frozenset(), spec)
        if spec.routing != "shortest" or down == was:
            return
        new = await asyncio.to_thread(shortest, spec, down) if down else spec
        self._made = spec, down, new
        before = {host.name: host.routes for host in old.hosts}
        hosts = {host.name for host in new.hosts if before.get(host.name) != host.routes}
        if hosts:
            await self._apply(hosts)
        self._followed = down, new
        took_s = time.monotonic() - since
        why = ", ".join(filter(None, (_some("down", down - was), _some("up", was - down))))
        text = f"routes of {len(hosts)} hosts are others {took_s * 1e3:.0f} ms after {why}"
        data = {"took_s": took_s, "hosts": len(hosts), "down": sorted(map(str, down))}
        self._tell("network", spec.name, text, "rerouted", data)


def _both(link: api.Link) -> tuple[tuple[str, str], tuple[str, str]]:
    return (link.a, link.b), (link.b, link.a)


def _some(what: str, ways: Down) -> str:
    if not ways:
        return ""
    names = sorted(map(str, ways))
    shown = ", ".join(names[:_MOST_SHOWN]) + (", …" if names[_MOST_SHOWN:] else "")
    return f"{shown} went {what}"
