"""One mesh's relay: keeps gateways and published ports as its config says.

Level-triggered: `apply` compares the config with what is open and changes the difference; what
stays as it was keeps its connections. Must not know: who talks to it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from net.errors import OtterError
from otter_agent.network.outside import resolver
from otter_agent.network.outside.config import Config, Door, Report
from otter_agent.network.outside.doors import KINDS, TcpDoor, UdpDoor
from otter_agent.network.outside.gateway import OpenGateway
from otter_agent.network.outside.holders import holder
from otter_agent.network.outside.inside import Namespace
from otter_agent.network.outside.reach import Reach


class Relay:
    """Everything one mesh has to do with the outside.

    Args:
        loop: The running loop.
        servers: The machine's name servers, now.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        servers: Callable[[], list[str]] = resolver.servers,
    ) -> None:
        self._loop, self._servers = loop, servers
        self._refused: tuple[str, ...] = ()
        self._gateways: dict[str, OpenGateway] = {}
        self._doors: dict[Door, TcpDoor | UdpDoor] = {}
        self._namespaces: dict[str, Namespace] = {}

    def apply(self, config: Config) -> Report:
        """Make it so; what can't be had is reported, and tried again at the next call."""
        self._close_stale(config)
        problems: list[str] = []
        for gateway in config.gateways:
            if gateway.netns not in self._gateways:
                try:
                    reach = Reach(config.refused, self._servers)
                    self._gateways[gateway.netns] = OpenGateway(self._loop, gateway.netns, reach)
                except (OtterError, OSError) as error:
                    problems.append(f"gateway {gateway.host}: {error}")
        for door in config.doors:
            if door not in self._doors:
                try:
                    self._open(door)
                except OSError as error:
                    problems.append(f"{door}: {_why(error, door)}")
        return Report(pid=os.getpid(), problems=tuple(problems))

    def _open(self, door: Door) -> None:
        namespace = self._namespaces.get(door.netns)
        if namespace is None:
            namespace = self._namespaces[door.netns] = Namespace(door.netns)
        self._doors[door] = KINDS[door.protocol](self._loop, door, namespace)

    def _close_stale(self, config: Config) -> None:
        """Let go of what is wanted no more, or stands in a namespace that was made anew."""
        gone = {name for name, held in self._namespaces.items() if not held.is_current()}
        for door in list(self._doors):
            if door not in config.doors or door.netns in gone:
                self._doors.pop(door).close()
        wanted = {gateway.netns for gateway in config.gateways}
        for netns, gateway in list(self._gateways.items()):
            stays = netns in wanted and gateway.namespace.is_current()
            if not stays or config.refused != self._refused:
                self._gateways.pop(netns).close()
        self._refused = config.refused
        used = {door.netns for door in self._doors}
        for name in [n for n in self._namespaces if n not in used]:
            self._namespaces.pop(name).close()

    def close(self) -> None:
        """Close everything."""
        self._close_stale(Config(mesh=""))


def _why(error: OSError, door: Door) -> str:
    by = holder(door.protocol, door.listen, door.listen_port)
    return f"the port is taken by {by}" if by else error.strerror or str(error)
