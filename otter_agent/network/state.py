"""What a mesh's namespaces shall hold, and what one does hold. Pure.

Must not know: how it is read or changed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.links.base import DeviceKind
from otter_agent.network import names
from otter_agent.network.operations import Cidr
from otter_agent.network.outside.config import RESOLVER

DEFAULT: Cidr = (b"\0\0\0\0", 0)
BEFORE, BEYOND = "192.0.0.7", "192.0.0.8"
_HOP = bytes((192, 0, 0, 7))
"""A namespace at the far end of a link to another machine is nobody's: its own address is the one
that IPv4 has for such (RFC 7600), and all of the other side is behind the other."""
_OUTSIDE = bytes(map(int, RESOLVER.split(".")))
NO_KINDS: Mapping[str, DeviceKind] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Pair:
    """A link as devices: a name at both ends, two hosts.

    Attributes:
        mac: Of both ends, if they are a veth pair.
        kind: `veth`; or `tun`: a device at each end, joined by a link driver's helper.
    """

    device: str
    mac: bytes
    a: str
    b: str
    kind: DeviceKind = "veth"


@dataclass(frozen=True, slots=True)
class Router:
    """What one host's namespace shall hold: routes are destination -> (neighbour, device).

    A route to `lo` makes all its destinations the namespace's own.
    """

    address: bytes
    routes: Mapping[Cidr, tuple[bytes | None, str]]
    inward: str = ""
    """Where all goes that comes out of the tunnel: the link's device; empty: there is no tunnel."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The way to another machine: a device with one end here; `mac` names all that it is.

    Attributes:
        kind: `udp`: the device is a TUN device, all else is told to the process that carries it.
    """

    mac: bytes
    peer_mac: bytes
    vni: int
    port: int
    local: bytes
    remote: bytes
    hop: bytes = _HOP
    kind: api.TunnelKind = "vxlan"


@dataclass(frozen=True, slots=True)
class Desired:
    """What a mesh's namespaces shall hold."""

    routers: Mapping[str, Router]
    pairs: tuple[Pair, ...]
    tunnels: Mapping[str, Tunnel] = field(default_factory=dict)
    """By what stands for the host at the far end."""
    mtu: int = api.MTU_BYTES


def desired(
    agent_id: str, spec: api.MeshSpec, kinds: Mapping[str, DeviceKind] = NO_KINDS
) -> Desired:
    """Resolve a spec into devices.

    Args:
        agent_id: Part of every name.
        spec: The mesh.
        kinds: Link -> what its devices have to be; those it doesn't name are veth pairs.

    Raises:
        NetworkError: The spec contradicts itself: an unknown host or link, a bad address.
    """
    where = spec.name
    pairs = tuple(_pair(agent_id, spec, link, kinds.get(link.name, "veth")) for link in spec.links)
    beyond = {names.beyond(link.name): link for link in spec.links if link.tunnel}
    hosts = {*(h.name for h in spec.hosts), *beyond}
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
    tunnels = {}
    for far, link in beyond.items():
        assert link.tunnel is not None
        routers[far] = Router(
            address(BEYOND, where), {DEFAULT: (_HOP, names.TUNNEL_DEVICE)}, devices[link.name]
        )
        tunnels[far] = _tunnel(link.name, link.tunnel, where)
    for other in spec.away:
        if other.talk is not None:
            far, own, hop = names.aside(other.machine), *talk_addresses(other.talk)
            way = (address(hop, where), names.TUNNEL_DEVICE)
            routers[far] = Router(address(own, where), {DEFAULT: way})
            tunnels[far] = _tunnel(names.aside(""), other.talk, where, address(hop, where))
    gateways = [h for h in spec.hosts if h.gateway]
    for gateway in gateways:
        inner = routers[gateway.name]
        way_out = (_OUTSIDE, names.OUTSIDE_DEVICE)
        routers[gateway.name] = Router(inner.address, {**inner.routes, DEFAULT: way_out})
        routers[names.outside(gateway.name)] = _outside(where, gateway)
    ways_out = tuple(_way_out(agent_id, where, h.name) for h in gateways)
    return Desired(routers, (*pairs, *ways_out), tunnels, spec.mtu)


def talk_addresses(tunnel: api.Tunnel) -> tuple[str, str]:
    """Ours and the other's, where two agents talk: in a namespace in which nothing else is."""
    first = address(tunnel.local, tunnel.host) < address(tunnel.remote, tunnel.host)
    return (BEFORE, BEYOND) if first else (BEYOND, BEFORE)


def _tunnel(link: str, tunnel: api.Tunnel, mesh: str, hop: bytes = _HOP) -> Tunnel:
    where = f"{mesh}/{link}"
    whole = (tunnel.key, link, str(tunnel.vni), str(tunnel.port))
    return Tunnel(
        mac=names.hardware_address(*whole, tunnel.local, tunnel.remote),
        peer_mac=names.hardware_address(*whole, tunnel.remote, tunnel.local),
        vni=tunnel.vni,
        port=tunnel.port,
        local=address(tunnel.local, where),
        remote=address(tunnel.remote, where),
        kind=tunnel.kind,
        hop=hop,
    )


TALK = "\0"
"""Before a machine's name in that of a way for talking to it: no link is called so."""


def carried(spec: api.MeshSpec) -> list[api.Link]:
    """The ways to other machines that a process carries: those of links, and those for talking."""
    links = [x for x in spec.links if x.tunnel is not None and x.tunnel.kind == "udp"]
    for other in spec.away:
        if other.talk is not None and other.talk.kind == "udp":
            one, two = sorted((spec.machine, other.machine))
            links.append(api.Link(name=TALK + other.machine, a=one, b=two, tunnel=other.talk))
    return links


def seat(link: api.Link, host: str) -> str:
    """In which namespace one end of a link is: its host's, or what stands for one elsewhere."""
    away = link.tunnel is not None and link.tunnel.host == host
    return names.beyond(link.name) if away else host


def _outside(mesh: str, host: api.HostSpec) -> Router:
    """Beside a gateway's router: the mesh is behind the router, all else is here."""
    where = f"{mesh}/{host.name}"
    hop = (address(host.address, where), names.OUTSIDE_DEVICE)
    inside = {host.block, *(to for route in host.routes for to in route.to)}
    routes: dict[Cidr, tuple[bytes | None, str]] = {cidr(to, where): hop for to in inside}
    routes[DEFAULT] = (None, "lo")
    return Router(_OUTSIDE, routes)


def _way_out(agent_id: str, mesh: str, host: str) -> Pair:
    other = names.outside(host)
    mac = names.hardware_address(agent_id, mesh, names.OUTSIDE_DEVICE, host)
    return Pair(names.OUTSIDE_DEVICE, mac, host, other)


def _pair(agent_id: str, spec: api.MeshSpec, link: api.Link, kind: DeviceKind) -> Pair:
    mac = names.hardware_address(agent_id, spec.name, link.name, link.a, link.b)
    device = names.link_device(link.name)
    return Pair(device, mac, seat(link, link.a), seat(link, link.b), kind)


def _router(mesh: str, host: api.HostSpec, devices: dict[str, str], ends: set[str]) -> Router:
    where = f"{mesh}/{host.name}"
    routes: dict[Cidr, tuple[bytes | None, str]] = {}
    for route in host.routes:
        device = devices.get(route.link)
        if device is None or device not in ends:
            why = f"link {route.link} doesn't lead away from {host.name}"
            raise NetworkError("network", f"add route {' '.join(route.to[:3])}", where, why)
        hop = (address(route.via, where), device)
        routes.update({cidr(to, where): hop for to in route.to})
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


@dataclass(frozen=True, slots=True)
class Device:
    """A device as a namespace lists it."""

    index: int
    name: str
    up: bool
    kind: str
    """`veth`, …; empty for `lo`."""
    mac: bytes
    peer: int
    """The index of a pair's other end, in that end's namespace."""
    mtu: int = 0

    @property
    def is_retired(self) -> bool:
        """Whether another has taken its place, or is about to."""
        return self.name.startswith(names.RETIRED_PREFIX)

    @property
    def is_plug(self) -> bool:
        """Whether it leads to a module."""
        return self.name.startswith(names.PLUG_PREFIX)


@dataclass(slots=True)
class Seen:
    """What one namespace holds."""

    devices: dict[str, Device] = field(default_factory=dict)
    addresses: set[tuple[int, bytes, int]] = field(default_factory=set)
    """(device index, address, prefix length), without 127.0.0.0/8."""
    routes: dict[Cidr, tuple[bytes | None, int]] = field(default_factory=dict)
    """Routes of ours: destination -> (neighbour, device index)."""
    inward: int = 0
    """Index of the device where all goes that comes out of the tunnel."""
