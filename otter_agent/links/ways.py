"""The directions of a mesh's links, by name and as a driver takes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.links.base import Direction
from otter_agent.network import names
from otter_agent.network.state import seat


class Way(NamedTuple):
    """One direction of a link, by the names of the topology."""

    link: str
    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.link}:{self.source}>{self.target}"


def ways(spec: api.MeshSpec) -> dict[Way, LinkSpec]:
    """The directions that the topology has, and what it asks of each; in its order."""
    return {
        way: asked
        for link in spec.links
        for way, asked in (
            (Way(link.name, link.a, link.b), link.forward),
            (Way(link.name, link.b, link.a), link.reverse),
        )
        if asked is not None
    }


def seats(spec: api.MeshSpec) -> dict[tuple[str, str], str]:
    """Link and host -> what stands for the host in the namespace of that end, if not itself."""
    away = [link for link in spec.links if link.tunnel is not None]
    return {(link.name, h): seat(link, h) for link in away for h in (link.a, link.b)}


def less(spec: api.MeshSpec) -> dict[Way, float]:
    """Directions of whose delays something is taken off, as the network between has it already."""
    off = {x.name: x.tunnel.less_s for x in spec.links if x.tunnel is not None and x.tunnel.less_s}
    return {way: off[way.link] for way in ways(spec) if way.link in off}


def directions(agent_id: str, spec: api.MeshSpec) -> dict[Way, Direction]:
    """All directions of a mesh as a driver takes them."""
    found = seats(spec)
    return {way: direction(agent_id, spec, way, found) for way in ways(spec)}


def direction(
    agent_id: str, spec: api.MeshSpec, way: Way, seats: Mapping[tuple[str, str], str]
) -> Direction:
    """A direction as a driver takes it.

    Args:
        agent_id: Part of the namespaces' names.
        spec: The mesh.
        way: Which.
        seats: Of the mesh.
    """
    mesh = spec.name
    hub = _hub(spec.cells, way)
    source = seats.get((way.link, way.source), way.source)
    target = seats.get((way.link, way.target), way.target)
    return Direction(
        mesh=mesh,
        seed=spec.seed,
        link=way.link,
        source=way.source,
        target=way.target,
        source_netns=names.namespace(agent_id, mesh, source),
        target_netns=names.namespace(agent_id, mesh, target),
        device=names.link_device(way.link),
        hub_netns=names.namespace(agent_id, mesh, hub) if hub else "",
    )


def _hub(cells: Sequence[api.Cell], way: Way) -> str:
    """The host in the middle of the cell that a link is of, or none."""
    for cell in cells:
        if cell.host in (way.source, way.target) and any(m.link == way.link for m in cell.members):
            return cell.host
    return ""
