"""Hosts that move from cell to cell: where each is, and what that makes of routes. Pure.

A host that moves is a leaf: nobody's way leads through it. So where it is decides about the last
steps of the ways to it, and about nothing but its own ways from it:

    others     its block ─► as to the host at the middle of its cell
    that host  its block ─► over its link
    itself     everything ─► over its link

Must not know: how routes come into force, when.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from net.links.timeline import Event
from otter_agent import api
from otter_agent.api.spec import DEFAULT_ROUTE


def places(spec: api.MeshSpec, moment_s: float) -> dict[str, str]:
    """Host -> the link that it moved to last, at a moment from the epoch."""
    last: dict[str, tuple[float, int, str]] = {}
    for number, move in enumerate(spec.timeline.moves):
        begun = Event(number=number, at_s=move.at_s, every_s=move.every_s).begun(moment_s)
        if begun is not None:
            last[move.host] = max(last.get(move.host, (-1.0, 0, "")), (begun, number, move.link))
    return {host: link for host, (_, _, link) in last.items()}


def next_s(spec: api.MeshSpec, moment_s: float) -> float:
    """When a host moves next, after a moment; infinite: none will."""
    events = (Event(number=0, at_s=m.at_s, every_s=m.every_s) for m in spec.timeline.moves)
    return min((event.begins_after(moment_s) for event in events), default=math.inf)


def routed(spec: api.MeshSpec, places: Mapping[str, str]) -> api.MeshSpec:
    """The spec with the routes that it has while hosts are elsewhere than at first."""
    ends = {move.link: move.middle for move in spec.timeline.moves if move.middle}
    ends |= {link.name: link.b for link in spec.links}
    middles = {host: (link, ends[link]) for host, link in places.items() if link in ends}
    if not middles:
        return spec
    hosts = api.all_hosts(spec)
    moved = tuple(_host(host, hosts, middles) for host in spec.hosts)
    return msgspec.structs.replace(spec, hosts=moved)


def rerouted(spec: api.MeshSpec, before: Mapping[str, str], now: Mapping[str, str]) -> set[str]:
    """The hosts whose routes differ since hosts have moved."""
    pairs = zip(routed(spec, before).hosts, routed(spec, now).hosts, strict=True)
    return {new.name for old, new in pairs if old.routes != new.routes}


def _host(
    host: api.HostSpec,
    hosts: Mapping[str, api.HostSpec],
    middles: Mapping[str, tuple[str, str]],
) -> api.HostSpec:
    if host.name in middles:
        link, middle = middles[host.name]
        blocks = [other.block for other in hosts.values() if other is not host]
        if any(other.gateway for other in hosts.values()):
            blocks.append(DEFAULT_ROUTE)
        way = api.Route(to=tuple(blocks), via=hosts[middle].address, link=link)
        return msgspec.structs.replace(host, routes=(way,))
    more = []
    for name, (link, middle) in middles.items():
        mover = hosts[name]
        there: api.Route | None = api.Route(to=(), via=mover.address, link=link)
        if host.name != middle:
            there = _way(host.routes, hosts[middle].address)
        now = _way(host.routes, mover.address)
        if there is not None and (now is None or now.link != there.link):
            more.append(api.Route(to=(mover.block,), via=there.via, link=there.link))
    return msgspec.structs.replace(host, routes=(*host.routes, *more)) if more else host


def _way(routes: tuple[api.Route, ...], address: str) -> api.Route | None:
    """The route to an address: of those that cover it the narrowest."""
    target = int(ipaddress.IPv4Address(address))
    found: tuple[int, api.Route] | None = None
    for route in routes:
        for to in route.to:
            base, bits = _network(to)
            narrower = found is None or bits > found[0]
            if narrower and target >> (32 - bits) == base >> (32 - bits):
                found = bits, route
    return found[1] if found else None


@lru_cache(maxsize=4096)
def _network(cidr: str) -> tuple[int, int]:
    network = ipaddress.IPv4Network(cidr)
    return int(network.network_address), network.prefixlen
