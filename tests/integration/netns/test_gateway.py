"""Gateways: from a module across the links to the world outside, and nowhere else."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import netns, outside
from helpers.outside import HERE, SHUT, TCP, THERE, UDP

from otter_agent.network import Network, namespaces

pytestmark = pytest.mark.timed

SOON_S = 8.0
"""Less than the 10 s that a handshake, or an end, is waited for."""
"""A refusal takes a millisecond; a time-out would take three seconds at least."""


@pytest.fixture(scope="module")
def _world() -> Iterator[None]:
    if netns.unavailable():
        yield
        return
    with outside.world():
        yield


@pytest.fixture
def agent(_world, tmp_path: Path) -> Iterator[Network]:
    with outside.network(tmp_path) as made:
        yield made


def tcp(pid: int, address: str, port: int) -> socket.socket:
    """A connection from a module."""
    made = netns.socket_in(pid, socket.SOCK_STREAM)
    try:
        made.connect((address, port))
    except BaseException:
        made.close()
        raise
    return made


def line(connection: socket.socket) -> bytes:
    return connection.makefile("rb").readline()


def refusal(pid: int, address: str, port: int) -> int:
    """The error of a connection that can't be made, soon."""
    begin = time.monotonic()
    with pytest.raises(OSError) as caught:
        tcp(pid, address, port)
    assert time.monotonic() - begin < SOON_S
    return caught.value.errno or 0


def test_tcp_udp_and_ping_cross_the_links_and_bear_the_machines_address(agent) -> None:
    spec = outside.mesh("out")
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid:
        before = outside.carried(agent, spec, "l0")
        with tcp(pid, THERE, TCP) as connection:
            assert line(connection) == HERE.encode() + b"\n"
            connection.sendall(b"there and back")
            connection.shutdown(socket.SHUT_WR)  # one end of two: the answer still comes
            assert connection.makefile("rb").read() == b"there and back"
        with netns.socket_in(pid, socket.SOCK_DGRAM) as datagrams:
            for text in (b"one", b"two"):
                datagrams.sendto(text, (THERE, UDP))
                assert datagrams.recvfrom(99) == (HERE.encode() + b" " + text, (THERE, UDP))
        with ping_socket(pid) as ping:
            ping.sendto(b"\x08\0" + checksum(b"\x08\0\0\0\1\2\0\1") + b"\1\2\0\1", (THERE, 0))
            answer = ping.recv(99)
            assert answer[20:21] == b"\0"
            assert answer[24:28] == b"\1\2\0\1"
            assert answer[8] == 61, "three routers of the mesh took one each from its time to live"
        assert outside.carried(agent, spec, "l0") - before >= 12


def test_much_at_once_arrives_whole(agent) -> None:
    spec = outside.mesh("out")
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(tcp(pid, THERE, TCP)) for _ in range(150)]
        sent = os.urandom(1 << 18)
        for i, connection in enumerate(connections):
            assert line(connection).startswith(HERE.encode())
            connection.sendall(sent[i:])
        for i, connection in enumerate(connections):
            connection.shutdown(socket.SHUT_WR)
            assert connection.makefile("rb").read() == sent[i:]


def test_a_closed_port_outside_is_refused_as_there(agent) -> None:
    spec = outside.mesh("out")
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid:
        assert refusal(pid, THERE, SHUT) == errno.ECONNREFUSED
        with netns.socket_in(pid, socket.SOCK_DGRAM) as datagrams:
            datagrams.connect((THERE, SHUT))
            datagrams.send(b"anybody?")
            with pytest.raises(ConnectionRefusedError):
                datagrams.recv(9)


def test_a_reset_outside_arrives_as_a_reset(agent) -> None:
    spec = outside.mesh("out")
    outside.up(agent, spec)
    with (
        outside.module(agent, spec) as pid,
        socket.create_server((HERE, 0)) as server,
        tcp(pid, HERE, server.getsockname()[1]) as connection,
    ):
        there, _ = server.accept()
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        there.close()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


@pytest.mark.parametrize("address", ["169.254.169.254", "100.64.200.7", "224.0.0.251", "240.0.0.1"])
def test_metadata_other_meshes_and_the_like_are_refused_at_once(agent, address: str) -> None:
    spec = outside.mesh("out")
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid:
        # Multicast never leaves the module, class E isn't routed: its own kernel says so.
        assert refusal(pid, address, 80) in (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EINVAL)


def test_what_listens_at_the_machines_loopback_is_out_of_reach(agent) -> None:
    spec = outside.mesh("out")
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert refusal(pid, "127.0.0.1", port) == errno.ECONNREFUSED  # its own loopback
        assert refusal(pid, HERE, port) == errno.ECONNREFUSED  # not at this address


def test_a_mesh_without_a_gateway_fails_at_once(agent) -> None:
    spec = outside.mesh("closed", gateway=False)
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid:
        assert refusal(pid, THERE, TCP) == errno.ENETUNREACH


def test_nothing_of_the_machine_changes(agent) -> None:
    before = outside.machine()
    spec = outside.mesh("out")
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid, tcp(pid, THERE, TCP) as connection:
        line(connection)
        assert outside.machine() == before
    agent.remove("out")
    assert outside.machine() == before


def test_two_agents_with_two_meshes_each_do_not_meet(agent, tmp_path) -> None:
    spec, second = outside.mesh("one"), outside.mesh("two")
    with outside.network(tmp_path / "other") as other, contextlib.ExitStack() as stack:
        for network in (agent, other):
            for each in (spec, second):
                outside.up(network, each)
                pid = stack.enter_context(outside.module(network, each))
                assert line(stack.enter_context(tcp(pid, THERE, TCP))).startswith(HERE.encode())
        assert len(outside.relays(tmp_path)) == 4


def test_a_killed_agents_successor_goes_on_with_the_same_relay(agent, tmp_path) -> None:
    spec = outside.mesh("out")
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid, tcp(pid, THERE, TCP) as connection:
        line(connection)
        before = outside.relays(tmp_path)
        successor = Network(agent._agent_id, tmp_path)
        outside.up(successor, spec)
        assert outside.relays(tmp_path) == before
        connection.sendall(b"still here")
        assert connection.recv(99) == b"still here"
        successor.remove_others({"out"})
        assert outside.relays(tmp_path) == before
        successor.remove_others(set())
        assert outside.relays(tmp_path) == []
        with pytest.raises(ConnectionResetError):
            connection.recv(9)


def test_a_killed_relay_is_noticed_and_replaced(agent, tmp_path) -> None:
    spec = outside.mesh("out")
    outside.up(agent, spec)
    assert agent.lost() == []
    (pid,) = outside.relays(tmp_path)
    watched = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    signal.pidfd_send_signal(watched, 0)  # not reaped before we looked
    os.close(watched)
    deadline = time.monotonic() + 10
    while (lost := agent.lost()) == []:
        assert time.monotonic() < deadline
    assert lost == ["out"]
    agent.open_outside(spec)
    assert agent.lost() == []
    with outside.module(agent, spec) as module, tcp(module, THERE, TCP) as connection:
        assert line(connection).startswith(HERE.encode())


def test_a_host_made_anew_is_a_gateway_again(agent) -> None:
    spec = outside.mesh("out")
    outside.up(agent, spec)
    (name,) = (n for n in netns.names(agent) if n.endswith("+~h2"))
    namespaces.drop(name)  # by somebody else
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid, tcp(pid, THERE, TCP) as connection:
        assert line(connection).startswith(HERE.encode())


def test_a_gateway_that_is_wanted_no_more_is_gone_with_its_relay(agent, tmp_path) -> None:
    outside.up(agent, outside.mesh("out"))
    spec = outside.mesh("out", gateway=False)
    outside.up(agent, spec)
    assert outside.relays(tmp_path) == []
    assert not any("~" in name for name in netns.names(agent))
    with outside.module(agent, spec) as pid:
        assert refusal(pid, THERE, TCP) == errno.ENETUNREACH


def test_removal_waits_for_no_connection(agent, tmp_path) -> None:
    spec = outside.mesh("out")
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid, contextlib.ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(tcp(pid, THERE, TCP))
            connection.sendall(bytes(1 << 20))  # nobody reads what comes back
        begin = time.monotonic()
        agent.remove("out")
        assert time.monotonic() - begin < SOON_S
    assert outside.relays(tmp_path) == []


def test_looking_again_changes_nothing(agent) -> None:
    spec = outside.mesh("out")
    outside.up(agent, spec)
    before = agent.changes
    outside.up(agent, spec)
    assert agent.changes == before


def ping_socket(pid: int) -> socket.socket:
    def make() -> socket.socket:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            namespaces.join(descriptor)
        finally:
            os.close(descriptor)
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        made.settimeout(10)
        return made

    return namespaces.in_own_thread(make)


def checksum(message: bytes) -> bytes:
    total = sum(int.from_bytes(message[i : i + 2], "big") for i in range(0, len(message), 2))
    total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")
