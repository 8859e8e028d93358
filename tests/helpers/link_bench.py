"""Two namespaces and a link between them, for the contract of link drivers and for benchmarks.

A `Bench` makes links of the kind of device that its driver needs and takes them all away again.
Traffic is UDP from plain sockets inside the namespaces, each packet with its number and the time
of its sending.
"""

from __future__ import annotations

import math
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Self

from net.links.spec import LinkSpec
from otter_agent import beside
from otter_agent.links.base import Counters, Direction, LinkDriver
from otter_agent.links.tun import device
from otter_agent.links.tun.driver import TunDriver
from otter_agent.network import namespaces

HEADERS = 28
"""Bytes of IP and UDP headers."""
DEADLINE_S = 30.0
_PORT = 4000
_STAMP = struct.Struct("=Id")
_MAC = "02:00:00:00:00:01"
_END = 0xFFFFFFFF


@dataclass(frozen=True)
class Arrival:
    """A packet that arrived.

    Attributes:
        number: Which one it was, from 0.
        sent_s: Just before it was sent.
        seen_s: Just after it was received: later than it arrived, never earlier.
    """

    number: int
    sent_s: float
    seen_s: float

    @property
    def delay_s(self) -> float:
        return self.seen_s - self.sent_s


class Link:
    """A link, and a socket at either end."""

    def __init__(self, there: Direction, number: int) -> None:
        self.there = there
        self.back = replace(
            there, source=there.target, target=there.source,
            source_netns=there.target_netns, target_netns=there.source_netns,
        )  # fmt: skip
        self.a, self.b = addresses(number)
        self.at_a = socket_in(there.source_netns, self.a)
        self.at_b = socket_in(there.target_netns, self.b)

    def close(self) -> None:
        self.at_a.close()
        self.at_b.close()

    def ends(self, direction: Direction) -> tuple[socket.socket, socket.socket, str]:
        """Sender, receiver and the latter's address."""
        if direction == self.there:
            return self.at_a, self.at_b, self.b
        return self.at_b, self.at_a, self.a


class Bench:
    """Links for one driver; use it with `with`."""

    def __init__(self, driver: LinkDriver) -> None:
        self.driver = driver
        self._links: list[Link] = []
        self._id = f"t{secrets.token_hex(4)}"
        self._count = 0

    def __enter__(self) -> Self:
        namespaces.prepare_directory()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for mesh in {link.there.mesh for link in self._links}:
            self.driver.forget(mesh)
        for link in [*self._links]:
            self.remove(link)

    # --- links ------------------------------------------------------------------------------------

    def make_link(self, mesh: str = "mesh", hub: Link | None = None) -> Link:
        """Two namespaces, a link, addresses, both ends up.

        Args:
            mesh: Of which mesh.
            hub: One whose target is its target: they may share a medium there.
        """
        self._count += 1
        name = f"l{self._count}"
        a, b = (f"{self._id}{end}{self._count}" for end in "ab")
        if hub is not None:
            b = hub.there.target_netns
        for netns in (a,) if hub is not None else (a, b):
            namespaces.in_own_thread(partial(namespaces.create_router, netns))
        make_pair(self.driver.device_kind, a, b, name, addresses(self._count))
        link = Link(Direction(mesh, name, "a", "b", a, b, name, hub_netns=b), self._count)
        self._links.append(link)
        # What a new link is told first, whatever its properties.
        for outcome in self.driver.apply({link.there: LinkSpec(), link.back: LinkSpec()}).values():
            assert outcome.error is None, outcome.error
        return link

    def remove(self, link: Link) -> None:
        """Take a link away, with its namespaces."""
        if link in self._links:
            self._links.remove(link)
            link.close()
            others = {one.there.target_netns for one in self._links}
            for netns in {link.there.source_netns, link.there.target_netns} - others:
                namespaces.drop(netns)

    def apply(self, direction: Direction, spec: LinkSpec) -> None:
        """Ask for properties, which must be had."""
        outcome = self.driver.apply({direction: spec})[direction]
        assert outcome.error is None, outcome.error

    def read(self, direction: Direction) -> LinkSpec:
        """What is in force."""
        return self.driver.read([direction])[direction]

    def counters(self, direction: Direction) -> Counters:
        """What the driver counted."""
        return self.driver.counters([direction])[direction]

    def at_once(self, works: Iterable[Callable[[], None]]) -> None:
        """Run in threads; raises what one of them raised."""
        failures: list[BaseException] = []

        def guarded(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException as exc:  # noqa: BLE001 - raised below
                failures.append(exc)

        threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    # --- traffic ----------------------------------------------------------------------------------

    def exchange(
        self, link: Link, direction: Direction, count: int, *, size: int = 128, gap_s: float = 0.0,
        burst: int = 500, between: Callable[[int], None] | None = None,
    ) -> list[Arrival]:  # fmt: skip
        """Send packets of `size` bytes (IP); return those that arrived, in the order they did.

        After each burst it waits until the driver has dealt with all, so that none is lost in
        other queues than the link's.

        Args:
            link: Which.
            direction: Of the link.
            count: How many.
            size: IP bytes of each.
            gap_s: At least so much between two.
            burst: So many are sent without waiting for anything.
            between: Called before each with its number.
        """
        sender, receiver, address = link.ends(direction)
        filling = bytes(size - HEADERS - _STAMP.size)
        arrivals: list[Arrival] = []
        before = handled(self.counters(direction))
        ready = time.monotonic()
        for number in range(count):
            if between is not None:
                between(number)
            while gap_s and (left := ready - time.monotonic()) > 0:
                _drain(receiver, arrivals, left)
            sent = time.monotonic()
            ready = sent + gap_s
            sender.sendto(_STAMP.pack(number, sent) + filling, (address, _PORT))
            if (number + 1) % burst == 0:
                self.settle(
                    direction, before + number + 1, lambda: _drain(receiver, arrivals, 0.001)
                )
        self.settle(direction, before + count, lambda: _drain(receiver, arrivals, 0.001))
        while _drain(receiver, arrivals, 0.0):
            pass
        return arrivals

    def send(self, link: Link, direction: Direction, count: int, *, size: int) -> None:
        """Send packets, as fast as they can be, and wait for nothing."""
        sender, _, address = link.ends(direction)
        filling = bytes(size - HEADERS - _STAMP.size)
        for number in range(count):
            sender.sendto(_STAMP.pack(number, time.monotonic()) + filling, (address, _PORT))

    def settle(self, direction: Direction, offered: int, meanwhile: Callable[[], object]) -> None:
        """Wait until the driver has dealt with all that was offered and nothing is under way."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            meanwhile()
            found = self.counters(direction)
            if found.waiting_packets == 0 and handled(found) >= offered:
                return
            assert time.monotonic() < deadline, (offered, found)


def handled(counters: Counters) -> int:
    """How many packets a direction has been offered, of which it has dealt with."""
    return counters.packets + sum(counters.dropped.values()) - counters.duplicated


def take(link: Link, direction: Direction, arrivals: list[Arrival]) -> None:
    """Add what has come by now."""
    while _drain(link.ends(direction)[1], arrivals, 0.0):
        pass


def _drain(receiver: socket.socket, arrivals: list[Arrival], within_s: float) -> bool:
    """Take what has come; waits for the first."""
    poll = select.poll()
    poll.register(receiver, select.POLLIN)
    if not poll.poll(within_s * 1000):
        return False
    while True:
        try:
            data = receiver.recv(65536)
        except BlockingIOError:
            return True
        seen = time.monotonic()
        number, sent = _STAMP.unpack_from(data)
        arrivals.append(Arrival(number, sent, seen))


def addresses(number: int) -> tuple[str, str]:
    """Of a link's two ends."""
    return f"10.99.{number % 250}.1", f"10.99.{number % 250}.2"


def make_pair(kind: str, a: str, b: str, name: str, ends: tuple[str, str] = addresses(0)) -> None:
    """The devices of a link at both ends, with addresses, up; no ARP, no offloads."""
    if kind == "tun":
        for netns in (a, b):
            in_netns(netns, lambda: device.make(name))
    else:
        _run("ip", "-n", a, "link", "add", name, "address", _MAC, "type", "veth",
             "peer", "name", name, "address", _MAC, "netns", b)  # fmt: skip
        for netns in (a, b):
            _run("ip", "-n", netns, "link", "set", name, "arp", "off")
    for netns, own, peer in ((a, *ends), (b, *reversed(ends))):
        _run("ip", "-n", netns, "address", "add", own, "peer", peer, "dev", name)
        _run("ip", "-n", netns, "link", "set", name, "up")


def in_netns(name: str, work: Callable[[], object]) -> None:
    """Do something inside a namespace."""

    def inside() -> None:
        namespaces.enter(name)
        work()

    namespaces.in_own_thread(inside)


def socket_in(netns: str, address: str) -> socket.socket:
    """A UDP socket inside a namespace, not blocking, with room for all that tests send."""
    made: list[socket.socket] = []

    def make() -> None:
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))

    in_netns(netns, make)
    made[0].setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    made[0].setsockopt(socket.SOL_SOCKET, 32, 8 << 20)  # SO_SNDBUFFORCE
    made[0].bind((address, _PORT))
    return made[0]


def kill(driver: TunDriver) -> int:
    """Kill the helper; returns when it is gone, with what its pid was."""
    pid = driver.pid
    watched = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        assert beside.ended(watched, 10)
    finally:
        os.close(watched)
    return pid


def tcp_copy(
    link: Link,
    count: int,
    came: Callable[[int], object] = lambda got: None,
    congestion: str | None = None,
) -> int:
    """Send bytes over one TCP connection from a to b; how many arrived.

    Args:
        link: Which.
        count: Of bytes.
        came: Told how many have, whenever some do.
        congestion: Who controls it (tcp(7), TCP_CONGESTION); None: the kernel's usual.
    """
    sockets = {end: _tcp(netns) for end, netns in _ends(link)}
    listener, sender = sockets["b"], sockets["a"]
    if congestion is not None:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    with listener, sender:
        listener.bind((link.b, _PORT))
        listener.listen(1)
        sender.bind((link.a, 0))
        sender.connect((link.b, _PORT))
        receiver, _ = listener.accept()
        thread = threading.Thread(target=_send_all, args=(sender, count))
        thread.start()
        with receiver:
            receiver.settimeout(DEADLINE_S)
            got = 0
            while data := receiver.recv(1 << 16):
                got += len(data)
                came(got)
        thread.join()
        return got


def _send_all(sender: socket.socket, count: int) -> None:
    data = memoryview(bytes(min(count, 1 << 20)))  # a guest bears no 256 MiB in one process
    while count:
        count -= sender.send(data[:count])  # the deadline is of each, not of all
    sender.shutdown(socket.SHUT_WR)


def _ends(link: Link) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("a", link.there.source_netns), ("b", link.there.target_netns)


def _tcp(netns: str) -> socket.socket:
    made: list[socket.socket] = []
    in_netns(netns, lambda: made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM)))
    made[0].settimeout(DEADLINE_S)
    return made[0]


def _run(*argv: str) -> None:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        argv, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (argv, done.stderr)


def wait_until(true: Callable[[], object]) -> None:
    """Wait for something, with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, "it never came"
        select.select([], [], [], 0.002)


def orders(found: Sequence[int]) -> int:
    """Into how few ascending sequences it can be split."""
    last: list[int] = []
    for number in found:
        fitting = [at for at, before in enumerate(last) if before < number]
        if fitting:
            last[max(fitting, key=last.__getitem__)] = number
        else:
            last.append(number)
    return len(last)


def within_binomial(hits: int, count: int, ratio: float) -> bool:
    """Whether a share is what chance gives: within five standard deviations."""
    return abs(hits - count * ratio) <= 5 * math.sqrt(count * ratio * (1 - ratio))


def open_descriptors(pid: int | None = None) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid or os.getpid()}/fd"))


def numbers(arrivals: Sequence[Arrival]) -> list[int]:
    """Which packets arrived, in the order they did."""
    return [arrival.number for arrival in arrivals]
