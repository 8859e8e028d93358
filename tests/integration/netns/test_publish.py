"""Published ports: reachable from outside, from inside the mesh, and by nobody else's leave."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import netns, outside
from helpers.byhand import free_port
from helpers.modules import free_ports

from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.network import Network

pytestmark = pytest.mark.timed

AT_H2 = netns.address(2).encode()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Network]:
    with outside.network(tmp_path) as made:
        yield made


def published(port: int, protocol: str = "tcp", inside: int = 80, at: str = "h2") -> api.Publish:
    return api.Publish(port=inside, listen_port=port, host=at, protocol=protocol)


@contextlib.contextmanager
def echoing(pid: int, port: int = 80) -> Iterator[None]:
    """A module that says over TCP and UDP who calls, and then echoes."""
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(netns.socket_in(pid, socket.SOCK_STREAM))
        udp = stack.enter_context(netns.socket_in(pid, socket.SOCK_DGRAM))
        tcp.bind(("", port))
        tcp.listen(512)
        udp.bind(("", port))
        for one in (tcp, udp):
            one.settimeout(None)

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.sendall(connection.getpeername()[0].encode() + b"\n")
                while data := connection.recv(1 << 20):
                    connection.sendall(data)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(tcp.accept()[0],), daemon=True).start()

        def hear() -> None:
            with contextlib.suppress(OSError):
                while (said := udp.recvfrom(65535))[1]:  # no sender: it was shut down
                    udp.sendto(said[1][0].encode() + b" " + said[0], said[1])

        threads = [threading.Thread(target=work, daemon=True) for work in (accept, hear)]
        for thread in threads:
            thread.start()
        yield
        for one in (tcp, udp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)


def connection(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def test_tcp_enters_at_the_host_and_crosses_the_links(agent) -> None:
    port = free_port()
    spec = outside.mesh("m", published(port), gateway=False)
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid, echoing(pid):
        before = outside.carried(agent, spec, "l0")
        with connection(port) as client:
            stream = client.makefile("rb")
            assert stream.readline() == AT_H2 + b"\n"
            sent = os.urandom(3 << 20)
            sending = threading.Thread(target=client.sendall, args=(sent,))
            sending.start()
            assert stream.read(len(sent)) == sent
            sending.join()
            client.shutdown(socket.SHUT_WR)
            assert stream.read() == b""
        assert outside.carried(agent, spec, "l0") - before > 2 * len(sent) // 65536


def test_udp_answers_come_from_the_address_that_was_asked(agent) -> None:
    port = free_port()
    anywhere = api.Publish(port=80, listen_port=port, host="h2", protocol="udp", listen="0.0.0.0")
    spec = outside.mesh("m", anywhere, gateway=False)
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid, echoing(pid):
        for address in ("127.0.0.1", "127.1.2.3"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(10)
                client.connect((address, port))  # hears this address only
                for text in (b"one", b"two"):
                    client.send(text)
                    assert client.recv(99) == AT_H2 + b" " + text
    assert ("udp", f"0.0.0.0:{port}") in outside.listening()


def test_at_the_modules_own_host_no_link_is_crossed(agent) -> None:
    port = free_port()
    spec = outside.mesh("m", published(port, at="h0"), gateway=False)
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid, echoing(pid):
        before = outside.carried(agent, spec, "l0")
        with connection(port) as client:
            assert client.makefile("rb").readline() == netns.address(0).encode() + b"\n"
        assert outside.carried(agent, spec, "l0") == before


def test_only_what_is_published_listens_and_at_loopback(agent) -> None:
    before = outside.machine()
    tcp, udp = free_port(), free_port()
    spec = outside.mesh("m", published(tcp), published(udp, "udp"))
    outside.up(agent, spec)
    during = outside.machine()
    new = {("tcp", f"127.0.0.1:{tcp}"), ("udp", f"127.0.0.1:{udp}")}
    assert during.pop("listening") - before["listening"] == new
    listening = before.pop("listening")
    assert during == before
    agent.remove("m")
    assert outside.listening() == listening


def test_a_taken_port_is_told_with_its_holder_and_keeps_no_other_closed(agent) -> None:
    good = free_port()
    with socket.create_server(("127.0.0.1", 0)) as mine:
        taken = mine.getsockname()[1]
        spec = outside.mesh("m", published(taken), published(good), gateway=False)
        agent.converge(spec)
        who = rf"publish tcp 127\.0\.0\.1:{taken}: the port is taken by .* \(pid {os.getpid()}\)"
        with pytest.raises(NetworkError, match=who):
            agent.open_outside(spec)
        assert ("tcp", f"127.0.0.1:{good}") in outside.listening()
    agent.open_outside(spec)  # it is free now
    assert ("tcp", f"127.0.0.1:{taken}") in outside.listening()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_another_mesh_is_named_as_holder(agent, protocol: str) -> None:
    port = free_port()
    outside.up(agent, outside.mesh("first", published(port, protocol)))
    second = outside.mesh("second", published(port, protocol))
    agent.converge(second)
    with pytest.raises(NetworkError, match="the port is taken by mesh first"):
        agent.open_outside(second)


def test_a_change_cuts_only_what_changed(agent) -> None:
    stays, goes, comes = free_ports(3)
    spec = outside.mesh("m", published(stays), published(goes), gateway=False)
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid, echoing(pid):
        with connection(stays) as kept, connection(goes) as cut:
            for client in (kept, cut):
                assert client.recv(99) == AT_H2 + b"\n"
            changed = outside.mesh("m", published(stays), published(comes), gateway=False)
            outside.up(agent, changed)
            kept.sendall(b"still here")
            assert kept.recv(99) == b"still here"
            with pytest.raises(ConnectionResetError):
                cut.recv(9)
        with connection(comes) as client:
            assert client.recv(99) == AT_H2 + b"\n"
        with pytest.raises(ConnectionRefusedError):
            connection(goes)


def test_a_module_that_does_not_listen_is_told_by_a_reset(agent) -> None:
    port = free_port()
    spec = outside.mesh("m", published(port), gateway=False)
    outside.up(agent, spec)
    with (
        outside.module(agent, spec),
        pytest.raises(ConnectionResetError),  # it may come before `connect` returns
        connection(port) as client,
    ):
        client.recv(9)


def test_a_reader_that_stops_slows_its_sender_and_fills_no_memory(agent, tmp_path) -> None:
    port = free_port()
    spec = outside.mesh("m", published(port), gateway=False)
    outside.up(agent, spec)
    (relay,) = outside.relays(tmp_path)
    with outside.module(agent, spec) as pid, echoing(pid), connection(port) as client:
        client.settimeout(1.0)
        sent = 0
        with contextlib.suppress(TimeoutError):  # nobody reads the echo: it has to stop
            while sent < 256 << 20:
                sent += client.send(bytes(1 << 20))
        assert 0 < sent < 64 << 20, "the sockets' own buffers on the way, and no more"
        pages = int(Path(f"/proc/{relay}/statm").read_text().split()[1])
        assert pages * os.sysconf("SC_PAGE_SIZE") < 64 << 20


def test_many_connections_that_come_and_go_leave_no_descriptor(agent, tmp_path) -> None:
    port = free_port()
    spec = outside.mesh("m", published(port), gateway=False)
    outside.up(agent, spec)
    (relay,) = outside.relays(tmp_path)
    fds = Path(f"/proc/{relay}/fd")
    with outside.module(agent, spec) as pid, echoing(pid):
        for _ in range(3):
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(connection(port)) for _ in range(100)]
                for client in clients:
                    assert client.recv(99) == AT_H2 + b"\n"
                for client in clients[:50]:
                    netns_reset(client)
        deadline = time.monotonic() + 10
        while sum(is_socket(path) for path in fds.iterdir()) > 12:
            assert time.monotonic() < deadline, [os.readlink(path) for path in fds.iterdir()]
        assert len(list(fds.iterdir())) < 100, "spare pipes, a bounded number"


def netns_reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def is_socket(path: Path) -> bool:
    try:
        return os.readlink(path).startswith("socket:")
    except OSError:
        return False


@pytest.mark.slow
def test_it_is_fast(agent, capsys) -> None:
    """Not a bar to clear on a busy machine, but a figure to read: see benchmarks for the real."""
    port = free_port()
    spec = outside.mesh("m", published(port), gateway=False)
    outside.up(agent, spec)
    with outside.module(agent, spec) as pid, echoing(pid), connection(port) as client:
        total, chunk = 64 << 20, bytes(1 << 20)
        begin = time.monotonic()
        sending = threading.Thread(target=lambda: [client.sendall(chunk) for _ in range(64)])
        sending.start()
        stream, got = client.makefile("rb"), -len(AT_H2 + b"\n")
        while got < total:
            got += len(stream.read1(1 << 20))
        sending.join()
        rate = 2 * total / (time.monotonic() - begin) / 1e6
    with capsys.disabled():
        print(f" [{rate:.0f} MB/s there and back]", end="", file=sys.stderr)
    assert rate > 20
