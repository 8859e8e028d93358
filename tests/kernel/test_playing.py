"""The process that makes changes of kernel links at their time: killed, hung, succeeded, ended."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.link_bench import Bench, Link, open_descriptors, wait_until

from net.links.spec import LinkSpec
from otter_agent import beside
from otter_agent.links.base import Direction
from otter_agent.links.netem import NetemDriver
from otter_agent.links.netem.place import detour_device
from otter_agent.links.planner import Later, Part, Played
from otter_agent.network import namespaces

NUMBERS = itertools.count(1)
SLOW = LinkSpec(delay_s=0.01, rate_bps=1e6)
MEMBER = replace(SLOW, medium="cell", medium_weight=2.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "links"


@pytest.fixture
def bench(folder: Path) -> Iterator[Bench]:
    driver = NetemDriver(folder)
    with Bench(driver) as made:
        yield made
    driver.end()


def driver(bench: Bench) -> NetemDriver:
    assert isinstance(bench.driver, NetemDriver)
    return bench.driver


def play(bench: Bench, parts: dict[Direction, Part] | None = None) -> list[Played]:
    return driver(bench).planner().play("mesh", parts or {})[1]


def later(spec: LinkSpec, in_s: float = 0.0) -> Later:
    return Later(next(NUMBERS), time.monotonic() + in_s, spec)


def all_of(bench: Bench, plan: list[Later]) -> dict[int, Played]:
    """Wait until the last of them has been told of."""
    found: dict[int, Played] = {}

    def came() -> bool:
        found.update((one.number, one) for one in play(bench))
        return plan[-1].number in found

    wait_until(came)
    return found


def gone(pid: int, act: Callable[[], object]) -> bool:
    """Whether a process has ended when something has been done."""
    watched = os.pidfd_open(pid)
    try:
        act()
        return beside.ended(watched, 10)
    finally:
        os.close(watched)


def qdiscs(link: Link) -> list[str]:
    """As `tc` shows them."""
    found = []
    for netns in (link.there.source_netns, link.there.target_netns):
        for what in (["qdisc", "show"], ["class", "show", "dev", link.there.device]):
            argv = ["tc", "-n", netns, *what]
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            found.append(done.stdout)
    return found


def member_of_a_cell(bench: Bench, way: str) -> tuple[Link, Direction]:
    """One of two, and the way that it sends or hears."""
    hub = bench.make_link()
    link = bench.make_link(hub=hub)
    here, other = (link.there, hub.there) if way == "up" else (link.back, hub.back)
    play(bench, {here: Part(MEMBER), other: Part(MEMBER)})
    return link, here


def make_slow(bench: Bench) -> Link:
    link = bench.make_link()
    play(bench, {link.there: Part(SLOW)})
    return link


def test_a_change_that_needs_more_devices_than_there_are_comes_all_the_same(bench: Bench) -> None:
    link = bench.make_link()
    plan = [later(LinkSpec(loss_ratio=0.5)), later(SLOW, 0.1), later(LinkSpec(), 0.2)]
    play(bench, {link.there: Part(LinkSpec(), tuple(plan))})
    found = all_of(bench, plan)
    assert [one.error for one in found.values()] == [None] * len(found)
    assert bench.read(link.there) == LinkSpec()


def test_every_property_changes_as_it_does_by_hand(bench: Bench) -> None:
    specs = [
        LinkSpec(delay_s=0.02, jitter_s=0.002, rate_bps=20e6, queue_bytes=60_000),
        LinkSpec(loss_gilbert=(0.01, 0.3, 0.9, 0.0), rate_bps=1e6, queue_packets=50),
        LinkSpec(rate_bps=3e6, queue_discipline="codel", overhead_bytes=8),
        LinkSpec(up=False, rate_bps=3e6),
        LinkSpec(delay_s=0.3, duplicate_ratio=0.1, corrupt_ratio=0.1, reorder_ratio=0.2),
    ]
    link = make_slow(bench)
    for spec in specs:
        plan = [later(spec)]
        play(bench, {link.there: Part(None, tuple(plan))})
        assert all_of(bench, plan)[plan[0].number].error is None
        assert bench.read(link.there) == spec
        before = qdiscs(link)
        with closing(NetemDriver()) as by_hand:
            assert by_hand.apply({link.there: spec})[link.there].error is None
        assert qdiscs(link) == before


@pytest.mark.parametrize("way", ["up", "down"])
def test_what_a_member_of_a_cell_has_of_its_own_is_changed_by_it_too(
    bench: Bench, way: str
) -> None:
    """Whether it is there, its delay, its losses; so a handover takes as long as its gap."""
    link, here = member_of_a_cell(bench, way)
    assert driver(bench).pid == 0
    for own in ({"up": False}, {"delay_s": 0.03}, {"loss_ratio": 0.5, "delay_s": 0.0}, {}):
        spec = replace(MEMBER, **own)
        plan = [later(spec)]
        play(bench, {here: Part(None, tuple(plan))})
        assert all_of(bench, plan)[plan[0].number].error is None
        assert driver(bench).pid
        assert bench.read(here) == spec
        before = qdiscs(link)
        with closing(NetemDriver()) as by_hand:
            assert by_hand.apply({here: spec})[here].error is None
        assert qdiscs(link) == before
    assert len(bench.exchange(link, here, 5)) == 5


def test_what_all_of_a_cell_share_is_changed_by_who_knows_them_all(bench: Bench) -> None:
    _, here = member_of_a_cell(bench, "up")
    plan = [later(replace(MEMBER, rate_bps=2e6))]
    play(bench, {here: Part(None, tuple(plan))})
    all_of(bench, plan)
    assert bench.read(here) == plan[0].spec
    assert driver(bench).pid == 0


def test_no_packet_is_lost_by_changes(bench: Bench) -> None:
    link = make_slow(bench)
    plan = [later(LinkSpec(delay_s=0.01, rate_bps=1e6 + n * 1e5), 0.01 * n) for n in range(100)]
    play(bench, {link.there: Part(None, tuple(plan))})
    arrivals = bench.exchange(link, link.there, 300, size=200, gap_s=0.003)
    assert [one.number for one in arrivals] == list(range(300))
    all_of(bench, plan)


def test_what_was_lost_while_down_is_told_from_other_losses(bench: Bench) -> None:
    link = make_slow(bench)
    plan = [later(LinkSpec(up=False, rate_bps=1e6))]
    play(bench, {link.there: Part(None, tuple(plan))})
    all_of(bench, plan)
    bench.exchange(link, link.there, 20)
    plan = [later(LinkSpec(loss_ratio=1.0, rate_bps=1e6))]
    play(bench, {link.there: Part(None, tuple(plan))})
    all_of(bench, plan)
    bench.exchange(link, link.there, 30)
    assert bench.counters(link.there).dropped == {"loss": 30, "down": 20}


def test_one_that_is_killed_takes_nothing_with_it_but_what_was_to_come(bench: Bench) -> None:
    link = make_slow(bench)
    play(bench, {link.there: Part(None, (later(LinkSpec(delay_s=0.2), 60.0),))})
    before = driver(bench).pid
    assert gone(before, lambda: os.kill(before, signal.SIGKILL))
    assert bench.read(link.there) == SLOW
    assert bench.exchange(link, link.there, 5)
    play(bench)  # that it is gone is noticed here at the latest
    plan = [later(LinkSpec(delay_s=0.3), 0.05)]
    play(bench, {link.there: Part(SLOW, tuple(plan))})
    assert all_of(bench, plan)[plan[0].number].error is None
    assert bench.read(link.there) == LinkSpec(delay_s=0.3)
    assert driver(bench).pid not in (0, before)


def test_one_that_hangs_is_ended_before_anybody_else_changes_its_links(bench: Bench) -> None:
    link = make_slow(bench)
    soon = later(LinkSpec(delay_s=0.2), 0.5)
    play(bench, {link.there: Part(None, (soon,))})
    pid = driver(bench).pid
    os.kill(pid, signal.SIGSTOP)
    asked = LinkSpec(delay_s=0.1)
    assert gone(pid, lambda: play(bench, {link.there: Part(asked)}))
    assert bench.read(link.there) == asked
    assert time.monotonic() > soon.at_s


def test_the_next_agent_takes_over_and_nothing_of_before_comes(bench: Bench, folder: Path) -> None:
    link = make_slow(bench)
    play(bench, {link.there: Part(None, (later(LinkSpec(delay_s=0.2), 1.0),))})
    pid = driver(bench).pid
    driver(bench).close()  # as if it was killed: the helper goes on
    after = NetemDriver(folder)
    try:
        asked = LinkSpec(delay_s=0.1)
        outcomes, _ = after.planner().play("mesh", {link.there: Part(asked)})
        assert outcomes[link.there].error is None
        plan = later(LinkSpec(delay_s=0.4), 1.5)
        after.planner().play("mesh", {link.there: Part(None, (plan,))})
        assert after.pid == pid
        seen = set[float | None]()

        def came() -> bool:
            seen.add(after.read([link.there])[link.there].delay_s)
            return 0.4 in seen

        wait_until(came)
        assert seen <= {0.1, 0.4}
    finally:
        after.forget("mesh")
        after.end()


def test_it_plays_what_it_was_told_when_the_agent_is_gone_and_ends_then(tmp_path: Path) -> None:
    first = NetemDriver(tmp_path / "links", idle_s=0.2)
    with Bench(first) as bench:
        link = make_slow(bench)
        play(bench, {link.there: Part(None, (later(LinkSpec(delay_s=0.2), 0.5),))})
        pid = first.pid
        assert gone(pid, first.close)
        assert bench.read(link.there).delay_s == 0.2
        assert not (tmp_path / "links" / "netem.s").exists()


def test_a_mesh_that_is_let_go_of_ends_though_the_helper_lives(bench: Bench) -> None:
    link, other = make_slow(bench), bench.make_link("other")
    play(bench, {link.there: Part(None, (later(LinkSpec(delay_s=0.2), 60.0),))})
    pid, names = driver(bench).pid, (link.there.source_netns, link.there.target_netns)
    before = open_descriptors(pid)
    inodes = {os.stat(namespaces.NETNS_DIR / name).st_ino for name in names}
    driver(bench).forget("mesh")
    bench.remove(link)
    assert open_descriptors(pid) == before - 2
    assert not inodes & {os.stat(f"/proc/{pid}/ns/net").st_ino}
    play(bench, {other.there: Part(SLOW)})
    assert driver(bench).pid == pid


def test_what_somebody_took_away_is_noticed(bench: Bench) -> None:
    link = make_slow(bench)
    play(bench, {link.there: Part(None, (later(LinkSpec(delay_s=0.2)),))})
    wait_until(lambda: bench.read(link.there).delay_s == 0.2)
    play(bench)
    there, device = link.there.target_netns, detour_device(link.there.device)
    subprocess.run(["tc", "-n", there, "qdisc", "del", "dev", device, "root"], check=True)
    plan = [later(LinkSpec(delay_s=0.3))]
    play(bench, {link.there: Part(None, tuple(plan))})
    assert all_of(bench, plan)[plan[0].number].error is not None
    play(bench, {link.there: Part(LinkSpec(delay_s=0.3))})  # as the agent does then
    assert bench.read(link.there).delay_s == 0.3


def test_how_late_the_kernel_is_can_be_told(bench: Bench) -> None:
    link = bench.make_link()
    assert driver(bench).health([link.there]) is None  # nothing is asked: nothing can be late
    bench.apply(link.there, SLOW)
    health = driver(bench).health([link.there])
    assert health is not None
    assert health.in_kernel
    bench.exchange(link, link.there, 20)

    def looked() -> bool:
        now = driver(bench).health([link.there])
        assert now is not None
        told = now.since(health)
        return told.moments >= 20 and told.packets >= 20

    wait_until(looked)
