"""The way from what is to what shall be. Pure.

    api.MeshSpec ──desired()──► Desired       ┐
                                              ├─ plan() ─► Plan: remove ► create ► set up ► route
    namespaces ───observe()──► {host: Seen}   ┘

Module plugs (devices named `m.…`) and their routes are never touched here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from otter_agent.network.operations import (
    LOOPBACK,
    AddAddress,
    AddPair,
    BringUp,
    DeleteAddress,
    DeleteDevice,
    DeleteRoute,
    Op,
    PutRoute,
)
from otter_agent.network.state import Desired, Pair, Router, Seen


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
    kept, missing = _keep_pairs(want, seen, result)
    indices = {host: dict(kept.get(host, {})) for host in want.routers}
    free = {host: _first_free(seen.get(host)) for host in want.routers}
    for host, router in want.routers.items():
        result.setup[host] = _own(router, seen.get(host, Seen()))
        result.route[host] = []
    for pair in missing:
        a, b = free[pair.a], free[pair.b]
        free[pair.a], free[pair.b] = a + 1, b + 1
        indices[pair.a][pair.device], indices[pair.b][pair.device] = a, b
        result.setup[pair.a].append(AddPair(pair.device, a, pair.mac, pair.b, pair.device, b))
        result.route[pair.b].append(BringUp(b, pair.device))
    for host, router in want.routers.items():
        before = {"lo": LOOPBACK, **kept.get(host, {})}
        after = {"lo": LOOPBACK, **indices[host]}
        result.route[host] += _routes(router, seen.get(host, Seen()), before, after)
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
    for pair in want.pairs:
        a = seen[pair.a].devices.get(pair.device) if pair.a in seen else None
        b = seen[pair.b].devices.get(pair.device) if pair.b in seen else None
        if a and b and a.mac == b.mac == pair.mac and (a.peer, b.peer) == (b.index, a.index):
            kept[pair.a][pair.device], kept[pair.b][pair.device] = a.index, b.index
        else:
            missing.append(pair)
    for host, what in seen.items():
        # Other kinds are left alone: some (tunl0, sit0) are in every namespace and can't go.
        stale = [
            DeleteDevice(d.index, d.name)
            for d in what.devices.values()
            if d.kind == "veth" and not d.is_plug and d.name not in kept[host]
        ]
        down = [
            BringUp(d.index, d.name)
            for d in what.devices.values()
            if d.name in kept[host] and not d.up
        ]
        result.remove[host] = [*stale, *down]
    return kept, missing


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
    ops += [DeleteRoute(to) for to in there if to not in router.routes]
    ops += [
        DeleteAddress(old, prefix)
        for index, old, prefix in sorted(what.addresses)
        if index == LOOPBACK and (old, prefix) != (router.address, 32)
    ]
    return ops
