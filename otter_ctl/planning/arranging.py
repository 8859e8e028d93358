"""Hosts onto machines and modules onto hosts, each of which bears on the other. Pure.

    modules onto hosts, as if each host had all that its machines have ─► hosts onto machines, as
    their modules and streams want it ─► modules onto hosts, as these machines are (`resolve.plan`)

Where what modules would have doesn't fit, hosts are placed without those that name none. Must not
know: SSH, agents' answers other than `Info`.
"""

from __future__ import annotations

from collections.abc import Mapping

from otter_agent import api
from otter_ctl.errors import PlacementError
from otter_ctl.planning.hosting import Grounds, Hosting, candidates, choices, house
from otter_ctl.planning.placement import able, offered
from otter_ctl.planning.resolve import seated
from otter_ctl.topology.model import Topology


def arrange(topology: Topology, grounds: Grounds, current: api.MeshSpec | None = None) -> Hosting:
    """A machine for every host.

    Args:
        topology: All of it.
        grounds: Its machines.
        current: The mesh as it is now: what runs stays where it is.

    Raises:
        PlacementError: A host fits on no machine, or a module on no host.
    """
    may = candidates(topology)
    if not choices(may) or all(module.host is not None for module in topology.modules):
        return house(topology, grounds)
    try:
        seats = seated(topology, current, offers=_offers(topology, grounds, may))[0].seats
        return house(topology, grounds, seats)
    except PlacementError:
        return house(topology, grounds)


def _offers(
    topology: Topology, grounds: Grounds, may: Mapping[str, tuple[str, ...]]
) -> dict[str, frozenset[str]]:
    """Host -> all that any of its machines offers."""
    known = {machine.name: machine for machine in topology.machines}
    each = {
        name: offered(known.get(name), info.arch) | able(info)
        for name, info in grounds.infos.items()
    }
    none: frozenset[str] = frozenset()
    return {host: none.union(*(each.get(m, none) for m in names)) for host, names in may.items()}
