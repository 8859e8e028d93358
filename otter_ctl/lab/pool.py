"""Which addresses a lab takes: none that this computer has, or has a route to. Pure.

The pool is 198.18.0.0/15, which RFC 2544 sets aside for benchmarks: no network on the Internet has
it, and few at home do.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

POOL = IPv4Network("198.18.0.0/15")
PREFIX = 23
"""Of each of a lab's two networks: 500 machines."""
MOST = (1 << (32 - PREFIX)) - 12
"""Machines per lab; the last addresses are the lab's own."""


def choose(taken: Iterable[IPv4Network]) -> tuple[IPv4Network, IPv4Network] | None:
    """The first two free networks, for management and for data; None: there are none."""
    busy = [network for network in taken if network.prefixlen > 0]
    free = (n for n in POOL.subnets(new_prefix=PREFIX) if not any(n.overlaps(b) for b in busy))
    management, data = next(free, None), next(free, None)
    return (management, data) if management and data else None


def address_of(network: IPv4Network, number: int) -> IPv4Address:
    """Of machine `number`, from 1."""
    return network.network_address + number


def controllers(network: IPv4Network) -> IPv4Address:
    """This computer's own, in the management network."""
    return network.broadcast_address - 1
