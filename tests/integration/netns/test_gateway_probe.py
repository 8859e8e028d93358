"""Whether gateways can be had is found out without leaving anything."""

from __future__ import annotations

import os
import socket

import pytest
from helpers import outside

from otter_agent.errors import NetworkError
from otter_agent.network import Network
from otter_agent.network.outside.steer import Steering

pytestmark = pytest.mark.timed


def test_here_they_can() -> None:
    before = outside.machine()
    assert Network.gateways_problem() == ""
    assert outside.machine() == before


def test_what_the_kernel_refuses_is_told_with_what_is_needed_and_leaves_no_descriptor() -> None:
    null = os.open("/dev/null", os.O_RDONLY)  # no namespace
    before = len(os.listdir("/proc/self/fd"))
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.listen()
            udp.bind(("127.0.0.1", 0))
            with pytest.raises(NetworkError, match=r"\(bpf\).*Linux 5\.9"):
                Steering(null, tcp.fileno(), udp.fileno(), tcp.fileno())
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        os.close(null)
