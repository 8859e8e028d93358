"""A netlink socket that says of each message what became of it, and hears of devices."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

import pytest
from helpers import netns

from otter_agent.errors import NetworkError
from otter_agent.links.netem import segments
from otter_agent.links.netem.sockets import Sockets
from otter_agent.network import messages, namespaces, operations
from otter_agent.network.netlink import Netlink, refused
from otter_agent.network.operations import AddPair, BringUp, DeleteDevice

_T = TypeVar("_T")


@pytest.fixture(autouse=True)
def _root(require) -> None:
    require("netns", not netns.unavailable(), netns.unavailable())


def in_new_netns(work: Callable[[int], _T]) -> _T:
    """`work` gets a descriptor of the namespace that it is in, which ends with it."""

    def run() -> _T:
        namespaces.unshare()
        return work(namespaces.open_own())

    return namespaces.in_own_thread(run)


def pair(name: str) -> AddPair:
    return AddPair(name, 0, b"\x02\0\0\0\0\1", "", f"{name}p", 0)


def test_each_has_its_answer_and_those_after_a_failure_are_carried_out() -> None:
    def work(own: int) -> None:
        requests = [
            messages.encode(pair("a"), own),
            messages.encode(DeleteDevice(99, "none")),
            messages.encode(BringUp(operations.LOOPBACK, "lo")),
        ]
        with Netlink() as netlink:
            answers = netlink.exchange(requests)
            assert [answer.code for answer in answers] == [0, errno.ENODEV, 0]
            assert netlink.index_of("a") > 1
            assert netlink.index_of("b") == 0
            error = refused(requests[1], answers[1], "mesh/radio:a>b", "netem")
            assert str(error) == (
                "mesh/radio:a>b: netem could not delete device none: No such device (ENODEV)"
            )
            assert netlink.exchange([]) == []

    in_new_netns(work)


def test_more_than_one_send_can_take() -> None:
    def work(own: int) -> None:
        with Netlink() as netlink:
            up = messages.encode(BringUp(operations.LOOPBACK, "lo"))
            answers = netlink.exchange([up] * 5000)
            assert len(answers) == 5000
            assert not any(answer.code for answer in answers)

    in_new_netns(work)


def test_devices_that_come_and_go_are_heard_of_once() -> None:
    def work(own: int) -> None:
        with Netlink() as netlink, Netlink() as events:
            events.subscribe(1)
            assert not events.pending()
            netlink.exchange([messages.encode(pair("a"), own)])
            assert events.pending()
            assert not events.pending()
            netlink.exchange([messages.encode(DeleteDevice(netlink.index_of("a"), "a"))])
            assert events.pending()

    in_new_netns(work)


def test_a_device_can_be_kept_from_super_packets_and_let_have_them() -> None:
    def work(own: int) -> list[int]:
        with Netlink() as netlink:
            netlink.exchange([messages.encode(pair("a"), own)])
            index = netlink.index_of("a")
            found = []
            for shaped in (True, True, False):
                (answer,) = netlink.exchange([segments.request(index, shaped=shaped)])
                found.append(answer.code)
            return found

    assert in_new_netns(work) == [0, 0, 0]


def test_sockets_are_bounded_and_told_of_namespaces_made_anew() -> None:
    moved: list[str] = []
    sockets = Sockets(moved.append, kept=1)
    with netns.network() as network:
        network.converge(netns.chain("mesh", 2))
        first, second = sorted(netns.names(network))
        sockets.look(first)
        sockets.look(first)
        assert moved == [first]
        with sockets.of(first) as netlink:
            assert netlink.index_of("l0")
            before = id(netlink)
        sockets.look(second)
        assert moved == [first, second]
        with sockets.of(first) as netlink:
            assert id(netlink) != before
        sockets.look(first)
        assert moved == [first, second, first]
        sockets.close()
        network.remove("mesh")
        network.converge(netns.chain("mesh", 2))
        sockets.look(first)
        assert moved == [first, second, first, first]
        sockets.close()
    with pytest.raises(NetworkError, match="ENOENT"), sockets.of(first):
        pass
    sockets.look(first)
    assert moved[-1] == first
