"""What the helper does with changes that are to come, before any of it is the kernel's."""

from __future__ import annotations

import errno
import math
import struct
import time
from collections.abc import Iterable

import pytest

from net.links.spec import LinkSpec
from otter_agent.links.base import Direction
from otter_agent.links.netem import place as places
from otter_agent.links.netem import tc, tree
from otter_agent.links.netem.options import Netem
from otter_agent.links.netem.playing import letters
from otter_agent.links.netem.playing.agenda import Agenda, Place
from otter_agent.links.netem.playing.protocol import Lent
from otter_agent.network.messages import attributes
from otter_agent.network.netlink import Answer

ONE = Direction("mesh", "one", "a", "b", "na", "nb", "l1")
TWO = Direction("mesh", "two", "a", "c", "na", "nc", "l2")
LATE_NS = 1_000_000
START = LinkSpec(delay_s=0.01, rate_bps=1e6)


class Kernel:
    """Takes what is sent; says what it is told to."""

    def __init__(self) -> None:
        self.places: set[Place] = set()
        self.sent: list[tuple[str, bytes]] = []
        self.refuses: dict[str, int] = {}
        self.says: list[tuple[int, Answer]] = []

    def open(self, places: Iterable[Place]) -> dict[Place, str]:
        self.places.update(places)
        return {}

    def send(self, place: Place, data: bytes) -> None:
        assert place in self.places
        self.sent.append((place[0], data))
        if code := self.refuses.get(place[0], 0):
            (number,) = struct.unpack_from("=8xI", data)
            self.says.append((number, Answer(code, "no", None)))

    def keep(self, places: set[Place]) -> None:
        self.places &= places

    def delays(self, netns: str) -> list[float]:
        """That it was told of there, in order."""
        found = []
        for place, data in self.sent:
            while data and place == netns:
                (length,) = struct.unpack_from("=I", data)
                if tc.handle_of(data[16:length]) == places.FLIGHT:
                    options = dict(attributes(data[16:length], 20))[2]
                    found.append(Netem.decode(options).latency_ns / 1e9)
                data = data[length + 3 & ~3 :]
        return found


def go(agenda: Agenda, kernel: Kernel, now: float) -> None:
    """A turn of the helper's loop."""
    agenda.go(now)
    agenda.hear(kernel.says)
    kernel.says.clear()
    agenda.note()


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def agenda(kernel: Kernel) -> Agenda:
    made = Agenda(kernel)
    made.lend([lent(ONE), lent(TWO)])
    return made


def lent(direction: Direction) -> Lent:
    have = letters.told(tree.wanted(START, late_ns=LATE_NS))
    return Lent(
        direction=direction, inodes=(1, 2), devices=(4, 7, 8), ready=True, late_ns=LATE_NS,
        have=have,
    )  # fmt: skip


def test_what_is_due_is_sent_in_time_order_and_nothing_before_its_time(agenda, kernel):
    now = time.monotonic()
    agenda.add(ONE, 1, now + 0.1, LinkSpec(delay_s=0.1, rate_bps=1e6))
    agenda.add(TWO, 2, now + 0.2, LinkSpec(delay_s=0.2, rate_bps=1e6))
    agenda.write(5000)
    assert not agenda.unwritten
    assert agenda.next_s == now + 0.1
    go(agenda, kernel, now)
    assert kernel.sent == []
    go(agenda, kernel, now + 0.1)
    assert (kernel.delays("nb"), kernel.delays("nc")) == ([0.1], [])
    go(agenda, kernel, now + 0.3)
    assert kernel.delays("nc") == [0.2]
    assert [(one.number, one.code) for one in agenda.came("mesh")] == [(1, 0), (2, 0)]
    assert agenda.came("mesh") == []
    assert agenda.next_s == math.inf


def test_of_several_that_are_due_all_are_sent_and_the_last_is_told(agenda, kernel):
    now = time.monotonic()
    agenda.add(ONE, 1, now, LinkSpec(delay_s=0.1, rate_bps=1e6))
    agenda.add(ONE, 2, now, LinkSpec(delay_s=0.1, rate_bps=2e6))
    agenda.add(ONE, 3, now + 0.001, LinkSpec(delay_s=0.3, rate_bps=2e6))
    go(agenda, kernel, now + 1)
    assert kernel.delays("nb") == [0.1, 0.3]
    assert len(kernel.sent) == 2  # one message to each namespace
    assert [one.number for one in agenda.came("mesh")] == [3]


def test_what_was_dropped_never_comes(agenda, kernel):
    now = time.monotonic()
    for number in range(1000):
        agenda.add(ONE, number, now + 0.1, LinkSpec(delay_s=0.1, rate_bps=1e6))
    agenda.add(TWO, 1000, now + 0.2, LinkSpec(delay_s=0.2, rate_bps=1e6))
    agenda.drop([ONE])
    assert agenda.next_s == now + 0.2
    agenda.write(5000)
    assert not agenda.unwritten
    go(agenda, kernel, now + 1)
    assert kernel.delays("nb") == []
    assert [one.number for one in agenda.came("mesh")] == [1000]


def test_namespaces_that_nobody_needs_are_let_go_of(agenda, kernel):
    assert {name for name, _ in kernel.places} == {"na", "nb", "nc"}
    agenda.drop([ONE])
    assert {name for name, _ in kernel.places} == {"na", "nc"}
    agenda.drop_all("mesh")
    assert kernel.places == set()
    assert not agenda


def test_what_the_kernel_refuses_is_told_and_the_rest_of_that_direction_waits(agenda, kernel):
    kernel.refuses["nb"] = errno.ENODEV
    now = time.monotonic()
    agenda.add(ONE, 1, now, LinkSpec(delay_s=0.1, rate_bps=1e6))
    agenda.add(TWO, 2, now, LinkSpec(delay_s=0.2, rate_bps=1e6))
    agenda.add(ONE, 3, now + 0.5, LinkSpec(delay_s=0.3, rate_bps=1e6))
    go(agenda, kernel, now)
    assert {one.number: one.code for one in agenda.came("mesh")} == {1: errno.ENODEV, 2: 0}
    go(agenda, kernel, now + 1)
    assert agenda.came("mesh") == []
    agenda.add(ONE, 4, now + 2, LinkSpec(delay_s=0.3, rate_bps=1e6))
    (told,) = agenda.came("mesh")
    assert (told.number, told.why) == (4, "it isn't known there any more")


def test_what_was_sent_is_told_once_nobody_can_complain_any_more(agenda, kernel):
    now = time.monotonic()
    agenda.add(ONE, 1, now, LinkSpec(delay_s=0.1, rate_bps=1e6))
    agenda.go(now)
    assert agenda.came("mesh") == []  # the kernel may have refused it
    agenda.note()
    assert [one.number for one in agenda.came("mesh")] == [1]


def test_letters_are_written_a_few_at_a_time_and_at_last_when_they_are_due(agenda, kernel):
    now = time.monotonic()
    for number in range(5):
        at_s = now + number * 0.1
        agenda.add(ONE, number, at_s, LinkSpec(delay_s=0.1 + number / 100, rate_bps=1e6))
    agenda.write(2)
    assert agenda.unwritten
    go(agenda, kernel, now + 1)
    assert kernel.delays("nb") == [0.1, 0.11, 0.12, 0.13, 0.14]
    agenda.write(1)
    assert not agenda.unwritten


def test_more_than_a_socket_takes_is_sent_in_parts(agenda, kernel):
    now = time.monotonic()
    for number in range(500):
        agenda.add(ONE, number, now, LinkSpec(delay_s=0.1 + number / 1000, rate_bps=1e6))
    go(agenda, kernel, now + 1)
    assert len(kernel.delays("nb")) == 500
    assert max(len(data) for _, data in kernel.sent) <= 60_000 < sum(len(d) for _, d in kernel.sent)
