"""How a machine reaches another one, through a router whose other cable carries less."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator

import pytest
from helpers.otter import wait_for

from otter_agent import api
from otter_agent.network import namespaces
from otter_agent.network.probe import addresses
from otter_agent.reach import reach

A, B = "10.78.1.2", "10.78.2.2"


def ip(*words: object) -> None:
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"


@pytest.fixture
def three() -> Iterator[list[str]]:
    """Two machines and the router between them, as namespaces."""
    names = [f"otr{secrets.token_hex(3)}-{word}" for word in ("a", "r", "b")]
    try:
        for name in names:
            ip("netns", "add", name)
        a, router, b = names
        for machine, own, net in ((a, A, "10.78.1"), (b, B, "10.78.2")):
            port = f"to{net[-1]}"
            end = ("peer", "name", "eth0", "netns", machine)
            ip("-n", router, "link", "add", port, "type", "veth", *end)
            ip("-n", router, "address", "add", f"{net}.1/24", "dev", port)
            ip("-n", machine, "address", "add", f"{own}/24", "dev", "eth0")
            ip("-n", router, "link", "set", port, "up")
            ip("-n", machine, "link", "set", "eth0", "up")
            ip("-n", machine, "route", "add", "default", "via", f"{net}.1")
        forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
        subprocess.run(["ip", "netns", "exec", router, "sh", "-c", forward], check=True)
        for name, device in ((router, "to1"), (router, "to2"), (a, "eth0"), (b, "eth0")):
            wait_for(lambda at=(name, device): is_up(*at), f"{device} of {name} carries")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def is_up(name: str, device: str) -> bool:
    """Whether the kernel has taken note, too: what is sent before that is dropped."""
    words = ["ip", "-n", name, "-j", "link", "show", "dev", device]
    told = subprocess.run(words, capture_output=True, check=True).stdout
    return bool(json.loads(told)[0]["operstate"] == "UP")


def reached(name: str) -> api.Reach:
    def look() -> api.Reach:
        namespaces.enter(name)
        return reach(A, B, 1500)

    return namespaces.in_own_thread(look)


def test_the_narrowest_place_on_the_way_counts(three: list[str]) -> None:
    whole = reached(three[0])
    assert whole.rtt_s is not None
    assert (whole.whole, whole.mtu) == (True, 0)
    for name, device in ((three[1], "to2"), (three[2], "eth0")):
        ip("-n", name, "link", "set", device, "mtu", 1400)
    narrow = reached(three[0])
    assert (narrow.whole, narrow.mtu) == (False, 1400)
    assert narrow.rtt_s is not None


def test_a_machines_first_address_is_the_one_towards_the_outside(three: list[str]) -> None:
    def told() -> list[str]:
        def look() -> list[str]:
            namespaces.enter(three[0])
            return [fact.address for fact in addresses()]

        return namespaces.in_own_thread(look)

    ip("-n", three[0], "link", "add", "docker0", "type", "veth", "peer", "name", "other")
    ip("-n", three[0], "address", "add", "10.79.0.2/24", "dev", "docker0")
    ip("-n", three[0], "link", "set", "docker0", "up")
    assert told() == [A, "10.79.0.2"]
    way = (
        "-n",
        three[0],
        "route",
        "add",
        "default",
        "via",
        "10.79.0.1",
        "dev",
        "docker0",
        "metric",
    )
    ip(*way, 9000)  # eth0's counts: without a metric it is better
    assert told() == [A, "10.79.0.2"]
    ip("-n", three[0], "route", "del", "default", "dev", "eth0")
    assert told() == ["10.79.0.2", A]
