"""Whether this process may make namespaces and devices at all; changes nothing that stays."""

from __future__ import annotations

import os

from otter_agent.errors import NetworkError
from otter_agent.network import messages, namespaces, operations
from otter_agent.network.netlink import Netlink


def usable() -> tuple[bool, str]:
    """True and what works, or False and the first thing that doesn't, with what to try."""
    if os.geteuid() != 0:
        return False, "network namespaces need root; run the agent as root"
    try:
        namespaces.in_own_thread(_try)
    except OSError as exc:
        return False, str(namespaces.failed("make a namespace", "this machine", exc))
    except NetworkError as exc:
        return False, str(exc) if exc.hint else f"{exc}; does the kernel have veth (CONFIG_VETH)?"
    return True, "network namespaces and veth devices work"


def _try() -> None:
    """A pair of devices between two nameless namespaces, which end with this thread."""
    namespaces.unshare()
    first = namespaces.open_own()
    try:
        namespaces.unshare()
        namespaces.try_mount()
        pair = operations.AddPair("probe", 0, b"\x02\0\0\0\0\1", "", "probe", 0)
        with Netlink() as netlink:
            netlink.send([messages.encode(pair, first)], "this machine")
    finally:
        os.close(first)
