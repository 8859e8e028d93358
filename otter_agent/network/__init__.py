"""The agent's network: router namespaces, links, addresses, routes, module plugs.

    names       names of namespaces and devices                    pure
    state       what shall be, and what is                         pure
    scarcity    what the network has to know of links' drivers
    plan        the operations that lead from one to the other     pure
    operations  one netlink message each, as values                pure
    messages    operations <-> rtnetlink message bodies
    netlink     sends batches of messages, reads acks and dumps
    namespaces  makes, enters, lists and drops named namespaces
    teardown    drops namespaces and waits until their devices are gone
    plugs       one module's pair of devices
    network     the `Network` class that the agent calls
    outside/    gateways and published ports: a relay process per mesh that has any

Nothing else spawns a process, and no device ever appears in the machine's own namespace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otter_agent.network.network import Network

__all__ = ["Network"]


def __getattr__(name: str) -> object:
    """`Network` when it is first asked for: processes beside the agent need its parts alone."""
    if name != "Network":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from otter_agent.network.network import Network

    return Network
