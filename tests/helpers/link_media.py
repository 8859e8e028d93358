"""What several links have of a medium that they share: part of every link driver's contract.

All that is sent waits behind a packet that takes minutes, until the rate is raised: so everybody is
backlogged from one moment on, however busy the machine. Nothing comes before its turn.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from helpers.link_bench import Arrival, Bench, Link, take, wait_until

from net.links.spec import LinkSpec
from otter_agent.links.base import Direction

SIZE = 1250
"""10 ms each at `FAST`."""
FAST = 1e6
_CRAWL = 100.0
_CELL = LinkSpec(rate_bps=_CRAWL, medium="cell", queue_packets=1000)
Way = tuple[Link, Direction]


@pytest.mark.netns
class LinkMedia:
    """Traffic over links that share a medium."""

    @pytest.fixture(autouse=True)
    def _can_share(self, bench: Bench) -> None:
        if refused := bench.driver.refusals(_CELL):
            pytest.skip(f"{bench.driver.name} refuses {refused}")

    def test_two_that_are_backlogged_have_half_each(self, bench: Bench):
        a, b = _members(bench, 2)
        _fill(bench, {a: 20, b: 20}, _CELL)
        began = _go(bench, {a: FAST, b: FAST})
        for way in (a, b):
            seen = _seen(bench, way, 20)
            # The first of them was begun before, at a crawl; the others came two by two.
            _no_sooner(began, seen, [0.02 * n for n in range(20)], slack_s=0.02)

    def test_together_they_have_no_more_than_there_is(self, bench: Bench):
        ways = _members(bench, 4)
        _fill(bench, dict.fromkeys(ways, 10), _CELL)
        began = _go(bench, dict.fromkeys(ways, FAST))
        seen = sorted((one for way in ways for one in _seen(bench, way, 10)), key=_when)
        _no_sooner(began, seen, [0.01 * n for n in range(40)], slack_s=0.02)

    def test_who_has_half_the_rate_has_half_the_bytes(self, bench: Bench):
        near, far = _members(bench, 2)
        _fill(bench, {near: 20, far: 10}, _CELL)
        began = _go(bench, {near: FAST, far: FAST / 2})
        _no_sooner(began, _seen(bench, near, 20), [0.02 * n for n in range(20)], slack_s=0.04)
        _no_sooner(began, _seen(bench, far, 10), [0.04 * n for n in range(10)], slack_s=0.04)

    def test_weights_hold(self, bench: Bench):
        a, b = _members(bench, 2)
        heavy = replace(_CELL, medium_weight=3.0)
        _fill(bench, {a: 30}, heavy)
        _fill(bench, {b: 10}, _CELL)
        began = time.monotonic()
        outcomes = bench.driver.apply(
            {a[1]: replace(heavy, rate_bps=FAST), b[1]: replace(_CELL, rate_bps=FAST)}
        )
        assert all(outcome.error is None for outcome in outcomes.values())
        _no_sooner(began, _seen(bench, a, 30), [0.04 / 3 * n for n in range(30)], slack_s=0.06)
        _no_sooner(began, _seen(bench, b, 10), [0.04 * n for n in range(10)], slack_s=0.06)

    def test_both_directions_of_one_link_can_share(self, bench: Bench):
        link = bench.make_link()
        there, back = (link, link.there), (link, link.back)
        _fill(bench, {there: 10, back: 10}, _CELL)
        began = _go(bench, {there: FAST, back: FAST})
        for way in (there, back):
            _no_sooner(began, _seen(bench, way, 10), [0.02 * n for n in range(10)], slack_s=0.02)

    def test_media_of_two_meshes_are_two(self, bench: Bench):
        one, other = ((x, x.there) for x in (bench.make_link("m1"), bench.make_link("m2")))
        _fill(bench, {one: 2}, _CELL)
        _fill(bench, {other: 2}, replace(_CELL, rate_bps=FAST))
        _seen(bench, other, 2)
        assert bench.counters(one[1]).waiting_packets == 2

    def test_who_shares_it_no_more_waits_for_nobody(self, bench: Bench):
        a, b = _members(bench, 2)
        _fill(bench, {a: 2}, _CELL)
        _fill(bench, {b: 5}, _CELL)
        bench.apply(b[1], LinkSpec(rate_bps=FAST, queue_packets=1000))
        _seen(bench, b, 5)
        assert bench.counters(a[1]).waiting_packets == 2

    def test_nobody_waits_for_a_link_that_is_gone(self, bench: Bench):
        a, b = _members(bench, 2)
        _fill(bench, {a: 2}, _CELL)
        _fill(bench, {b: 5}, _CELL)
        bench.apply(b[1], replace(_CELL, rate_bps=FAST))
        assert bench.counters(b[1]).packets == 0  # a's takes minutes
        bench.driver.forget("mesh", [b[1], b[0].back])
        _seen(bench, b, 5)


def _members(bench: Bench, count: int) -> list[Way]:
    links = [bench.make_link() for _ in range(count)]
    return [(link, link.there) for link in links]


def _fill(bench: Bench, packets: Mapping[Way, int], spec: LinkSpec) -> None:
    """Have packets waiting, one of them being sent at a crawl."""
    for way, count in packets.items():
        link, direction = way
        bench.apply(direction, spec)
        bench.send(link, direction, count, size=SIZE)
    if spec.rate_bps == _CRAWL:
        for (_, direction), count in packets.items():
            wait_until(lambda d=direction, n=count: bench.counters(d).waiting_packets == n)


def _go(bench: Bench, rates: Mapping[Way, float]) -> float:
    """Raise the rate of all at once; when that was."""
    began = time.monotonic()
    asked = {way[1]: replace(_CELL, rate_bps=rate) for way, rate in rates.items()}
    assert all(outcome.error is None for outcome in bench.driver.apply(asked).values())
    return began


def _seen(bench: Bench, way: Way, count: int) -> list[Arrival]:
    arrivals: list[Arrival] = []
    link, direction = way
    wait_until(lambda: take(link, direction, arrivals) or len(arrivals) == count)
    assert [one.number for one in arrivals] == list(range(count))
    return arrivals


def _when(one: Arrival) -> float:
    return one.seen_s


def _no_sooner(
    began: float, seen: Sequence[Arrival], least_s: Sequence[float], *, slack_s: float
) -> None:
    """The n-th came no sooner than so long after the beginning, but for a packet or two."""
    for one, least in zip(seen, least_s, strict=True):
        assert one.seen_s - began >= least - slack_s
