"""What a mesh's relay is asked for, and what it answers. Pure.

Must not know: sockets, processes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from otter_agent import api
from otter_agent.api.base import Data
from otter_agent.network import names

RESOLVER = "169.254.53.53"
"""Where modules of a mesh with a gateway ask for outside names. The same in every mesh and at
every gateway: a module's default route leads to the nearest one, and there it is answered."""

_NOWHERE = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
"""Never reached from a mesh: this machine's loopback, link-local (a cloud's metadata service hands
out credentials there), multicast, reserved."""
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")


class Gateway(Data, frozen=True):
    """A host behind which the machine's network is."""

    host: str
    netns: str
    """Name of the namespace beside its router's, in which its outward traffic ends."""


class Door(Data, frozen=True):
    """A published port."""

    module: str
    protocol: str
    listen: str
    listen_port: int
    netns: str
    """Name of the router's namespace from which the module is reached."""
    source: str
    """The address that the module sees: that host's."""
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.module}: publish {self.protocol} {self.listen}:{self.listen_port}"


class Config(Data, frozen=True):
    """All that a mesh has to do with the outside."""

    mesh: str
    gateways: tuple[Gateway, ...] = ()
    doors: tuple[Door, ...] = ()
    refused: tuple[str, ...] = ()
    """Networks that are not to be reached through the gateways."""

    def __bool__(self) -> bool:
        return bool(self.gateways or self.doors)

    def within(self, present: set[str]) -> Config:
        """What of it can be had while only these namespaces exist."""
        return Config(
            mesh=self.mesh,
            gateways=tuple(g for g in self.gateways if g.netns in present),
            doors=tuple(d for d in self.doors if d.netns in present),
            refused=self.refused,
        )


class Report(Data, frozen=True):
    """The relay's answer."""

    pid: int
    problems: tuple[str, ...] = ()
    """What of the config could not be had, a line each."""


def config_of(agent_id: str, spec: api.MeshSpec) -> Config:
    """The relay's part of a spec."""
    hosts = {host.name: host for host in spec.hosts}
    doors = [
        Door(
            module=module.name,
            protocol=port.protocol,
            listen=port.listen,
            listen_port=port.listen_port,
            netns=names.namespace(agent_id, spec.name, port.host),
            source=hosts[port.host].address,
            address=module.address,
            port=port.port,
        )
        for module in spec.modules
        if module.runtime != "fake"
        for port in module.publish
    ]
    gateways = [
        Gateway(host=h.name, netns=names.namespace(agent_id, spec.name, names.outside(h.name)))
        for h in spec.hosts
        if h.gateway
    ]
    return Config(
        mesh=spec.name,
        gateways=tuple(gateways),
        doors=tuple(doors),
        refused=refused(h.block for h in spec.hosts),
    )


def refused(blocks: Iterable[str]) -> tuple[str, ...]:
    """Networks that no module may reach through a gateway.

    While the mesh's own addresses are of the shared pool, nothing in that pool is the outside's:
    what is no host's block here is another mesh's, or nobody's.
    """
    mine = [ipaddress.IPv4Network(block) for block in blocks]
    inside = any(block.subnet_of(_SHARED) for block in mine)
    return (*_NOWHERE, *([str(_SHARED)] if inside else ()))
