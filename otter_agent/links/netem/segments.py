"""No packets over a link's MTU, in meshes in which links are shaped.

TCP hands a device up to 64 KiB at once, and a queue takes that for one packet: one loss, one place
in a queue of packets, 45 packets' worth of data. Where such a super-packet is made, it is cut: at
the devices of modules (`eth0`) and at those that lead from relays (`o.outside`).
A device that takes one segment at a time makes the kernel cut what comes from sockets already
connected, and keeps those that connect later from making super-packets at all. A router forwards
what comes in as it is: there it would be too late, as a queue comes before the cutting.

A module can't undo it: it has no CAP_NET_ADMIN in its namespace.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from otter_agent.errors import NetworkError
from otter_agent.network import namespaces
from otter_agent.network.messages import Request, attribute
from otter_agent.network.netlink import Netlink, refused

ONE = 1
MANY = 65_535
"""GSO_MAX_SEGS: what a device takes when nobody says otherwise."""

_RTM_NEWLINK = 16
_LINK = struct.Struct("=BxHiII")
_IFLA_GSO_MAX_SEGS = 40


def limit_module(pid: int, target: str, *, shaped: bool, device: str = "eth0") -> None:
    """Keep a module's device from super-packets, or (not `shaped`) let it have them again.

    Idempotent; in effect at once, for connections that are open, too. Call it when the module has
    been plugged in, and for all modules of a mesh when its first link is shaped (or its last no
    more). Costs a thread and some 100 µs.

    Args:
        pid: A process in the module's network namespace.
        target: `mesh/module`, for errors.
        shaped: Whether netem shapes anything in the mesh.
        device: Its name in there.

    Raises:
        NetworkError: The process or device is gone, or the kernel refused.
    """

    def work() -> None:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            own = namespaces.open_own()
            same = namespaces.inode(own) == namespaces.inode(descriptor)
            os.close(own)
            if same:
                why = f"process {pid} is in the machine's own network namespace"
                raise NetworkError("network", "limit segments", target, why)
            namespaces.join(descriptor)
        finally:
            os.close(descriptor)
        _limit(device, target, shaped=shaped)

    _in_thread(work, target)


def limit_router(netns: str, device: str, target: str, *, shaped: bool) -> None:
    """The same for a device of a named namespace: `o.outside` of the one beside a gateway.

    Raises:
        NetworkError: The namespace or device is gone, or the kernel refused.
    """

    def work() -> None:
        namespaces.enter(netns)
        _limit(device, target, shaped=shaped)

    _in_thread(work, target)


def request(index: int, *, shaped: bool) -> Request:
    """The message, for those who have a socket in the device's namespace. Pure."""
    segments = struct.pack("=I", ONE if shaped else MANY)
    body = _LINK.pack(0, 0, index, 0, 0) + attribute(_IFLA_GSO_MAX_SEGS, segments)
    return Request(_RTM_NEWLINK, 0, body, "limit segments")


def _limit(device: str, target: str, *, shaped: bool) -> None:
    with Netlink() as netlink:
        asked = request(netlink.index_of(device), shaped=shaped)
        (answer,) = netlink.exchange([asked])
        if answer.code:
            raise refused(asked, answer, target)


def _in_thread(work: Callable[[], None], target: str) -> None:
    try:
        namespaces.in_own_thread(work)
    except OSError as exc:
        raise namespaces.failed("limit segments", target, exc) from exc
