"""Machines of a mesh that give no answer, as far as the others tell of them. Pure.

    parts of those that answer ─┬─ names, away: hosts and modules of the silent one, and where
                                ├─ names:       their addresses
                                └─ tunnels:     its address for data

What was asked of it last nobody knows, so nothing can be said of what would change there. But what
is there stays where it is, and keeps its addresses: with that the others' parts can be planned, to
be shown and not to be brought. Must not know: SSH, agents.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from net.errors import OtterError
from net.routing.blocks import Block, parse_address
from otter_agent import api
from otter_ctl.planning.addresses import needed
from otter_ctl.topology.model import Topology

NOWHERE = "0.0.0.0"  # noqa: S104 - nothing is bound to it
"""The address for data of a machine of which nobody knows it."""


@dataclass(frozen=True, slots=True)
class Unheard:
    """One machine.

    Attributes:
        error: Why it gives no answer, what was last known there, and what can be done.
        why: The first of these alone.
        part: What it has, as far as the others tell; None: they tell of nothing.
        address: For data; `NOWHERE`: nobody knows.
    """

    machine: str
    error: OtterError
    why: str
    part: api.MeshSpec | None = None
    address: str = NOWHERE


def supposed_part(
    away: api.Away, known: api.MeshSpec, names: Mapping[str, str]
) -> api.MeshSpec | None:
    """A part with the hosts and modules of a machine, without what is asked of them.

    Args:
        away: What the others say of it.
        known: The part of one of them.
        names: Host or module -> address.
    """
    inside = {host: [m for m, at in away.modules.items() if at == host] for host in away.hosts}
    hosts = tuple(
        api.HostSpec(
            name=host,
            address=names[host],
            block=away.blocks.get(host) or _block(names[host], len(inside[host])),
        )
        for host in away.hosts
        if host in names
    )
    modules = tuple(
        # Whichever runtime: it is no part of what is shown, and goes with any image.
        api.ModuleSpec(name=module, host=host, address=names[module], runtime="docker")
        for module, host in away.modules.items()
        if module in names and host in names
    )
    if not hosts:
        return None
    return api.MeshSpec(
        name=known.name,
        run=known.run,
        hosts=hosts,
        modules=modules,
        machine=away.machine,
        names=known.names,
        away=known.away,
        directory=known.directory,
    )


def _block(address: str, modules: int) -> str:
    """The smallest that a host at this address can have."""
    return str(Block(parse_address(address) - 1, needed(modules)))


def address_of(machine: str, hosts: Collection[str], parts: Mapping[str, api.MeshSpec]) -> str:
    """Where the others' tunnels to a machine lead, on which are these hosts; empty: none does."""
    for part in parts.values():
        for link in part.links:
            if link.tunnel is not None and link.tunnel.host in hosts:
                return link.tunnel.remote
        for other in part.away:
            if other.machine == machine and other.talk is not None:
                return other.talk.remote
    return ""


def kept_there(topology: Topology, unheard: Collection[Unheard]) -> Topology:
    """The same, with what is on such machines named as being there: nothing can move away."""
    parts = [one.part for one in unheard if one.part is not None]
    machines = {host.name: part.machine for part in parts for host in part.hosts}
    seats = {module.name: module.host for part in parts for module in part.modules}
    if not machines:
        return topology
    here = {host.name for host in topology.hosts}
    hosts = tuple(
        replace(host, machine=machines[host.name], among=None, on=None)
        if host.machine is None and host.name in machines
        else host
        for host in topology.hosts
    )
    modules = tuple(
        replace(module, host=seats[module.name], among=None, on=None)
        if module.host is None and seats.get(module.name) in here
        else module
        for module in topology.modules
    )
    return replace(topology, hosts=hosts, modules=modules)
