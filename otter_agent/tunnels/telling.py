"""What `status` shows of links that lead to other machines. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from otter_agent import api


def told(
    links: Iterable[api.LinkStatus], spec: api.MeshSpec, states: Mapping[str, api.TunnelState]
) -> tuple[api.LinkStatus, ...]:
    """Links with how they get to other machines, if they do.

    Args:
        links: Directions.
        spec: Of the mesh.
        states: Link -> how what carries it is, where a process does.
    """
    ways = {link.name: link.tunnel for link in spec.links if link.tunnel is not None}
    machines = {host: away.machine for away in spec.away for host in away.hosts}
    made = {
        name: replace(
            states.get(name, api.TunnelState()) if tunnel.kind == "udp" else _BY_KERNEL,
            kind=tunnel.kind,
            why=tunnel.why,
            machine=machines.get(tunnel.host, ""),
            underlay=tunnel.underlay,
            less_s=tunnel.less_s,
        )
        for name, tunnel in ways.items()
    }
    return tuple(
        replace(link, tunnel=made[link.name]) if link.name in made else link for link in links
    )


_BY_KERNEL = api.TunnelState(kind="vxlan")
