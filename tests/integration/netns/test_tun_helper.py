"""The helper of the link driver `tun`: killed, alone, at its end, fed with garbage."""

from __future__ import annotations

import os
import random
import resource
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import netns
from helpers.link_bench import (
    Bench,
    Link,
    handled,
    in_netns,
    kill,
    make_pair,
    numbers,
    open_descriptors,
    tcp_copy,
    wait_until,
)

from net.links.spec import LinkSpec
from otter_agent import beside
from otter_agent.links import talk
from otter_agent.links.base import Direction
from otter_agent.links.planner import Later, Part
from otter_agent.links.tun import device, protocol, pulse
from otter_agent.links.tun.driver import TunDriver
from otter_agent.network import namespaces

pytestmark = [pytest.mark.timed, pytest.mark.netns]

Made = Callable[[], TunDriver]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "links"


@pytest.fixture
def another(require, folder: Path) -> Iterator[Made]:
    """Makes drivers over one folder, as agents one after the other."""
    require("netns", not netns.unavailable(), netns.unavailable())
    made: list[TunDriver] = []

    def make(idle_s: float = 60.0, *, stays: bool = False) -> TunDriver:
        made.append(TunDriver(folder, idle_s=idle_s, stays=stays))
        return made[-1]

    yield make
    for driver in made:
        driver.end()


@pytest.fixture
def bench(another: Made) -> Iterator[Bench]:
    with Bench(another()) as made:
        yield made


def test_what_came_at_its_time_is_told_to_the_next_helper(bench: Bench):
    link = bench.make_link()
    driver, spec = bench.driver, LinkSpec(delay_s=0.1)
    later = Later(1, time.monotonic(), spec)
    driver.planner().play("mesh", {link.there: Part(LinkSpec(), (later,))})
    wait_until(lambda: driver.planner().play("mesh", {})[1])
    before = kill(driver)
    wait_until(lambda: driver.pid not in (0, before))
    wait_until(driver.lost)
    assert bench.read(link.there) == spec


def test_a_helper_that_is_killed_is_replaced_and_links_are_shaped_as_before(bench: Bench):
    shaped, plain = bench.make_link(), bench.make_link()
    bench.apply(shaped.there, LinkSpec(delay_s=0.2))
    bench.apply(shaped.back, LinkSpec(loss_ratio=1.0))
    before = kill(bench.driver)
    wait_until(lambda: bench.driver.pid not in (0, before))
    wait_until(lambda: bench.driver.lost())
    assert bench.read(shaped.there) == LinkSpec(delay_s=0.2)
    assert bench.read(shaped.back) == LinkSpec(loss_ratio=1.0)
    arrivals = bench.exchange(shaped, shaped.there, 10)
    assert numbers(arrivals) == list(range(10))
    assert min(arrival.delay_s for arrival in arrivals) >= 0.2
    assert bench.exchange(shaped, shaped.back, 10) == []
    assert numbers(bench.exchange(plain, plain.there, 10)) == list(range(10))


def test_while_no_helper_is_there_nothing_passes(bench: Bench, another: Made):
    link = bench.make_link()
    bench.driver.end()
    sender, receiver, address = link.ends(link.there)
    for _ in range(10):
        sender.sendto(b"x", (address, 4000))
    bench.driver = another()
    bench.apply(link.there, LinkSpec(delay_s=0.001))
    assert numbers(bench.exchange(link, link.there, 5)) == list(range(5))
    with pytest.raises(BlockingIOError):
        receiver.recv(100)


def test_how_long_links_were_without_a_helper_is_told_once(bench: Bench):
    link = bench.make_link()
    bench.apply(link.there, LinkSpec(delay_s=0.001))
    assert bench.driver.lost() == {}
    kill(bench.driver)
    lost: dict[str, float] = {}
    wait_until(lambda: lost.update(bench.driver.lost()) or lost)
    assert set(lost) == {"mesh"}
    assert lost["mesh"] > 0
    assert bench.driver.lost() == {}


def test_the_helper_goes_on_without_its_agent_and_the_next_one_finds_it(
    bench: Bench, another: Made
):
    link = bench.make_link()
    bench.apply(link.there, LinkSpec(delay_s=0.1))
    pid = bench.driver.pid
    bench.driver.close()
    bench.driver = another()
    assert bench.read(link.there) == LinkSpec(delay_s=0.1)
    assert bench.driver.pid == pid
    arrivals = bench.exchange(link, link.there, 10)
    assert min(arrival.delay_s for arrival in arrivals) >= 0.1
    # It has learnt what the other had asked: a new helper is told so.
    kill(bench.driver)
    wait_until(lambda: bench.driver.lost())
    assert bench.read(link.there) == LinkSpec(delay_s=0.1)


def test_a_change_right_after_the_helpers_death_is_had(bench: Bench):
    links = [bench.make_link() for _ in range(3)]
    for link in links:
        bench.apply(link.there, LinkSpec(delay_s=0.1))
    for step in range(3):
        kill(bench.driver)
        bench.apply(links[0].there, LinkSpec(delay_s=0.2 + step))
        wait_until(lambda: bench.read(links[2].there) == LinkSpec(delay_s=0.1))
        assert bench.read(links[0].there) == LinkSpec(delay_s=0.2 + step)
        assert bench.read(links[1].there) == LinkSpec(delay_s=0.1)


def test_a_helper_without_links_ends(another: Made, folder: Path):
    with Bench(another(idle_s=0.1)) as bench:
        bench.make_link()
        pid = bench.driver.pid
        watched = os.pidfd_open(pid)
        bench.driver.forget("mesh")
        assert beside.ended(watched, 20)
        os.close(watched)
        assert not (folder / "links.s").exists()
        assert (folder / "links.log").read_text() == ""  # though its agent hadn't hung up
        link = bench.make_link()  # another is started when it is needed
        assert bench.driver.pid not in (0, pid)
        assert numbers(bench.exchange(link, link.there, 5)) == list(range(5))


def test_one_that_stays_is_there_before_any_link_and_as_long_as_its_agent(
    another: Made, folder: Path
):
    driver = another(idle_s=0.1, stays=True)
    driver.stand_by()
    pid = driver.pid
    heart = pulse.Watched(folder / "links.s", pid)
    watched = os.pidfd_open(pid)
    with Bench(driver) as bench:
        bench.make_link()
        assert driver.pid == pid
        driver.forget("mesh")
        forgotten_s = time.monotonic()
        # It looks once a second whether it is of any use.
        wait_until(lambda: heart.last_s > forgotten_s + 2.5)
        assert driver.pid == pid
        driver.close()
        assert beside.ended(watched, 20)
        bench.driver = another()
    heart.close()
    os.close(watched)
    assert not (folder / "links.s").exists()


def test_who_stands_by_takes_over_what_carries_links_and_replaces_what_carries_none(
    another: Made,
):
    """It may be an earlier version's: an upgrade is quicker than its end."""
    first = another(idle_s=60.0, stays=True)
    first.stand_by()
    before = first.pid
    first.close()
    second = another(stays=True)
    second.stand_by()
    assert second.pid not in (0, before)
    with Bench(second) as bench:
        link = bench.make_link()
        bench.apply(link.there, LinkSpec(delay_s=0.1))
        second.close()
        bench.driver = third = another(stays=True)
        third.stand_by()
        assert bench.read(link.there) == LinkSpec(delay_s=0.1)
        carrying = third.pid
        third.stand_by()
        assert third.pid == carrying
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_a_signal_ends_the_helper_in_order(another: Made, folder: Path, number: int):
    driver = another()
    with Bench(driver) as bench:
        bench.make_link()
        watched = os.pidfd_open(driver.pid)
        driver.close()
        signal.pidfd_send_signal(watched, number)
        assert beside.ended(watched, 10)
        os.close(watched)
        bench.driver = another()
    assert (folder / "links.log").read_text() == ""


def test_forgetting_lets_go_of_devices_and_so_of_namespaces(bench: Bench):
    bench.make_link(mesh="other")
    few = open_descriptors(bench.driver.pid)
    ours = open_descriptors()
    link = bench.make_link()
    assert open_descriptors(bench.driver.pid) == few + 2
    bench.driver.forget("mesh")
    assert open_descriptors(bench.driver.pid) == few
    link.close()
    assert open_descriptors() == ours


def test_a_device_that_was_taken_away_and_made_again_is_carried_again(bench: Bench):
    link = bench.make_link()
    bench.apply(link.there, LinkSpec(delay_s=0.01))
    there = link.there
    for name in (there.source_netns, there.target_netns):
        netns.ip("link", "del", there.device, netns=name)
    wait_until(lambda: bench.read(there) == LinkSpec())
    make_pair("tun", there.source_netns, there.target_netns, there.device, (link.a, link.b))
    bench.apply(there, LinkSpec(delay_s=0.02))
    assert bench.read(there) == LinkSpec(delay_s=0.02)
    assert numbers(bench.exchange(link, there, 5)) == list(range(5))


def test_a_namespace_of_the_same_name_is_another_one(bench: Bench):
    link = bench.make_link()
    there = link.there
    bench.apply(there, LinkSpec(delay_s=0.01))
    link.close()
    for name in (there.source_netns, there.target_netns):
        namespaces.drop(name)
        namespaces.in_own_thread(lambda name=name: namespaces.create_router(name))
    make_pair("tun", there.source_netns, there.target_netns, there.device, (link.a, link.b))
    assert bench.read(there) == LinkSpec()
    bench.apply(there, LinkSpec(delay_s=0.02))
    again = Link(there, int(there.device[1:]))
    link.at_a, link.at_b = again.at_a, again.at_b
    assert numbers(bench.exchange(link, there, 5)) == list(range(5))


def raw_socket(name: str, interface: str) -> socket.socket:
    """Sends bytes out of a device as they are, whatever they are."""
    made: list[socket.socket] = []
    in_netns(name, lambda: made.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0008)))
    in_netns(name, lambda: made[0].bind((interface, 0x0800)))
    return made[0]


@pytest.mark.parametrize(
    "spec",
    [
        LinkSpec(),
        LinkSpec(rate_bps=1e8, queue_discipline="red", ecn=True, queue_packets=1000),
        LinkSpec(corrupt_ratio=1.0, delay_s=0.001, jitter_s=0.001),
        LinkSpec(slot_s=(0.001, 0.002), slot_bytes=100, duplicate_ratio=1.0),
    ],
)
def test_garbage_harms_nobody(bench: Bench, spec: LinkSpec):
    link = bench.make_link()
    bench.apply(link.there, spec)
    pid = bench.driver.pid
    with raw_socket(link.there.source_netns, link.there.device) as raw:
        for garbage in (b"\0", b"\x45", b"\x60" + bytes(39), b"\xff" * 1400, bytes(20), b"E" * 19):
            for _ in range(20):
                raw.send(garbage)
    bench.apply(link.there, LinkSpec(delay_s=0.001))
    wait_until(lambda: bench.counters(link.there).waiting_packets == 0)
    assert numbers(bench.exchange(link, link.there, 50)) == list(range(50))
    assert bench.driver.pid == pid


def test_packets_for_a_device_that_is_down_are_counted_as_lost(bench: Bench):
    link = bench.make_link()
    bench.apply(link.there, LinkSpec())
    netns.ip("link", "set", link.there.device, "down", netns=link.there.target_netns)
    assert bench.exchange(link, link.there, 20) == []
    assert bench.counters(link.there).dropped == {"other": 20}
    assert bench.counters(link.there).packets == 0


HOMELESS = talk.pack(
    protocol.Request(
        kind="set",
        attach=(
            protocol.Attach(
                device="l0",
                ends=(
                    protocol.End(netns="a", inode=1, offload=False),
                    protocol.End(netns="b", inode=2, offload=False),
                ),
            ),
        ),
    )
)
"""A link without its devices."""


@pytest.mark.parametrize(
    "data", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\2\0\0\0{}", b"\5\0\0\0hello", HOMELESS]
)
def test_nonsense_at_the_socket_is_answered_or_hung_up_on(bench: Bench, folder: Path, data: bytes):
    link = bench.make_link()
    pid = bench.driver.pid
    connection = beside.connected(folder / "links.s")
    assert connection is not None
    with connection:
        connection.settimeout(10)
        reader, writer = os.pipe()
        socket.send_fds(connection, [data], [reader])
        os.close(reader)
        assert b"problem" in (answer := connection.recv(4096)) or answer == b""
        # It has let go of what it couldn't use: nobody reads that pipe.
        poll = select.poll()
        poll.register(writer, select.POLLERR)
        wait_until(lambda: poll.poll(0))
        os.close(writer)
    assert bench.driver.pid == pid
    assert numbers(bench.exchange(link, link.there, 5)) == list(range(5))


def test_the_helper_runs_before_others_and_keeps_its_memory(bench: Bench):
    bench.make_link()
    status = Path(f"/proc/{bench.driver.pid}/status").read_text()
    locked = next(line.split()[1] for line in status.splitlines() if line.startswith("VmLck"))
    assert int(locked) > 0
    if resource.getrlimit(resource.RLIMIT_RTPRIO)[1] or os.geteuid() == 0:
        policy = os.sched_getscheduler(bench.driver.pid) & ~os.SCHED_RESET_ON_FORK
        assert policy in (os.SCHED_FIFO, os.SCHED_OTHER)  # the latter while it is very busy


def test_a_helper_that_hangs_is_killed_and_replaced(another: Made, folder: Path):
    driver = TunDriver(folder, answer_s=1.0)
    try:
        with Bench(driver) as bench:
            link, other = bench.make_link(), bench.make_link()
            bench.apply(other.there, LinkSpec(delay_s=0.2))
            watched = os.pidfd_open(pid := driver.pid)
            os.kill(pid, signal.SIGSTOP)
            bench.apply(link.there, LinkSpec(delay_s=0.1))
            assert beside.ended(watched, 0)
            os.close(watched)
            lost: dict[str, float] = {}
            wait_until(lambda: lost.update(driver.lost()) or lost)
            assert all(gap_s >= 1.0 for gap_s in lost.values())  # it hung, before it was ended
            wait_until(lambda: bench.read(other.there) == LinkSpec(delay_s=0.2))
            assert numbers(bench.exchange(link, link.there, 5)) == list(range(5))
    finally:
        driver.end()


def test_one_that_hangs_is_noticed_though_nobody_asks_it_anything(bench: Bench):
    link = bench.make_link()
    bench.apply(link.there, LinkSpec(delay_s=0.2))
    watched = os.pidfd_open(pid := bench.driver.pid)
    os.kill(pid, signal.SIGSTOP)
    assert beside.ended(watched, 10)  # about 2 s
    os.close(watched)
    lost: dict[str, float] = {}
    wait_until(lambda: lost.update(bench.driver.lost()) or lost)
    assert lost["mesh"] >= pulse.HANGS_S  # since it beat last, not since it was killed
    assert bench.read(link.there) == LinkSpec(delay_s=0.2)
    arrivals = bench.exchange(link, link.there, 5)
    assert numbers(arrivals) == list(range(5))
    assert min(arrival.delay_s for arrival in arrivals) >= 0.2


@pytest.mark.parametrize("answer", [b'{"pid": 1, "version": 9}', b'{"pid": 1, "problem": "what?"}'])
def test_a_helper_of_another_version_is_replaced(another: Made, folder: Path, answer: bytes):
    folder.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with beside.short(folder / "links.s") as name:
            listener.bind(name)
        listener.listen()

        def serve() -> None:
            asked = b""
            while b'"end"' not in asked:
                connection, _ = listener.accept()
                with connection:
                    asked = connection.recv(4096)
                    connection.send(talk.LENGTH.pack(len(answer)) + answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with Bench(another()) as bench:
            link = bench.make_link()
            thread.join()
            assert numbers(bench.exchange(link, link.there, 5)) == list(range(5))


def test_what_a_stopped_helper_cannot_take_is_told_as_overrun(bench: Bench):
    """Its device holds some; the rest is lost, and said to be."""
    link = bench.make_link()
    bench.apply(link.there, LinkSpec(delay_s=0.001))
    sender, _, address = link.ends(link.there)
    count = device.WAITING_PACKETS + 500
    os.kill(bench.driver.pid, signal.SIGSTOP)
    try:
        for _ in range(count):
            sender.sendto(b"x", (address, 4000))
    finally:
        os.kill(bench.driver.pid, signal.SIGCONT)
    wait_until(lambda: handled(bench.counters(link.there)) == count)
    counted = bench.counters(link.there)
    assert set(counted.dropped) == {"overrun"}
    assert 0 < counted.dropped["overrun"] <= 500


def test_a_connection_survives_changes_between_whole_and_cut_packets(bench: Bench):
    """Packets of up to 64 KiB may be under way when something is asked of single packets."""
    link, chance = bench.make_link(), random.Random(1)
    specs = (LinkSpec(), LinkSpec(rate_bps=400e6, queue_packets=4000), LinkSpec(delay_s=0.001))
    copied: list[int] = []
    done = threading.Event()

    def copy() -> None:
        try:
            copied.append(tcp_copy(link, 100_000_000))
        finally:
            done.set()

    def change() -> None:
        while not done.is_set():
            bench.apply(link.there, chance.choice(specs))

    bench.at_once([copy, change])
    assert copied == [100_000_000]


def test_a_helper_that_cannot_be_started_is_an_error_of_each_link(tmp_path: Path, require):
    require("netns", not netns.unavailable(), netns.unavailable())
    (tmp_path / "file").touch()
    driver = TunDriver(tmp_path / "file" / "links")
    one = Direction("mesh", "radio", "a", "b", "no-netns-a", "no-netns-b", "radio")
    try:
        error = driver.apply({one: LinkSpec(delay_s=0.1)})[one].error
        assert error is not None
        assert "start the helper of links" in str(error)
        assert driver.read([one]) == {one: LinkSpec()}
        driver.forget("mesh")
    finally:
        driver.close()


@pytest.mark.slow
def test_a_thousand_links_are_carried(bench: Bench):
    """All between two namespaces: what is many is links, not namespaces."""
    link, count = bench.make_link(), 1000
    a, b = link.there.source_netns, link.there.target_netns

    def devices() -> None:
        for number in range(count):
            device.make(f"m{number}")

    for name in (a, b):
        in_netns(name, devices)
    many = [Direction("mesh", f"m{n}", "a", "b", a, b, f"m{n}") for n in range(count)]
    asked = {one: LinkSpec(delay_s=0.001 + 1e-6 * n) for n, one in enumerate(many)}
    outcomes = bench.driver.apply(asked)
    assert not [str(one.error) for one in outcomes.values() if one.error]
    assert bench.driver.read(many) == asked
    before = kill(bench.driver)
    wait_until(lambda: bench.driver.pid not in (0, before))
    wait_until(lambda: bench.driver.read(many) == asked)
    assert numbers(bench.exchange(link, link.there, 5)) == list(range(5))
