"""What a mesh's namespaces shall hold, what they hold, and the operations between. Pure.

    api.MeshSpec ──desired()──► {host: Router} ┐
                                               ├─ plan() ─► Plan: remove ► create ► set up ► route
    namespaces ─── observe ───► {host: Seen}   ┘

Operations are values with a readable `str`; messages.py turns them into bytes. Module plugs
(devices named `m.…`) and what belongs to them are never touched here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.network import names

LOOPBACK = 1
"""The index of `lo` in every namespace (LOOPBACK_IFINDEX, linux/net.h)."""

Cidr = tuple[bytes, int]
"""An IPv4 network: four bytes and the prefix length."""


# --- operations: one message each -----------------------------------------------------------------


class BringUp(NamedTuple):
    """Set a device up."""

    index: int
    device: str

    def __str__(self) -> str:
        return f"set device {self.device} up"


class DeleteDevice(NamedTuple):
    """Delete a device (and with it the other end of its pair)."""

    index: int
    device: str

    def __str__(self) -> str:
        return f"delete device {self.device}"


class AddPair(NamedTuple):
    """Make a veth pair, one end here and up, one in the namespace `peer_host`, still down.

    Both ends get the same hardware address and do no ARP: such a pair carries IP packets only, at
    once and in both directions. Were there ARP, the first packet over a link of 20 ms would take
    60 ms, and a lost ARP packet would cost a second: the emulated network would show a property
    that nobody asked for.
    """

    device: str
    index: int
    """0: the kernel chooses."""
    mac: bytes
    peer_host: str
    peer_device: str
    peer_index: int

    def __str__(self) -> str:
        return f"add device {self.device} (pair with {self.peer_host}:{self.peer_device})"


class AddAddress(NamedTuple):
    """Give a device an IPv4 address."""

    address: bytes
    index: int = LOOPBACK

    def __str__(self) -> str:
        return f"add address {dotted(self.address)}"


class DeleteAddress(NamedTuple):
    """Take an IPv4 address away."""

    address: bytes
    prefix: int
    index: int = LOOPBACK

    def __str__(self) -> str:
        return f"delete address {dotted(self.address)}/{self.prefix}"


class PutRoute(NamedTuple):
    """Add a route, or replace the one to the same destination."""

    to: Cidr
    via: bytes | None
    """The on-link neighbour; None: the destination itself is on the link."""
    index: int

    def __str__(self) -> str:
        via = f" via {dotted(self.via)}" if self.via else ""
        return f"add route {dotted(self.to[0])}/{self.to[1]}{via} dev #{self.index}"


class DeleteRoute(NamedTuple):
    """Delete the route of ours to a destination."""

    to: Cidr

    def __str__(self) -> str:
        return f"delete route {dotted(self.to[0])}/{self.to[1]}"


Op = BringUp | DeleteDevice | AddPair | AddAddress | DeleteAddress | PutRoute | DeleteRoute


# --- desired --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pair:
    """A link as devices: a name at both ends, one hardware address, two hosts."""

    device: str
    mac: bytes
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Router:
    """What one host's namespace shall hold: routes are destination -> (neighbour, device)."""

    address: bytes
    routes: Mapping[Cidr, tuple[bytes, str]]


@dataclass(frozen=True, slots=True)
class Desired:
    """What a mesh's namespaces shall hold."""

    routers: Mapping[str, Router]
    pairs: tuple[Pair, ...]


def desired(agent_id: str, spec: api.MeshSpec) -> Desired:
    """Resolve a spec into devices.

    Raises:
        NetworkError: The spec contradicts itself: an unknown host or link, a bad address.
    """
    where = spec.name
    pairs = tuple(_pair(agent_id, spec, link) for link in spec.links)
    hosts = {h.name for h in spec.hosts}
    ends: dict[str, set[str]] = {name: set() for name in hosts}
    for pair in pairs:
        for host in (pair.a, pair.b):
            if host not in hosts:
                raise NetworkError("network", f"add link {pair.device}", where, f"no host {host}")
            if pair.device in ends[host] or pair.a == pair.b:
                why = f"two devices of this name on {host}"
                raise NetworkError("network", f"add link {pair.device}", where, why)
            ends[host].add(pair.device)
    devices = {link.name: pair.device for link, pair in zip(spec.links, pairs, strict=True)}
    routers = {h.name: _router(where, h, devices, ends[h.name]) for h in spec.hosts}
    return Desired(routers, pairs)


def _pair(agent_id: str, spec: api.MeshSpec, link: api.Link) -> Pair:
    mac = names.hardware_address(agent_id, spec.name, link.name, link.a, link.b)
    return Pair(names.link_device(link.name), mac, link.a, link.b)


def _router(mesh: str, host: api.HostSpec, devices: dict[str, str], ends: set[str]) -> Router:
    where = f"{mesh}/{host.name}"
    routes: dict[Cidr, tuple[bytes, str]] = {}
    for route in host.routes:
        device = devices.get(route.link)
        if device is None or device not in ends:
            why = f"link {route.link} doesn't lead away from {host.name}"
            raise NetworkError("network", f"add route {route.to}", where, why)
        routes[cidr(route.to, where)] = (address(route.via, where), device)
    return Router(address(host.address, where), routes)


def address(text: str, where: str) -> bytes:
    """Four bytes of a dotted IPv4 address."""
    found = _address(text)
    if found is None:
        raise NetworkError("network", "read an address", where, f"{text} is no IPv4 address")
    return found


def cidr(text: str, where: str) -> Cidr:
    """An IPv4 network from text."""
    found = _cidr(text)
    if found is None:
        raise NetworkError("network", "read a route", where, f"{text} is no IPv4 network")
    return found


# Cached: a mesh of 100 hosts names each of its networks 99 times, and ipaddress is slow.


@lru_cache(maxsize=65536)
def _address(text: str) -> bytes | None:
    try:
        return ipaddress.IPv4Address(text).packed
    except ValueError:
        return None


@lru_cache(maxsize=65536)
def _cidr(text: str) -> Cidr | None:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        return None
    return network.network_address.packed, network.prefixlen


def dotted(packed: bytes) -> str:
    """An IPv4 address for people."""
    return ".".join(map(str, packed))


# --- observed -------------------------------------------------------------------------------------


class Device(NamedTuple):
    """A device as a namespace lists it."""

    index: int
    name: str
    up: bool
    kind: str
    """`veth`, …; empty for `lo`."""
    mac: bytes
    peer: int
    """The index of a pair's other end, in that end's namespace."""


@dataclass(slots=True)
class Seen:
    """What one namespace holds."""

    devices: dict[str, Device] = field(default_factory=dict)
    addresses: set[tuple[int, bytes, int]] = field(default_factory=set)
    """(device index, address, prefix length), without 127.0.0.0/8."""
    routes: dict[Cidr, tuple[bytes | None, int]] = field(default_factory=dict)
    """Routes of ours: destination -> (neighbour, device index)."""


# --- the way from one to the other ----------------------------------------------------------------


@dataclass(slots=True)
class Plan:
    """Operations per host, in four steps; every step waits for the one before."""

    remove: dict[str, list[Op]] = field(default_factory=dict)
    create: list[str] = field(default_factory=list)
    """Hosts whose namespace doesn't exist."""
    setup: dict[str, list[Op]] = field(default_factory=dict)
    route: dict[str, list[Op]] = field(default_factory=dict)


def plan(want: Desired, seen: Mapping[str, Seen]) -> Plan:
    """What makes `seen` (hosts whose namespace exists) into `want`."""
    result = Plan(create=[host for host in want.routers if host not in seen])
    indices, missing = _keep_pairs(want, seen, result)
    free = {host: _first_free(seen.get(host)) for host in want.routers}
    for host, router in want.routers.items():
        result.setup[host] = _own(router, seen.get(host, Seen()))
        result.route[host] = []
    for pair in missing:
        a, b = free[pair.a], free[pair.b]
        free[pair.a], free[pair.b] = a + 1, b + 1
        indices[pair.a, pair.device], indices[pair.b, pair.device] = a, b
        result.setup[pair.a].append(AddPair(pair.device, a, pair.mac, pair.b, pair.device, b))
        result.route[pair.b].append(BringUp(b, pair.device))
    for host, router in want.routers.items():
        result.route[host] += _routes(host, router, seen.get(host, Seen()), indices)
    return result


def _keep_pairs(
    want: Desired, seen: Mapping[str, Seen], result: Plan
) -> tuple[dict[tuple[str, str], int], list[Pair]]:
    """Find the whole pairs, plan the removal of all other devices; indices kept, pairs missing."""
    kept: dict[tuple[str, str], int] = {}
    missing: list[Pair] = []
    for pair in want.pairs:
        a = seen[pair.a].devices.get(pair.device) if pair.a in seen else None
        b = seen[pair.b].devices.get(pair.device) if pair.b in seen else None
        if a and b and a.mac == b.mac == pair.mac and (a.peer, b.peer) == (b.index, a.index):
            kept[pair.a, pair.device], kept[pair.b, pair.device] = a.index, b.index
        else:
            missing.append(pair)
    for host, what in seen.items():
        # Other kinds are left alone: some (tunl0, sit0) are in every namespace and can't go.
        stale = [
            DeleteDevice(d.index, d.name)
            for d in what.devices.values()
            if d.kind == "veth" and not is_plug(d) and (host, d.name) not in kept
        ]
        down = [
            BringUp(d.index, d.name)
            for d in what.devices.values()
            if (host, d.name) in kept and not d.up
        ]
        result.remove[host] = [*stale, *down]
    return kept, missing


def is_plug(device: Device) -> bool:
    """Whether it leads to a module."""
    return device.name.startswith(names.PLUG_PREFIX)


def _first_free(what: Seen | None) -> int:
    return max((d.index for d in what.devices.values()), default=LOOPBACK) + 1 if what else 2


def _own(router: Router, what: Seen) -> list[Op]:
    """Loopback up, with the router's address."""
    ops: list[Op] = []
    lo = what.devices.get("lo")
    if lo is None or not lo.up:
        ops.append(BringUp(LOOPBACK, "lo"))
    if (LOOPBACK, router.address, 32) not in what.addresses:
        ops.append(AddAddress(router.address))
    return ops


def _routes(
    host: str, router: Router, what: Seen, indices: Mapping[tuple[str, str], int]
) -> list[Op]:
    """Routes that differ, then what has no place any more: old routes, old addresses."""
    kept = {d.index for d in what.devices.values() if (host, d.name) in indices}
    plugs = {d.index for d in what.devices.values() if is_plug(d)}
    # A removed device took its routes along; its index may be given to a new one.
    there = {to: hop for to, hop in what.routes.items() if hop[1] in kept}
    ops: list[Op] = []
    for to, (via, device) in router.routes.items():
        index = indices[host, device]
        if there.get(to) != (via, index):
            ops.append(PutRoute(to, via, index))
    ops += [
        DeleteRoute(to)
        for to, hop in what.routes.items()
        if to not in router.routes and hop[1] not in plugs and hop[1] in kept
    ]
    ops += [
        DeleteAddress(old, prefix)
        for index, old, prefix in sorted(what.addresses)
        if index == LOOPBACK and (old, prefix) != (router.address, 32)
    ]
    return ops
