"""What a machine that has a part of a mesh can tell of it, and which hosts there are. Pure.

Each fact is known to one of them: of a module and a host where they are, of a stream where its
receiver is, of a direction of a link where it is made scarce.
"""

from __future__ import annotations

from net.conditions import Condition
from otter_agent.api.spec import HostSpec, Link, MeshSpec


def sees(part: MeshSpec, when: Condition) -> bool:
    """Whether the machine of a part of a mesh can."""
    if when.kind == "module":
        return any(module.name == when.name for module in part.modules)
    if when.kind == "host":
        return any(host.name == when.name for host in part.hosts)
    if when.kind == "stream":
        return any(end.stream == when.name for m in part.modules for end in m.streams_in)
    return any(link.name == when.name and _shaped(link, when.direction) for link in part.links)


def all_hosts(part: MeshSpec) -> dict[str, HostSpec]:
    """Those of a part, and of those on other machines as much as their ways take."""
    found = {host.name: host for host in part.hosts}
    for other in part.away:
        for name, block in other.blocks.items():
            gateway = name in other.gateways
            found[name] = HostSpec(
                name=name, address=part.names[name], block=block, gateway=gateway
            )
    return found


def _shaped(link: Link, direction: str) -> bool:
    """Whether a direction (empty: any) of a link is made scarce here."""
    if link.tunnel is None:
        return True
    ways = {f"{link.a}>{link.b}": link.forward, f"{link.b}>{link.a}": link.reverse}
    found = ways.values() if not direction else [ways.get(direction)]
    return any(way is not None for way in found)
