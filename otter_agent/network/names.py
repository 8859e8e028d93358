"""Names of namespaces and devices. Pure.

A router namespace is `otter-AGENT+MESH+HOST`: names of agents, meshes and hosts never contain
`+`, so no mesh's prefix is another's. A link's device bears the link's name, a module's `m.` and
the module's name, wherever that fits into a device name; `~` marks a shortened name, and is in
no name as written, so the kinds can't collide. A gateway's way out is `o.outside`.
"""

from __future__ import annotations

import hashlib
import re

from otter_agent.errors import NetworkError

SEPARATOR = "+"
PLUG_PREFIX = "m."
RETIRED_PREFIX = "x."
"""Of a link's device of the former kind, until the new one has its routes."""
OUTSIDE_DEVICE = "o.outside"
"""Of the pair between a gateway's router and the namespace in which its outward traffic ends."""
TUNNEL_DEVICE = "o.tunnel"
"""Of the way to another machine, in the namespace at the far end of a link that leads there."""
DEVICE_MAX = 15
"""IFNAMSIZ less its NUL (linux/if.h)."""

_NATURAL = re.compile(r"[a-z0-9][a-z0-9_-]*")
_RESERVED = frozenset({"lo", "all", "default"})
"""`all` and `default` are folders of /proc/sys/net/ipv4/conf: the kernel refuses such devices."""


def agent_prefix(agent_id: str) -> str:
    """What the names of all namespaces of one agent start with."""
    return f"otter-{_part(agent_id, agent_id)}{SEPARATOR}"


def mesh_prefix(agent_id: str, mesh: str) -> str:
    """What the names of all namespaces of one mesh start with; no other mesh's do."""
    return f"{agent_prefix(agent_id)}{_part(mesh, mesh)}{SEPARATOR}"


def namespace(agent_id: str, mesh: str, host: str) -> str:
    """Name of a host's router namespace, a file name of /run/netns.

    Raises:
        NetworkError: A name holds a character that would make it ambiguous, or is too long.
    """
    name = mesh_prefix(agent_id, mesh) + _part(host, f"{mesh}/{host}")
    if len(name.encode()) > 255:
        raise NetworkError("network", "name a namespace", f"{mesh}/{host}", "over 255 characters")
    return name


def outside(host: str) -> str:
    """What stands for a host's name in the name of the namespace beside a gateway's router."""
    return f"~{host}"


def is_outside(host: str) -> bool:
    """Whether it is one that `outside` made; no host is called so."""
    return host.startswith("~")


def beyond(link: str) -> str:
    """What stands for a host's name in the namespace at the far end of a link to a machine."""
    return f"%{link if _NATURAL.fullmatch(link) else _shortened(link, 60)}"


def is_beyond(host: str) -> bool:
    """Whether it is one that `beyond` made; no host is called so."""
    return host.startswith("%")


def aside(machine: str) -> str:
    """What stands for a host's name in the namespace where the agent talks to a machine's."""
    return f"@{machine}"


def is_aside(host: str) -> bool:
    """Whether it is one that `aside` made; no host is called so."""
    return host.startswith("@")


def link_device(link: str) -> str:
    """Name of a link's device at both its ends."""
    if len(link) <= DEVICE_MAX and link not in _RESERVED and _NATURAL.fullmatch(link):
        return link
    return _shortened(link, DEVICE_MAX)


def plug_device(module: str) -> str:
    """Name, in the router namespace, of the device that leads to a module."""
    room = DEVICE_MAX - len(PLUG_PREFIX)
    if len(module) <= room and _NATURAL.fullmatch(module):
        return PLUG_PREFIX + module
    return PLUG_PREFIX + _shortened(module, room)


def hardware_address(*identity: str) -> bytes:
    """A locally administered unicast MAC address that tells what a device was made for.

    Both ends of a pair bear the same one. So a pair is recognised again after the agent's
    restart, and needs no ARP (see `state.AddPair`).
    """
    digest = hashlib.blake2b("\0".join(identity).encode(), digest_size=6).digest()
    return bytes([digest[0] & 0xFC | 0x02]) + digest[1:]


def retired_device(device: str) -> str:
    """What a link's device is called while another takes its place."""
    room = DEVICE_MAX - len(RETIRED_PREFIX)
    return RETIRED_PREFIX + (device if len(device) <= room else _shortened(device, room))


def _part(name: str, target: str) -> str:
    if not name or name in (".", "..") or any(c in f"/\0{SEPARATOR}" for c in name):
        raise NetworkError("network", "name a namespace", repr(target), "not usable as a name")
    return name


def _shortened(name: str, room: int) -> str:
    """A readable start, `~`, and 30 bits of hash."""
    digest = hashlib.blake2b(name.encode(), digest_size=5).digest()
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    number = int.from_bytes(digest, "big")
    suffix = "".join(alphabet[number >> 5 * i & 31] for i in range(6))
    start = re.sub(r"[^a-z0-9_-]", "_", name)[: room - 7]
    return f"{start}~{suffix}"
