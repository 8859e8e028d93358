"""`Network.converge` and `remove`: what `ip` then sees, from any state before."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
import subprocess
from pathlib import Path

import msgspec
import pytest
from helpers import netns

from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.network import Network, namespaces

pytestmark = pytest.mark.netns

SIOCGIFFLAGS, IFF_RUNNING = 0x8913, 0x40
RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE = 0x1, 0x10, 0x40


def name(agent: Network, host: str, mesh: str = "mesh") -> str:
    return f"otter-{agent._agent_id}+{mesh}+{host}"


def replace(spec: api.MeshSpec, **changes: object) -> api.MeshSpec:
    return msgspec.structs.replace(spec, **changes)


def built_anew(spec: api.MeshSpec, like: Network) -> object:
    """What a converge from nothing makes of a spec, for an agent of the same id."""
    like.remove(spec.name)
    like.converge(spec)
    return netns.snapshot(like)


def running(netns_name: str) -> dict[str, bool]:
    """Whether its devices of links pass packets, by what the kernel has taken note of by itself."""

    def look() -> dict[str, bool]:
        namespaces.enter(netns_name)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            found = {}
            for _, device in socket.if_nameindex():
                request = struct.pack("=16sH22x", device.encode(), 0)
                flags = struct.unpack("=16sH22x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
                found[device] = bool(flags[1] & IFF_RUNNING)
            return found

    return namespaces.in_own_thread(look)


def test_devices_pass_packets_as_soon_as_they_are_made(network: Network) -> None:
    """The kernel takes note of carriers later, and drops what is sent until then."""
    spec = netns.chain("mesh", 40)
    network.converge(spec)
    silent = [
        (host.name, device)
        for host in spec.hosts
        for device, passes in running(name(network, host.name)).items()
        if not passes
    ]
    assert not silent


def test_a_chain_as_ip_sees_it(network: Network) -> None:
    network.converge(netns.chain("mesh", 3))
    seen = netns.snapshot(network)
    assert set(seen) == {name(network, h) for h in ("h0", "h1", "h2")}
    middle = seen[name(network, "h1")]
    assert middle["addresses"] == [("lo", "100.64.1.1", 32), ("lo", "127.0.0.1", 8)]
    assert middle["routes"] == [
        ("100.64.0.0/24", "100.64.0.1", "l0"),
        ("100.64.2.0/24", "100.64.2.1", "l1"),
    ]
    devices = {device[0]: device for device in middle["devices"]}
    assert set(devices) == {"lo", "l0", "l1"}
    assert devices["l0"][4] == "mesh+h0"
    assert devices["l1"][4] == "mesh+h2"
    for device in ("l0", "l1"):
        assert {"UP", "LOWER_UP", "NOARP"} <= set(devices[device][2])
        assert devices[device][3] == 1500


def test_router_namespaces_forward_and_take_any_way_back(network: Network) -> None:
    network.converge(netns.chain("mesh", 2))

    def sysctls() -> list[str]:
        namespaces.enter(name(network, "h0"))
        keys = ("ip_forward", "conf/all/rp_filter", "conf/l0/rp_filter", "conf/l0/forwarding")
        return [Path(f"/proc/sys/net/ipv4/{key}").read_text().strip() for key in keys]

    assert namespaces.in_own_thread(sysctls) == ["1", "0", "0", "1"]


def test_ip_netns_exec_works(network: Network) -> None:
    network.converge(netns.chain("mesh", 2))
    subprocess.run(["ip", "netns", "exec", name(network, "h0"), "true"], check=True)


def test_converging_again_changes_nothing(network: Network) -> None:
    spec = netns.chain("mesh", 5)
    network.converge(spec)
    before, seen = network.changes, netns.snapshot(network)
    network.converge(spec)
    assert network.changes == before
    assert netns.snapshot(network) == seen


def test_links_with_names_that_no_device_can_have(network: Network) -> None:
    spec = netns.chain("mesh", 2)
    long = "a-link-with-a-name-of-more-than-fifteen-characters"
    names = ("lo", "all", "default", "m.x", "Ünïcode link/with:odd", long, long + "2")
    links = tuple(api.Link(name=n, a="h0", b="h1") for n in names)
    hosts = tuple(msgspec.structs.replace(h, routes=()) for h in spec.hosts)
    network.converge(replace(spec, links=links, hosts=hosts))
    ends = netns.snapshot(network)[name(network, "h1")]["devices"]
    assert len(ends) == len(names) + 1


def test_changes_of_hosts_links_addresses_and_routes(network: Network) -> None:
    """Every spec of a series is reached from the one before as if it were the first."""
    base = netns.chain("mesh", 4)
    moved = msgspec.structs.replace(base.hosts[1], address="100.64.1.9")
    via = tuple(
        msgspec.structs.replace(r, via="100.64.1.9") if r.via == "100.64.1.1" else r
        for r in base.hosts[0].routes
    )
    fewer_routes = msgspec.structs.replace(base.hosts[0], routes=via[:1])
    turned = tuple(api.Link(name=k.name, a=k.b, b=k.a) for k in base.links)
    series = [
        replace(base, hosts=(fewer_routes, moved, *base.hosts[2:])),
        replace(base, links=turned),
        netns.chain("mesh", 3),
        replace(base, links=(*base.links, api.Link(name="extra", a="h0", b="h3"))),
        base,
        replace(base, links=(), hosts=(msgspec.structs.replace(base.hosts[0], routes=()),)),
    ]
    expected = [built_anew(spec, network) for spec in series]
    network.remove("mesh")
    for spec, wanted in zip(series, expected, strict=True):
        network.converge(spec)
        assert netns.snapshot(network) == wanted
        before = network.changes
        network.converge(spec)
        assert network.changes == before


def test_a_mesh_whose_name_begins_with_anothers(network: Network) -> None:
    for mesh in ("a", "a-b", "a-b_c", "ab"):
        network.converge(netns.chain(mesh, 2))
    assert network.meshes() == {"a", "a-b", "a-b_c", "ab"}
    network.remove("a")
    network.remove("a-b")
    assert network.meshes() == {"a-b_c", "ab"}
    assert len(netns.names(network)) == 4


def test_two_agents_side_by_side(network: Network) -> None:
    spec = netns.chain("mesh", 3)
    network.converge(spec)
    seen = netns.snapshot(network)
    with netns.network() as other:
        other.converge(spec)
        assert other.meshes() == {"mesh"}
    assert netns.snapshot(network) == seen


def test_removing_what_is_not_there(network: Network) -> None:
    network.remove("mesh")
    assert network.meshes() == set()


# --- half-made states ----------------------------------------------------------------------------


def test_a_name_without_a_namespace(network: Network) -> None:
    spec = netns.chain("mesh", 2)
    wanted = built_anew(spec, network)
    network.remove("mesh")
    (netns.NETNS / name(network, "h0")).touch()
    (netns.NETNS / name(network, "gone")).touch()
    assert network.meshes() == {"mesh"}
    network.converge(spec)
    assert netns.snapshot(network) == wanted
    (netns.NETNS / name(network, "gone")).touch()


def test_a_namespace_replaced_behind_our_back(network: Network) -> None:
    """Its old self lives on in a process: the neighbour's device leads there, and must not stay."""
    spec = netns.chain("mesh", 3)
    wanted = built_anew(spec, network)
    path = netns.NETNS / name(network, "h1")
    argv = ["ip", "netns", "exec", path.name, "cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"x\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"x\n"  # it is inside
        assert ctypes.CDLL(None).umount2(str(path).encode(), 2) == 0
        network.converge(spec)
        assert netns.snapshot(network) == wanted
        holder.stdin.close()


@pytest.mark.parametrize(
    "damage",
    [
        "link set l0 down",
        "link del l1",
        "route flush proto 79",
        "addr del 100.64.1.1/32 dev lo",
        "link set lo down",
    ],
)
def test_damage_is_repaired(network: Network, damage: str) -> None:
    spec = netns.chain("mesh", 3)
    wanted = built_anew(spec, network)
    subprocess.run(["ip", "-n", name(network, "h1"), *damage.split()], check=True)
    assert netns.snapshot(network) != wanted
    network.converge(spec)
    assert netns.snapshot(network) == wanted


def test_routes_of_the_user_stay(network: Network) -> None:
    spec = netns.chain("mesh", 2)
    network.converge(spec)
    own = ["ip", "-n", name(network, "h0"), "route", "add", "blackhole", "203.0.113.0/24"]
    subprocess.run(own, check=True)
    before = network.changes
    network.converge(spec)
    assert network.changes == before
    routes = netns.ip("-4", "route", netns=name(network, "h0"))
    assert "203.0.113.0/24" in {route["dst"] for route in routes}


# --- errors --------------------------------------------------------------------------------------


def test_an_error_says_what_failed_where_and_why(network: Network) -> None:
    spec = netns.chain("mesh", 2)
    own = msgspec.structs.replace(
        spec.hosts[0], routes=(api.Route(to=("100.64.1.0/24",), via="100.64.0.1", link="l0"),)
    )
    with pytest.raises(NetworkError) as caught:
        network.converge(replace(spec, hosts=(own, spec.hosts[1])))
    text = str(caught.value)
    assert text.startswith("mesh/h0: network could not add route 100.64.1.0/24 via 100.64.0.1")
    assert "(EINVAL)" in text


def test_a_process_that_stays_in_a_removed_namespace_is_named(network: Network) -> None:
    network.converge(netns.chain("mesh", 2))
    argv = ["ip", "netns", "exec", name(network, "h0"), "cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"x\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"x\n"
        with pytest.raises(NetworkError, match=rf"process {holder.pid} \(cat\)"):
            network.remove("mesh")
        assert network.meshes() == set()
        network.remove("mesh")
        holder.stdin.close()


# --- the machine's own namespace ------------------------------------------------------------


def test_nothing_appears_in_the_machines_own_namespace(network: Network) -> None:
    """A nameless namespace stands in for the machine's; the kernel reports what changes in it."""
    spec = netns.chain("mesh", 4)

    def work() -> None:
        namespaces.unshare()
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as witness:
            witness.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE))
            with netns.module_process() as pid:
                network.converge(spec)
                network.plug("mesh", spec.hosts[0], "m", "100.64.0.2", pid)
                network.converge(netns.chain("mesh", 2))
                network.unplug("mesh", "h0", "m")
                network.remove("mesh")
            with pytest.raises(BlockingIOError):
                witness.recv(4096, socket.MSG_DONTWAIT)
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            assert witness.recv(4096, socket.MSG_DONTWAIT)  # it does hear what happens here

    namespaces.in_own_thread(work)
