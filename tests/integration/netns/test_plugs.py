"""Modules' plugs: real sockets between processes that were plugged in, over several hops."""

from __future__ import annotations

import os
import select
import socket
import threading
from contextlib import ExitStack

import pytest
from helpers import netns
from helpers.netns import module_process, socket_in

from otter_agent.errors import NetworkError
from otter_agent.network import Network

pytestmark = pytest.mark.netns

MESH = "mesh"
IP_RECVTTL, IP_TTL = 12, 2


def plug(agent: Network, host: int, pid: int, n: int = 2, module: str | None = None) -> str:
    """Plug a process in as a module of host `host`; returns its address."""
    address = netns.address(host, n)
    agent.plug(MESH, netns.chain_host(host, 4), module or f"m{host}-{n}", address, pid)
    return address


def echo_hops(a: int, b: int, to: str) -> int:
    """Send a datagram from process `a` to `b` at `to`; returns how many routers it passed."""
    with socket_in(a, socket.SOCK_DGRAM) as here, socket_in(b, socket.SOCK_DGRAM) as there:
        there.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        there.bind((to, 0))
        here.sendto(b"ping", there.getsockname())
        data, ancillary, _, back = there.recvmsg(100, 100)
        there.sendto(data, back)
        assert here.recv(100) == b"ping"
    ttl = int.from_bytes(ancillary[0][2], "little")
    return 64 - ttl


def test_modules_reach_each_other_over_many_hops(network: Network) -> None:
    network.converge(netns.chain(MESH, 4))
    with module_process() as a, module_process() as b:
        plug(network, 0, a)
        assert echo_hops(a, b, plug(network, 3, b)) == 4
        assert echo_hops(b, a, netns.address(0, 2)) == 4


def test_modules_of_one_host_reach_each_other(network: Network) -> None:
    network.converge(netns.chain(MESH, 1))
    with module_process() as a, module_process() as b:
        plug(network, 0, a, 2)
        assert echo_hops(a, b, plug(network, 0, b, 3)) == 1


def test_a_link_asks_nothing_before_the_first_packet(network: Network) -> None:
    """No ARP: it would cost the first packet two more ways over a link, or be lost."""
    network.converge(netns.chain(MESH, 2))
    with module_process() as a, module_process() as b:
        plug(network, 0, a)
        to = plug(network, 1, b)
        router = next(n for n in netns.names(network) if n.endswith("+h0"))
        before = {s["ifname"]: s["stats64"] for s in netns.ip("-s", "link", netns=router)}
        assert echo_hops(a, b, to) == 2
        after = {s["ifname"]: s["stats64"] for s in netns.ip("-s", "link", netns=router)}
    for way in ("rx", "tx"):
        assert after["l0"][way]["packets"] - before["l0"][way]["packets"] == 1


def test_inside_a_module(network: Network) -> None:
    network.converge(netns.chain(MESH, 2))
    with module_process() as pid:
        address = plug(network, 1, pid)
        devices = {d["ifname"]: d for d in netns.ip("address", pid=pid)}
        assert {"lo", "eth0"} <= set(devices)
        assert {"UP", "LOWER_UP"} <= set(devices["lo"]["flags"]) & set(devices["eth0"]["flags"])
        local = [(a["local"], a["prefixlen"]) for a in devices["eth0"]["addr_info"]]
        assert local == [(address, 32)]
        (route,) = netns.ip("-4", "route", pid=pid)
        assert (route["dst"], route["gateway"], route["dev"]) == ("default", "100.64.1.1", "eth0")


def test_plugging_again_and_converging_change_nothing(network: Network) -> None:
    spec = netns.chain(MESH, 2)
    network.converge(spec)
    with module_process() as a, module_process() as b:
        plug(network, 0, a)
        to = plug(network, 1, b)
        before = network.changes
        plug(network, 0, a)
        network.converge(spec)
        assert network.changes == before
        network.converge(netns.chain(MESH, 3))
        assert echo_hops(a, b, to) == 2


def test_a_new_instance_takes_the_plug_over(network: Network) -> None:
    network.converge(netns.chain(MESH, 2))
    with module_process() as a, module_process() as old, module_process() as new:
        plug(network, 0, a)
        to = plug(network, 1, old)
        assert plug(network, 1, new) == to
        assert echo_hops(a, new, to) == 2
        assert "eth0" not in {d["ifname"] for d in netns.ip("link", pid=old)}


def test_a_changed_address_is_changed_on_both_sides(network: Network) -> None:
    network.converge(netns.chain(MESH, 2))
    with module_process() as a, module_process() as b:
        plug(network, 0, a)
        plug(network, 1, b, 2, module="b")
        to = plug(network, 1, b, 7, module="b")
        assert echo_hops(a, b, to) == 2
        (eth,) = [d for d in netns.ip("-4", "address", pid=b) if d["ifname"] == "eth0"]
        assert [i["local"] for i in eth["addr_info"]] == [to]


def test_a_plug_whose_router_was_made_anew(network: Network) -> None:
    """The agent plugs every running module after each converge: that repairs it."""
    spec = netns.chain(MESH, 2)
    network.converge(spec)
    with module_process() as a, module_process() as b:
        plug(network, 0, a)
        to = plug(network, 1, b)
        network.remove(MESH)
        network.converge(spec)
        plug(network, 0, a)
        plug(network, 1, b)
        assert echo_hops(a, b, to) == 2


def test_many_plugs_at_once(network: Network) -> None:
    network.converge(netns.chain(MESH, 2))
    with ExitStack() as stack:
        pids = [stack.enter_context(module_process()) for _ in range(8)]
        threads = [
            threading.Thread(target=plug, args=(network, i % 2, pid, 2 + i))
            for i, pid in enumerate(pids)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert echo_hops(pids[0], pids[7], netns.address(1, 9)) == 2


def test_unplug(network: Network) -> None:
    network.converge(netns.chain(MESH, 1))
    with module_process() as pid:
        plug(network, 0, pid, module="a-module-with-a-long-name")
        network.unplug(MESH, "h0", "a-module-with-a-long-name")
        assert "eth0" not in {d["ifname"] for d in netns.ip("link", pid=pid)}
        (router,) = netns.names(network)
        assert netns.ip("-4", "route", netns=router) == []
        before = network.changes
        network.unplug(MESH, "h0", "a-module-with-a-long-name")
        network.unplug(MESH, "no-such-host", "m")
        network.unplug("no-such-mesh", "h0", "m")
        assert network.changes == before


def test_the_machines_own_namespace_is_never_plugged(network: Network) -> None:
    network.converge(netns.chain(MESH, 1))
    with pytest.raises(NetworkError, match="machine's own network namespace"):
        plug(network, 0, os.getpid())


def test_a_process_that_has_gone(network: Network) -> None:
    network.converge(netns.chain(MESH, 1))
    with module_process() as pid:
        pass
    with pytest.raises(NetworkError, match=rf"find process {pid}"):
        plug(network, 0, pid)


def test_a_host_that_is_not_there(network: Network) -> None:
    network.converge(netns.chain(MESH, 1))
    with module_process() as pid, pytest.raises(NetworkError, match=r"\+mesh\+h3: .*ENOENT"):
        plug(network, 3, pid)


# --- readiness probe -----------------------------------------------------------------------------


def test_connects_only_where_something_listens(network: Network) -> None:
    network.converge(netns.chain(MESH, 2))
    with module_process() as pid:
        address = plug(network, 1, pid)
        with socket_in(pid, socket.SOCK_STREAM) as server:
            server.bind(("0.0.0.0", 0))
            port = server.getsockname()[1]
            assert not network.connects(MESH, "h1", address, port, 5.0)
            server.listen()
            assert network.connects(MESH, "h1", address, port, 5.0)
            assert network.connects(MESH, "h0", address, port, 5.0)
            accepted, _ = server.accept()
            with accepted:
                readable, _, _ = select.select([accepted], [], [], 10)
                assert readable
                assert accepted.recv(1) == b""  # closed in good order, nothing sent
        assert not network.connects(MESH, "h1", address, port, 5.0)
    assert not network.connects(MESH, "h1", netns.address(1, 99), 80, 0.2)
    assert not network.connects("no-such-mesh", "h1", netns.address(1, 2), 80, 0.2)


def test_remove_returns_when_the_devices_are_gone(network: Network) -> None:
    """A plug's inner end, in a namespace that stays, goes with the router's device."""
    with ExitStack() as stack:
        pids = [stack.enter_context(module_process()) for _ in range(4)]
        for _ in range(10):
            network.converge(netns.chain(MESH, 4))
            for host, pid in enumerate(pids):
                plug(network, host, pid)
            network.remove(MESH)
            left = [netns.devices_now(pid) for pid in pids]
            assert left == [{"lo"}] * 4
