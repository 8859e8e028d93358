"""The way from what is to what shall be. Pure.

    api.MeshSpec ──desired()──► Desired       ┐
                                              ├─ plan() ─► Plan
    namespaces ───observe()──► {host: Seen}   ┘

    remove ► create ► set up ► up ► route ► retire

A link that is to be of another kind loses no route: its old device is called otherwise, goes on
carrying packets until all routes lead over the new one, and goes last.

Module plugs (devices named `m.…`) and their routes are never touched here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from otter_agent.api import MTU_BYTES
from otter_agent.network import names
from otter_agent.network.operations import (
    LOOPBACK,
    AddAddress,
    AddPair,
    AddTun,
    AddTunnel,
    BringUp,
    DeleteAddress,
    DeleteDevice,
    DeleteRoute,
    Op,
    PutRoute,
    RenameDevice,
    SetMtu,
)
from otter_agent.network.state import Desired, Device, Pair, Router, Seen, Tunnel


@dataclass(slots=True)
class Plan:
    """Operations per host, in six steps; every step waits for the one before."""

    remove: dict[str, list[Op]] = field(default_factory=dict)
    create: list[str] = field(default_factory=list)
    """Hosts whose namespace doesn't exist."""
    setup: dict[str, list[Op]] = field(default_factory=dict)
    up: dict[str, list[Op]] = field(default_factory=dict)
    """The other ends of pairs: then all devices are there, and none has a route yet."""
    route: dict[str, list[Op]] = field(default_factory=dict)
    retire: dict[str, list[Op]] = field(default_factory=dict)


def plan(want: Desired, seen: Mapping[str, Seen]) -> Plan:
    """What makes `seen` (hosts whose namespace exists) into `want`."""
    result = Plan(create=[host for host in want.routers if host not in seen])
    kept, missing = _keep_pairs(want, seen, result)
    indices = {host: dict(kept.get(host, {})) for host in want.routers}
    free = {host: _first_free(seen.get(host)) for host in want.routers}
    for host, router in want.routers.items():
        result.setup[host] = _own(router, seen.get(host, Seen()))
    for pair in missing:
        ends = {}
        for host in (pair.a, pair.b):
            if pair.device not in indices[host]:  # else this end of a TUN link is there
                indices[host][pair.device] = ends[host] = free[host]
                free[host] += 1
        if pair.kind == "tun":
            for host, index in ends.items():
                result.setup[host] += _tun(pair.device, index, want.mtu)
            continue
        a, b = ends[pair.a], ends[pair.b]
        add = AddPair(pair.device, a, pair.mac, pair.b, pair.device, b, want.mtu)
        result.setup[pair.a].append(add)
        result.up.setdefault(pair.b, []).append(BringUp(b, pair.device))
    for host, tunnel in want.tunnels.items():
        if names.TUNNEL_DEVICE not in indices[host]:
            index = indices[host][names.TUNNEL_DEVICE] = free[host]
            free[host] += 1
            if tunnel.kind == "udp":
                result.setup[host] += _tun(names.TUNNEL_DEVICE, index, want.mtu)
            else:
                result.setup[host].append(_add_tunnel(tunnel, index, want.mtu))
    for host, router in want.routers.items():
        before = {"lo": LOOPBACK, **kept.get(host, {})}
        after = {"lo": LOOPBACK, **indices[host]}
        result.route[host] = _routes(router, seen.get(host, Seen()), before, after)
    return result


def _tun(device: str, index: int, mtu: int) -> list[Op]:
    wider: list[Op] = [] if mtu == MTU_BYTES else [SetMtu(index, device, mtu)]
    return [AddTun(device, index), *wider, BringUp(index, device)]


def _add_tunnel(tunnel: Tunnel, index: int, mtu: int) -> AddTunnel:
    return AddTunnel(
        names.TUNNEL_DEVICE,
        index,
        tunnel.mac,
        tunnel.peer_mac,
        tunnel.vni,
        tunnel.port,
        tunnel.local,
        tunnel.remote,
        tunnel.hop,
        mtu,
    )


def routes_alone(want: Desired, seen: Mapping[str, Seen]) -> dict[str, list[Op]]:
    """What makes the routes of `seen` those of `want`, but over devices that aren't there."""
    devices: dict[str, set[str]] = {host: set() for host in want.routers}
    for pair in want.pairs:
        devices[pair.a].add(pair.device)
        devices[pair.b].add(pair.device)
    result: dict[str, list[Op]] = {}
    for host, what in seen.items():
        there = {d.name: d.index for d in what.devices.values() if d.name in devices[host]}
        indices = {"lo": LOOPBACK, **there}
        router = want.routers[host]
        routes = {to: hop for to, hop in router.routes.items() if hop[1] in indices}
        result[host] = _routes(
            Router(router.address, routes, router.inward), what, indices, indices
        )
    return result


def _keep_pairs(
    want: Desired, seen: Mapping[str, Seen], result: Plan
) -> tuple[dict[str, dict[str, int]], list[Pair]]:
    """Find the whole pairs, plan the removal of all other devices.

    Returns:
        Host -> device -> index of what stays, and the pairs that are missing.
    """
    kept: dict[str, dict[str, int]] = {host: {} for host in seen}
    missing: list[Pair] = []
    converted: set[tuple[str, str]] = set()
    for pair in want.pairs:
        ends = {
            host: seen[host].devices.get(pair.device) if host in seen else None
            for host in (pair.a, pair.b)
        }
        good = _good_ends(pair, ends)
        for host in good:
            kept[host][pair.device] = good[host]
        if len(good) < 2:
            missing.append(pair)
            converted |= {(h, pair.device) for h, end in ends.items() if end and h not in good}
    for host, tunnel in want.tunnels.items():
        way = seen[host].devices.get(names.TUNNEL_DEVICE) if host in seen else None
        if way is not None and _is_way(way, tunnel):
            kept[host][way.name] = way.index
    for host, what in seen.items():
        result.remove[host], result.retire[host] = [], []
        for d in what.devices.values():
            if d.name in kept[host]:
                result.remove[host] += [] if d.up else [BringUp(d.index, d.name)]
                if d.mtu != want.mtu:
                    result.remove[host].append(SetMtu(d.index, d.name, want.mtu))
                continue
            # Other kinds are left alone: some (tunl0, sit0) are in every namespace and can't go.
            if d.kind not in ("veth", "tun", "vxlan") or d.is_plug:
                continue
            last = result.remove[host]
            if d.is_retired:
                last = result.retire[host]
            elif (host, d.name) in converted:
                last = result.retire[host]
                result.remove[host].append(
                    RenameDevice(d.index, d.name, names.retired_device(d.name))
                )
            last.append(DeleteDevice(d.index, d.name))
    return kept, missing


def _is_way(device: Device, tunnel: Tunnel) -> bool:
    """Whether it is the one that leads there."""
    if tunnel.kind == "udp":
        return device.kind == "tun"
    # One that was set down has forgotten the hop.
    return (device.kind, device.mac, device.up) == ("vxlan", tunnel.mac, True)


def _good_ends(pair: Pair, ends: Mapping[str, Device | None]) -> dict[str, int]:
    """Host -> index of those ends that are as wanted: of a veth pair both or none."""
    there = {host: end for host, end in ends.items() if end is not None and end.kind == pair.kind}
    if pair.kind == "veth":
        a, b = there.get(pair.a), there.get(pair.b)
        whole = a and b and a.mac == b.mac == pair.mac and (a.peer, b.peer) == (b.index, a.index)
        if not whole:
            return {}
    return {host: end.index for host, end in there.items()}


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
    router: Router, what: Seen, kept: Mapping[str, int], indices: Mapping[str, int]
) -> list[Op]:
    """Routes that differ, then what has no place any more: old routes, old addresses."""
    staying = set(kept.values())
    # A removed device took its routes along. Those of plugs aren't ours to change.
    there = {to: hop for to, hop in what.routes.items() if hop[1] in staying}
    ops: list[Op] = [
        PutRoute(to, via, indices[device], device)
        for to, (via, device) in router.routes.items()
        if there.get(to) != (via, indices[device])
    ]
    if router.inward and what.inward != indices[router.inward]:
        index = indices[router.inward]
        ops.append(PutRoute((b"\0\0\0\0", 0), None, index, router.inward, inward=True))
    ops += [DeleteRoute(to) for to in there if to not in router.routes]
    ops += [
        DeleteAddress(old, prefix)
        for index, old, prefix in sorted(what.addresses)
        if index == LOOPBACK and (old, prefix) != (router.address, 32)
    ]
    return ops
