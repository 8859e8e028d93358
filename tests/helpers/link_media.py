"""What several links have of a medium that they share: part of every link driver's contract.

All that is sent waits behind a heavy member's long train: so everybody is backlogged from one
moment on, however busy the machine. Nothing comes before its turn, but for a packet of each that
may come into the train.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
from helpers.link_bench import Arrival, Bench, Link, take, wait_until

from net.links.spec import LinkSpec
from otter_agent.links.base import Direction

SIZE = 1250
"""10 ms each at `FAST`."""
FAST = 1e6
_TRAIN = 100
_LONG_S = _TRAIN * SIZE * 8 / FAST
_TRIES = 5
_CELL = LinkSpec(rate_bps=FAST, medium="cell", queue_packets=1000)
_HEAVY = replace(_CELL, medium_weight=1e6)
Way = tuple[Link, Direction]


@pytest.mark.netns
class LinkMedia:
    """Traffic over links that share a medium."""

    @pytest.fixture(autouse=True)
    def _can_share(self, bench: Bench) -> None:
        if refused := bench.driver.refusals(_CELL):
            pytest.skip(f"{bench.driver.name} refuses {refused}")

    @pytest.fixture
    def heavy(self, bench: Bench) -> Way:
        """The member that the others wait for."""
        link = bench.make_link()
        bench.apply(link.there, _HEAVY)
        return link, link.there

    @pytest.mark.parametrize("way", ["up", "down"])
    def test_two_that_are_backlogged_have_half_each(self, bench: Bench, heavy: Way, way: str):
        a, b = _members(bench, heavy, 2, way)
        began = _fill(bench, heavy, {a: (20, _CELL), b: (20, _CELL)})
        for one in (a, b):
            _no_sooner(began, _seen(bench, one, 20), [0.02 * n for n in range(20)], slack_s=0.02)

    def test_together_they_have_no_more_than_there_is(self, bench: Bench, heavy: Way):
        ways = _members(bench, heavy, 4)
        began = _fill(bench, heavy, dict.fromkeys(ways, (10, _CELL)))
        seen = sorted((one for way in ways for one in _seen(bench, way, 10)), key=_when)
        _no_sooner(began, seen[3:], [0.01 * n for n in range(40)], slack_s=0.02)

    def test_who_has_half_the_rate_has_half_the_bytes(self, bench: Bench, heavy: Way):
        half = replace(_CELL, rate_bps=FAST / 2)
        if conflicts := bench.driver.conflicts([_CELL, half]):
            pytest.skip(f"{bench.driver.name} refuses {conflicts}")
        near, far = _members(bench, heavy, 2)
        began = _fill(bench, heavy, {near: (20, _CELL), far: (10, half)})
        _no_sooner(began, _seen(bench, near, 20), [0.02 * n for n in range(20)], slack_s=0.04)
        _no_sooner(began, _seen(bench, far, 10), [0.04 * n for n in range(10)], slack_s=0.04)

    def test_weights_hold(self, bench: Bench, heavy: Way):
        a, b = _members(bench, heavy, 2)
        more = replace(_CELL, medium_weight=3.0)
        began = _fill(bench, heavy, {a: (30, more), b: (10, _CELL)})
        _no_sooner(began, _seen(bench, a, 30), [0.04 / 3 * n for n in range(30)], slack_s=0.06)
        _no_sooner(began, _seen(bench, b, 10), [0.04 * n for n in range(10)], slack_s=0.06)

    def test_nobody_waits_for_those_that_have_nothing_to_send(self, bench: Bench, heavy: Way):
        a, *_ = _members(bench, heavy, 3)
        link, direction = a
        bench.apply(direction, _CELL)
        assert len(bench.exchange(link, direction, 50, size=SIZE)) == 50

    def test_both_directions_of_one_link_can_share(self, bench: Bench, heavy: Way):
        link = bench.make_link(hub=heavy[0])
        there, back = (link, link.there), (link, link.back)
        began = _fill(bench, heavy, {there: (10, _CELL), back: (10, _CELL)})
        for way in (there, back):
            _no_sooner(began, _seen(bench, way, 10), [0.02 * n for n in range(10)], slack_s=0.02)

    def test_what_is_lost_takes_no_time(self, bench: Bench, heavy: Way):
        for way in ("up", "down"):
            lossy, other = _members(bench, heavy, 2, way)
            lost = replace(_CELL, loss_ratio=1.0)
            _fill(bench, heavy, {lossy: (10, lost), other: (10, _CELL)})
            _seen(bench, other, 10)
            assert dict(bench.counters(lossy[1]).dropped) == {"loss": 10}

    def test_each_has_its_own_delay_after_the_medium(self, bench: Bench, heavy: Way):
        near, far = _members(bench, heavy, 2)
        late = replace(_CELL, delay_s=0.5)
        began = _fill(bench, heavy, {near: (10, _CELL), far: (10, late)})
        _no_sooner(began, _seen(bench, near, 10), [0.02 * n for n in range(10)], slack_s=0.02)
        _no_sooner(began + 0.5, _seen(bench, far, 10), [0.02 * n for n in range(10)], slack_s=0.02)

    def test_a_queue_is_one_members_own(self, bench: Bench, heavy: Way):
        small, other = _members(bench, heavy, 2)
        short = replace(_CELL, queue_packets=None, queue_bytes=5 * SIZE)
        _fill(bench, heavy, {small: (5, short), other: (50, _CELL)}, within_s=_LONG_S / 2)
        link, direction = small
        bench.send(link, direction, 20, size=SIZE)
        wait_until(lambda: bench.counters(direction).dropped.get("queue", 0) >= 19)
        _seen(bench, other, 50)

    def test_more_capacity_is_for_what_waits_already(self, bench: Bench, heavy: Way):
        a, b = _members(bench, heavy, 2)
        theirs = _fill(bench, heavy, {a: (100, _CELL), b: (100, _CELL)})
        more = {a[1]: _CELL, b[1]: _CELL, heavy[1]: _HEAVY}
        asked = {way: replace(spec, rate_bps=100 * FAST) for way, spec in more.items()}
        assert all(outcome.error is None for outcome in bench.driver.apply(asked).values())
        since = max(theirs, time.monotonic())
        seen = [one for way in (a, b) for one in _seen(bench, way, 100)]
        assert max(map(_when, seen)) < since + 0.9  # one member alone at the old rate takes one

    def test_all_that_many_send_at_once_comes(self, bench: Bench, heavy: Way):
        ways = [heavy, *_members(bench, heavy, 3)]
        quick = dict.fromkeys((way[1] for way in ways), replace(_CELL, rate_bps=50 * FAST))
        assert not [one.error for one in bench.driver.apply(quick).values() if one.error]
        for _ in range(20):
            for way in ways:
                bench.send(*way, 20, size=SIZE)
        for way in ways:
            assert [one.number for one in _come(way, 400)] == [*range(20)] * 20

    def test_media_of_two_meshes_are_two(self, bench: Bench, heavy: Way):
        other = bench.make_link("m2")
        a, *_ = _members(bench, heavy, 1)

        def others_come() -> None:
            bench.apply(other.there, _CELL)
            bench.send(other, other.there, 2, size=SIZE)
            _seen(bench, (other, other.there), 2)

        _while_it_waits(bench, heavy, a, others_come)

    @pytest.mark.parametrize("way", ["up", "down"])
    def test_who_shares_it_no_more_waits_for_nobody(self, bench: Bench, heavy: Way, way: str):
        a, b = _members(bench, heavy, 2, way)
        bench.apply(b[1], _CELL)

        def it_goes_on_alone() -> None:
            bench.apply(b[1], LinkSpec(rate_bps=FAST, queue_packets=1000))
            bench.send(*b, 5, size=SIZE)
            _seen(bench, b, 5)

        _while_it_waits(bench, heavy, a, it_goes_on_alone)
        bench.apply(b[1], _CELL)
        bench.send(*b, 5, size=SIZE)
        _seen(bench, b, 5)

    def test_nobody_waits_for_a_link_that_is_gone(self, bench: Bench, heavy: Way):
        a, b = _members(bench, heavy, 2)
        _fill(bench, heavy, {a: (2, _CELL), b: (5, _CELL)})
        bench.driver.forget("mesh", [b[1], b[0].back])
        _seen(bench, b, 5)

    def test_a_member_comes_and_others_lose_nothing(self, bench: Bench, heavy: Way):
        a, b, c = _members(bench, heavy, 3)
        _fill(bench, heavy, {a: (20, _CELL), b: (20, _CELL)})
        bench.apply(c[1], replace(_CELL, medium_weight=2.0))
        bench.send(*c, 10, size=SIZE)
        for way, count in ((a, 20), (b, 20), (c, 10)):
            _seen(bench, way, count)


def _members(bench: Bench, heavy: Way, count: int, way: str = "up") -> list[Way]:
    """Others, whose links meet where the heavy one's ends; which way they send."""
    links = [bench.make_link(hub=heavy[0]) for _ in range(count)]
    return [(link, link.there if way == "up" else link.back) for link in links]


def _while_it_waits(bench: Bench, heavy: Way, way: Way, act: Callable[[], None]) -> None:
    """Act while packets wait for the heavy one's; again where that took longer than they wait."""
    for _ in range(_TRIES):
        theirs = _fill(bench, heavy, {way: (4, _CELL)}, within_s=_LONG_S / 2)
        act()
        waiting = bench.counters(way[1]).waiting_packets
        if waiting >= 2 or time.monotonic() < theirs:
            break
        _seen(bench, way, 4)
        _seen(bench, heavy, _TRAIN)
    assert waiting >= 2


def _fill(
    bench: Bench, heavy: Way, packets: Mapping[Way, tuple[int, LinkSpec]],
    within_s: float = 0.9 * _LONG_S,
) -> float:  # fmt: skip
    """Have packets wait for the heavy one's; when the medium is theirs at the earliest.

    All of them are sent within so long.
    """
    for (_, direction), (_, spec) in packets.items():
        bench.apply(direction, spec)
    link, direction = heavy
    for _ in range(_TRIES):
        began = time.monotonic()
        bench.send(link, direction, _TRAIN, size=SIZE)
        for way, (count, _) in packets.items():
            bench.send(*way, count, size=SIZE)
        if time.monotonic() - began < within_s:
            return began + _LONG_S
        for way, (count, spec) in packets.items():
            if not spec.loss_ratio:
                _seen(bench, way, count)
        _seen(bench, heavy, _TRAIN)
    raise AssertionError("this machine is too busy to send some packets within a second")


def _seen(bench: Bench, way: Way, count: int) -> list[Arrival]:
    arrivals = _come(way, count)
    assert [one.number for one in arrivals] == list(range(count))
    return arrivals


def _come(way: Way, count: int) -> list[Arrival]:
    arrivals: list[Arrival] = []
    wait_until(lambda: take(*way, arrivals) or len(arrivals) == count)
    return arrivals


def _when(one: Arrival) -> float:
    return one.seen_s


def _no_sooner(
    began: float, seen: Sequence[Arrival], least_s: Sequence[float], *, slack_s: float
) -> None:
    """The n-th came no sooner than so long after the beginning, but for a packet or two."""
    for one, least in zip(seen[1:], least_s, strict=False):
        assert one.seen_s - began >= least - slack_s
