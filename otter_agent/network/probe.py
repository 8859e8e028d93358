"""Whether this process may make namespaces and devices at all; changes nothing that stays."""

from __future__ import annotations

import os
from pathlib import Path

from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.links.tun import device as tun
from otter_agent.network import messages, namespaces, operations
from otter_agent.network.netlink import Netlink

_ROUTES = Path("/proc/thread-self/net/route")
_ANY = "00000000"


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


def tunnels_problem() -> str:
    """Why no link can lead to another machine by VXLAN; empty if they can."""
    try:
        namespaces.in_own_thread(_try_tunnel)
    except (OSError, NetworkError) as exc:
        return f"the kernel makes no VXLAN device (CONFIG_VXLAN): {exc}"
    return ""


def udp_tunnels_problem() -> str:
    """Why a process can't carry links to other machines; empty if one can."""

    def look() -> str:
        namespaces.unshare()
        return tun.usable()

    try:
        return namespaces.in_own_thread(look)
    except OSError as exc:
        return str(namespaces.failed("make a namespace for", "a TUN device", exc))


def addresses() -> tuple[api.NetworkFact, ...]:
    """The IPv4 addresses of the machine, but loopback's; first those towards the outside."""

    def look() -> tuple[api.NetworkFact, ...]:
        outward = _outward()
        with Netlink() as netlink:
            target = "this machine"
            links = map(messages.parse_link, netlink.dump(*messages.get_links(), target))
            devices = {link.index: link for link in links if link.name != "lo" and link.up}
            found = [*map(messages.parse_address, netlink.dump(*messages.get_addresses(), target))]
        facts = [
            api.NetworkFact(
                device=devices[index].name,
                address=operations.dotted(packed),
                prefix=prefix,
                mtu=devices[index].mtu,
            )
            for index, packed, prefix in filter(None, found)
            if index in devices
        ]
        return tuple(sorted(facts, key=lambda fact: fact.device != outward))

    try:
        return namespaces.in_own_thread(look)
    except (OSError, NetworkError):
        return ()


def _outward() -> str:
    """The device of the default route; "": there is none. Source: proc(5), /proc/net/route."""
    try:
        rows = [line.split() for line in _ROUTES.read_text().splitlines()[1:]]
    except OSError:
        return ""
    ways = [(int(row[6]), row[0]) for row in rows if row[1] == row[7] == _ANY]  # metric, device
    return min(ways, default=(0, ""))[1]


def _try_tunnel() -> None:
    """One whose socket is in a nameless namespace, which ends with this thread."""
    namespaces.unshare()
    own = namespaces.open_own()
    try:
        local, remote = bytes((127, 0, 0, 1)), bytes((127, 0, 0, 2))
        mac = b"\x02\0\0\0\0\1"
        tunnel = operations.AddTunnel(
            "probe", 0, mac, mac, 1, api.TUNNEL_PORT, local, remote, remote, 1450
        )
        with Netlink() as netlink:
            netlink.send([messages.encode(tunnel, own)], "this machine")
    finally:
        os.close(own)


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
