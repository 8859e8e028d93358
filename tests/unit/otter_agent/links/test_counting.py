"""How long a link's queue is, and how much of its rate is used, from what a driver counts."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from net.links.spec import LinkSpec
from otter_agent.links.base import Counters
from otter_agent.links.counting import Meter, Uses
from otter_agent.links.ways import Way

AB, BA = Way("radio", "a", "b"), Way("radio", "b", "a")
SLOW = LinkSpec(rate_bps=8e6, delay_s=0.02)


def told(
    uses: Uses, counters: Mapping[Way, Counters], asked: Mapping[Way, LinkSpec], now_s: float
) -> dict[Way, Counters]:
    return uses.told(lambda: counters, asked, lambda: now_s)


def test_what_waits_beyond_what_the_delay_holds_is_the_queue() -> None:
    asked = {AB: SLOW, BA: LinkSpec(delay_s=0.02)}
    counters = {AB: Counters(waiting_bytes=50_000), BA: Counters(waiting_bytes=50_000)}
    found = told(Uses(), counters, asked, 0.0)
    assert found[AB].queue_delay_s == pytest.approx(0.03)
    assert found[BA] == counters[BA]  # without a rate nothing waits for it
    [idle] = told(Uses(), {AB: Counters(waiting_bytes=20_000)}, asked, 0.0).values()
    assert idle.queue_delay_s == 0.0


def test_the_use_of_a_rate_is_that_since_the_last_look() -> None:
    uses = Uses()
    looks = [(0.0, 0), (10.0, 5_000_000), (10.1, 5_100_000), (12.1, 7_000_000)]
    found = [told(uses, {AB: Counters(bytes=n)}, {AB: SLOW}, at)[AB].use_ratio for at, n in looks]
    assert found == [None, pytest.approx(0.5), pytest.approx(0.505, abs=0.001), pytest.approx(0.95)]


def test_what_the_links_layer_adds_uses_the_rate_too() -> None:
    uses, asked = Uses(), {AB: LinkSpec(rate_bps=8e6, overhead_bytes=100)}
    told(uses, {AB: Counters()}, asked, 0.0)
    after = Counters(packets=5000, bytes=500_000, waiting_packets=10, waiting_bytes=1000)
    found = told(uses, {AB: after}, asked, 1.0)[AB]
    assert (found.use_ratio, found.queue_delay_s) == (pytest.approx(1.0), pytest.approx(0.002))


def test_a_counter_that_begins_again_is_no_use() -> None:
    meter = Meter()
    assert [meter.rate(0.0, 100), meter.rate(1.0, 200), meter.rate(2.0, 50)] == [None, 100.0, None]
    assert meter.rate(3.0, 80) == pytest.approx(30)


def test_a_link_that_is_gone_is_forgotten() -> None:
    uses, asked = Uses(), {AB: SLOW}
    told(uses, {AB: Counters()}, asked, 0.0)
    told(uses, {}, asked, 1.0)
    assert told(uses, {AB: Counters(bytes=10**9)}, asked, 2.0)[AB].use_ratio is None


@pytest.mark.slow
def test_who_counts_beside_another_sees_no_counter_begin_again() -> None:
    """As a condition does ten times a second, and whoever asks for the status."""
    uses, asked = Uses(), {AB: SLOW}
    told(uses, {AB: Counters()}, asked, 0.0)
    later = {AB: Counters(bytes=900_000)}
    other = threading.Thread(target=lambda: told(uses, later, asked, 1.0))

    def count() -> dict[Way, Counters]:
        other.start()
        other.join(0.1)
        return {AB: Counters(bytes=800_000)}

    uses.told(count, asked, lambda: 0.9)
    other.join()
    assert told(uses, {AB: Counters(bytes=1_100_000)}, asked, 1.2)[AB].use_ratio is not None
