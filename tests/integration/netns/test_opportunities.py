"""Opportunities of a trace on real links: each packet leaves at its own, none before it."""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import netns
from helpers.link_bench import Bench, kill, numbers, take, wait_until
from helpers.mahimahi import mahimahi

from net.links.delivery import Delivery
from net.links.spec import LinkSpec
from net.links.traces.codec import encode
from net.links.traces.mahimahi import binned
from otter_agent.links.tun.driver import TunDriver

pytestmark = [pytest.mark.timed, pytest.mark.netns]

TIMES_MS = (5, 5, 40, 41, 60, 60, 60, 140)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "traces"


@pytest.fixture
def bench(require, tmp_path: Path, folder: Path) -> Iterator[Bench]:
    require("netns", not netns.unavailable(), netns.unavailable())
    folder.mkdir()
    driver = TunDriver(tmp_path / "links", folder)
    try:
        with Bench(driver) as made:
            yield made
    finally:
        driver.end()


@pytest.fixture
def trace(folder: Path) -> str:
    data = encode(binned(array("d", [at / 1000 for at in TIMES_MS]), TIMES_MS[-1] / 1000))
    digest = hashlib.sha256(data).hexdigest()
    (folder / digest).write_bytes(data)
    return digest


def soon(trace: str, in_s: float = 0.3) -> tuple[LinkSpec, float]:
    """What to ask for, and when it begins on the clock of arrivals."""
    # Both clocks at the same moment: of some readings the one that nothing came in between of.
    readings = [(time.monotonic(), boottime(), time.monotonic()) for _ in range(9)]
    now_s, booted_s, _ = min(readings, key=lambda one: one[2] - one[0])
    delivery = Delivery(trace=trace, zero_s=booted_s + in_s)
    return LinkSpec(rate_bps=1e6, queue_packets=1000, delivery=delivery), now_s + in_s


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def test_each_packet_leaves_at_its_opportunity(bench: Bench, trace: str):
    link = bench.make_link()
    spec, zero_s = soon(trace)
    bench.apply(link.there, spec)
    assert bench.read(link.there) == spec
    sizes = [1500, 748, 748, 1000, 1000, *[1500] * 20, 300, 300]
    for size in sizes:
        bench.send(link, link.there, 1, size=size)
    arrivals = []
    wait_until(lambda: take(link, link.there, arrivals) or len(arrivals) == len(sizes))
    expected = mahimahi(TIMES_MS, [(-1, size) for size in sizes], 10_000)
    assert len(expected) == len(sizes)
    for (at_ms, _), arrival in zip(expected, arrivals, strict=True):
        assert arrival.seen_s >= zero_s + at_ms / 1000 - 0.0005
    assert bench.counters(link.there).packets == len(sizes)


def test_a_new_helper_goes_on_at_the_same_place(bench: Bench, trace: str):
    link = bench.make_link()
    spec, zero_s = soon(trace, 0.0)
    bench.apply(link.there, spec)
    before = kill(bench.driver)
    wait_until(lambda: bench.driver.pid not in (0, before))
    wait_until(lambda: bench.driver.lost())
    assert bench.read(link.there) == spec
    arrivals = bench.exchange(link, link.there, 30, size=1500)
    assert numbers(arrivals) == list(range(30))
    offers = [(int((one.sent_s - zero_s) * 1000) - 1, 1500) for one in arrivals]
    expected = mahimahi(TIMES_MS, offers, offers[-1][0] + 10_000)
    for (at_ms, _), arrival in zip(expected, arrivals, strict=True):
        assert arrival.seen_s >= zero_s + at_ms / 1000 - 0.0005


def test_a_trace_that_is_not_there_is_an_error_of_that_link_alone(bench: Bench, trace: str):
    lost, other = bench.make_link(), bench.make_link()
    spec, _ = soon("0" * 64)
    asked = {lost.there: spec, other.there: LinkSpec(delay_s=0.01)}
    outcomes = bench.driver.apply(asked)
    assert "open the trace" in str(outcomes[lost.there].error)
    assert outcomes[other.there].applied == LinkSpec(delay_s=0.01)
    assert numbers(bench.exchange(other, other.there, 5)) == list(range(5))


def test_what_is_no_trace_is_refused_before_the_helper_sees_it(bench: Bench, folder: Path):
    link = bench.make_link()
    bench.apply(link.there, LinkSpec(delay_s=0.01))
    pid = bench.driver.pid
    for number, data in enumerate((b"", b"OTRACE1\n{}\n", b"OTRACE1\n" + bytes(5000))):
        digest = f"{number:064d}"
        (folder / digest).write_bytes(data)
        error = bench.driver.apply({link.there: soon(digest)[0]})[link.there].error
        assert "read the trace" in str(error)
    assert bench.driver.pid == pid
    assert bench.read(link.there) == LinkSpec(delay_s=0.01)
