"""A tunnel between a device and a port: sockets in the place of both."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest
from helpers.scheduling import as_before

from otter_agent.links.realtime import Guard
from otter_agent.tunnels.carrier import Carrier
from otter_agent.tunnels.pieces import PLAIN
from otter_agent.tunnels.protocol import Wanted

WANTED = Wanted(
    link="a-b", inode=1, first=True, number=5, key="0" * 32, local="127.0.0.1", port=0,
    remote="127.0.0.1", remote_port=9, opens=True,
)  # fmt: skip


@pytest.fixture
def guard() -> Iterator[Guard]:
    """A carrier's process runs before others; this one is an ordinary one again afterwards."""
    with as_before():
        yield Guard(0.0, 0.0)


def test_packets_wait_in_the_device_while_the_kernel_takes_none(guard):
    carrier = Carrier(guard)
    network, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    device.setblocking(False)
    with network:
        assert carrier.add("m", WANTED, device.detach()) == ""
        tunnel = carrier.tunnels["m", "a-b"]
        tunnel.port._waiting.append(([(1, (b"x",))], ("127.0.0.1", 9)))
        network.send(PLAIN + b"\x45" + bytes(39))
        carrier._forth(tunnel)
        assert select.select([tunnel.device], [], [], 0)[0]
        assert tunnel.dropped == 0
        tunnel.port.flush()
        carrier._forth(tunnel)
        assert tunnel.dropped == 1  # nobody is at the other end
        carrier.close()
