"""Opens the devices at both ends of links, in their namespaces, for the helper to carry.

Must not know: the helper.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from net.links.spec import LinkSpec
from otter_agent.errors import NetworkError
from otter_agent.links.base import Direction
from otter_agent.links.tun import device, protocol
from otter_agent.network import namespaces

Link: TypeAlias = tuple[str, str, str]
"""Two namespaces in the order of their names, and the device."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A link's devices; whoever has it closes the descriptors."""

    attach: protocol.Attach
    descriptors: tuple[int, int]


def link_of(direction: Direction) -> Link:
    """The link that a direction belongs to: the same for both."""
    one, other = sorted((direction.source_netns, direction.target_netns))
    return one, other, direction.device


class Today:
    """Which namespaces bear the names today; asks once for each."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def inodes(self, direction: Direction) -> tuple[int, int]:
        """Of a direction's source and target."""
        return self._inode(direction.source_netns), self._inode(direction.target_netns)

    def _inode(self, name: str) -> int:
        if name not in self._known:
            try:
                self._known[name] = os.stat(namespaces.NETNS_DIR / name).st_ino
            except OSError:
                self._known[name] = 0
        return self._known[name]


def open_all(
    links: Mapping[Link, Mapping[Direction, LinkSpec]],
) -> dict[Link, Opened | NetworkError]:
    """Open both ends of each link, all of them even when one fails; why it failed."""
    if not links:
        return {}
    return namespaces.in_own_thread(
        lambda: {link: _opened(link, parts) for link, parts in links.items()}
    )


def close_all(opened: Mapping[Link, Opened | NetworkError]) -> None:
    """Let go of what `open_all` opened: the helper has descriptors of its own."""
    for found in opened.values():
        if isinstance(found, Opened):
            for descriptor in found.descriptors:
                os.close(descriptor)


def overruns(directions: Iterable[Direction]) -> dict[Direction, int]:
    """How many packets found a device's own queue full, or nobody who reads it, since it was made.

    Those whose namespace or device is gone are left out.
    """
    wanted: dict[str, list[Direction]] = {}
    for direction in directions:
        wanted.setdefault(direction.source_netns, []).append(direction)

    def look() -> dict[Direction, int]:
        found: dict[Direction, int] = {}
        for netns, leaving in wanted.items():
            with contextlib.suppress(OSError):
                namespaces.enter(netns)
                dropped = _dropped_now()
                found |= {one: dropped[one.device] for one in leaving if one.device in dropped}
        return found

    return namespaces.in_own_thread(look) if wanted else {}


def _dropped_now() -> dict[str, int]:
    """Device -> packets that it dropped instead of sending, in the calling thread's namespace.

    Source: proc(5), /proc/net/dev: after a device's name come eight numbers of what it received,
    then bytes, packets, errors and drops of what it sent.
    """
    with open("/proc/thread-self/net/dev") as table:
        lines = [line.partition(":") for line in table]
    return {name.strip(): int(rest.split()[11]) for name, colon, rest in lines if colon}


def _opened(link: Link, parts: Mapping[Direction, LinkSpec]) -> Opened | NetworkError:
    """Moves the calling thread through namespaces."""
    one, other, name = link
    made: list[int] = []
    ends: list[protocol.End] = []
    try:
        for netns in (one, other):
            uncut = _all_uncut(netns, parts)
            inode = _enter(netns)
            made.append(device.attach(name, offload=uncut))
            ends.append(protocol.End(netns=netns, inode=inode, offload=uncut))
    except NetworkError as error:
        for descriptor in made:
            os.close(descriptor)
        return error
    attach = protocol.Attach(device=name, ends=(ends[0], ends[1]))
    return Opened(attach, (made[0], made[1]))


def _all_uncut(netns: str, parts: Mapping[Direction, LinkSpec]) -> bool:
    leaving: Iterable[LinkSpec] = (s for d, s in parts.items() if d.source_netns == netns)
    return all(protocol.uncut(spec) for spec in leaving)


def _enter(name: str) -> int:
    try:
        namespaces.enter(name)
        return os.stat(namespaces.NETNS_DIR / name).st_ino
    except OSError as exc:
        raise namespaces.failed("enter the namespace", name, exc) from exc
