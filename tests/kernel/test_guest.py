"""What the other tests of this tier rely on: the guest has what the machine's kernel lacks."""

from __future__ import annotations

import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CGROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def delayed_loopback() -> Iterator[float]:
    """Loopback with 20 ms one way, so that a round trip takes 40 ms."""
    tc = ["tc", "qdisc"]
    subprocess.run([*tc, "add", "dev", "lo", "root", "netem", "delay", "20ms"], check=True)
    yield 0.040
    subprocess.run([*tc, "del", "dev", "lo", "root"], check=True)


@pytest.fixture
def udp_echo() -> Iterator[tuple[str, int]]:
    """The address of a server that sends every datagram back until it gets an empty one."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            data, peer = server.recvfrom(2048)
            if not data:
                return
            server.sendto(data, peer)

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"", server.getsockname())
    thread.join(10)
    server.close()


@pytest.mark.timed
def test_netem_delays_packets(udp_echo: tuple[str, int], delayed_loopback: float) -> None:
    trips = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        for _ in range(20):
            start = time.perf_counter()
            client.sendto(b"x", udp_echo)
            client.recv(16)
            trips.append(time.perf_counter() - start)
    assert min(trips) >= delayed_loopback
    assert statistics.median(trips) == pytest.approx(delayed_loopback, abs=0.003)


def test_cgroup_v2_has_the_controllers() -> None:
    controllers = (CGROUPS / "cgroup.controllers").read_text().split()
    assert {"cpu", "memory", "pids"} <= set(controllers)


def test_a_budget_can_be_set_and_read_back() -> None:
    (CGROUPS / "cgroup.subtree_control").write_text("+cpu +memory +pids")
    group = CGROUPS / "otter-test-budget"
    group.mkdir()
    try:
        (group / "cpu.max").write_text("2500 5000")
        (group / "memory.max").write_text(str(64 << 20))
        assert (group / "cpu.max").read_text().split() == ["2500", "5000"]
        assert int((group / "memory.max").read_text()) == 64 << 20
    finally:
        group.rmdir()


def test_devices_of_a_mesh_can_be_made() -> None:
    """A namespace, a veth pair into it, and a tunnel device: their modules load."""
    namespace = "otter-test-guest"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        pair = ["veth", "peer", "name", "inside", "netns", namespace]
        subprocess.run(["ip", "link", "add", "outside", "type", *pair], check=True)
        vxlan = ["vxlan", "id", "7", "dstport", "4789", "local", "127.0.0.1", "dev", "lo"]
        subprocess.run(["ip", "-n", namespace, "link", "show", "inside"], check=True)
        subprocess.run(["ip", "link", "add", "tunnel", "type", *vxlan], check=True)
        subprocess.run(["ip", "link", "del", "tunnel"], check=True)
    finally:
        subprocess.run(["ip", "netns", "del", namespace], check=True)
    assert Path("/dev/net/tun").is_char_device()
