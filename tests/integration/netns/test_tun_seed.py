"""Chance on links in user space is the seed's: what a run lost, the next one with that seed loses.

That the model is a function of its seed is tests/unit/net/links; here is that the seed gets there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import netns
from helpers.link_bench import Bench, Link, numbers

from net.links.spec import LinkSpec
from otter_agent.links.tun.driver import TunDriver

pytestmark = [pytest.mark.timed, pytest.mark.netns]
LOSSY = LinkSpec(loss_ratio=0.3)
SENT = 200


@pytest.fixture
def benches(require, tmp_path: Path) -> Iterator[tuple[Bench, Bench]]:
    """Two of one mesh's names, each with a helper of its own: two runs."""
    require("netns", not netns.unavailable(), netns.unavailable())
    drivers = [TunDriver(tmp_path / name) for name in ("first", "second")]
    try:
        with Bench(drivers[0]) as first, Bench(drivers[1]) as second:
            yield first, second
    finally:
        for driver in drivers:
            driver.end()


def arrived(bench: Bench, link: Link, seed: int) -> list[int]:
    """Which packets come through once the link has this seed."""
    way = replace(link.there, seed=seed)
    bench.apply(way, LOSSY)
    return numbers(bench.exchange(link, way, SENT))


def test_the_same_seed_loses_the_same_packets_in_another_run_and_another_loses_others(
    benches: tuple[Bench, Bench],
):
    first, second = benches
    one, other = first.make_link(), second.make_link()
    found = [arrived(first, one, seed) for seed in (7, 8, 7)]
    assert 0.5 * SENT < len(found[0]) < SENT
    assert found[0] != found[1]
    assert found[0] == found[2], "another seed begins anew while the link is there"
    assert found[0] == arrived(second, other, 7)
    back = numbers(first.exchange(one, one.back, SENT))
    assert back == list(range(SENT))
    first.apply(replace(one.back, seed=7), LOSSY)
    assert numbers(first.exchange(one, one.back, SENT)) != found[0], "each direction has its own"
