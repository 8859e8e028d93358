"""The directions of a mesh's links, by name and as a driver takes them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.links.base import Direction
from otter_agent.network import names


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


def direction(agent_id: str, spec: api.MeshSpec, way: Way) -> Direction:
    """A direction as a driver takes it."""
    mesh = spec.name
    hub = _hub(spec.cells, way)
    return Direction(
        mesh=mesh,
        seed=spec.seed,
        link=way.link,
        source=way.source,
        target=way.target,
        source_netns=names.namespace(agent_id, mesh, way.source),
        target_netns=names.namespace(agent_id, mesh, way.target),
        device=names.link_device(way.link),
        hub_netns=names.namespace(agent_id, mesh, hub) if hub else "",
    )


def _hub(cells: Sequence[api.Cell], way: Way) -> str:
    """The host in the middle of the cell that a link is of, or none."""
    for cell in cells:
        if cell.host in (way.source, way.target) and any(m.link == way.link for m in cell.members):
            return cell.host
    return ""
