"""Where a mesh's traffic may go beyond its gateways. Pure but for asking for the name servers.

This machine's own addresses may be reached, its loopback may not: what listens on all addresses
listens for its network, and a mesh is of that network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from otter_agent.network.outside.config import RESOLVER
from otter_agent.network.outside.resolver import PORT

_RESOLVER = ipaddress.IPv4Address(RESOLVER).packed


class Reach:
    """The policy of one mesh.

    Args:
        refused: Networks that are not to be reached.
        servers: The machine's name servers, now.
    """

    def __init__(self, refused: Sequence[str], servers: Callable[[], list[str]]) -> None:
        networks = [ipaddress.IPv4Network(network) for network in refused]
        self._refused = [(int(n.network_address), int(n.netmask)) for n in networks]
        self.servers = servers

    def allows(self, address: bytes) -> bool:
        """Whether packets may go there."""
        number = int.from_bytes(address, "big")
        return not any(number & mask == network for network, mask in self._refused)

    def targets(self, address: bytes, port: int) -> list[tuple[str, int]]:
        """Who is to be asked in turn for what is at an address and port; nobody: refused."""
        if is_resolver(address, port):
            return [(server, PORT) for server in self.servers()]
        if not self.allows(address):
            return []
        return [(".".join(map(str, address)), port)]


def is_resolver(address: bytes, port: int) -> bool:
    """Whether a name server is meant that stands for the machine's own."""
    return address == _RESOLVER and port == PORT


def is_edge(address: bytes) -> bool:
    """Whether it is the address of the gateway's outer side itself."""
    return address == _RESOLVER
