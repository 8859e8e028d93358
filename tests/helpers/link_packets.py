"""What becomes of packets on a link: the second half of every link driver's contract.

Nothing arrives before its time, however busy the machine; nothing is lost but by what was asked.
How late packets are is for the benchmarks.
"""

from __future__ import annotations

import random
import statistics
import time

import pytest
from helpers.link_bench import HEADERS, Bench, numbers, orders, tcp_copy, within_binomial

from net.links.spec import LinkSpec


@pytest.mark.netns
class LinkPackets:
    """Traffic over real links."""

    def skip_if_refused(self, bench: Bench, spec: LinkSpec) -> None:
        if refused := bench.driver.refusals(spec):
            pytest.skip(f"{bench.driver.name} refuses {refused}")

    def test_a_link_without_properties_passes_all_in_order(self, bench: Bench):
        link = bench.make_link()
        assert numbers(bench.exchange(link, link.there, 1000)) == list(range(1000))
        assert numbers(bench.exchange(link, link.back, 1000, size=1500)) == list(range(1000))
        counted = bench.counters(link.back)
        assert (counted.packets, counted.bytes) == (1000, 1_500_000)
        assert not any(counted.dropped.values())

    @pytest.mark.parametrize("delay_s", [0.001, 0.05, 0.3])
    def test_no_packet_arrives_before_the_delay(self, bench: Bench, delay_s: float):
        link = bench.make_link()
        bench.apply(link.there, LinkSpec(delay_s=delay_s))
        arrivals = bench.exchange(link, link.there, 200)
        assert numbers(arrivals) == list(range(200))
        assert min(arrival.delay_s for arrival in arrivals) >= delay_s

    def test_each_direction_is_on_its_own(self, bench: Bench):
        link = bench.make_link()
        bench.apply(link.there, LinkSpec(delay_s=0.2))
        bench.apply(link.back, LinkSpec(loss_ratio=1.0))
        arrivals = bench.exchange(link, link.there, 20)
        assert numbers(arrivals) == list(range(20))
        assert min(arrival.delay_s for arrival in arrivals) >= 0.2
        assert bench.exchange(link, link.back, 20) == []

    @pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto", "paretonormal"])
    def test_jitter_spreads_delays_as_asked_and_keeps_their_order(self, bench: Bench, distribution):
        link = bench.make_link()
        asked = LinkSpec(delay_s=0.1, jitter_s=0.02, jitter_distribution=distribution)
        bench.apply(link.there, asked)
        arrivals = bench.exchange(link, link.there, 100, gap_s=0.01)
        assert numbers(arrivals) == list(range(100))
        assert min(arrival.delay_s for arrival in arrivals) >= 0.1 - 4 * 0.02
        # Packets 10 ms apart with 20 ms of jitter: spread out, beyond what lateness explains.
        assert statistics.pstdev(arrival.delay_s for arrival in arrivals) > 0.005

    def test_jitter_from_a_table_takes_its_values(self, bench: Bench):
        asked = LinkSpec(
            delay_s=0.1, jitter_s=0.05, jitter_distribution="table", jitter_table=(-1.0, 1.0)
        )
        self.skip_if_refused(bench, asked)
        link = bench.make_link()
        bench.apply(link.there, asked)
        arrivals = bench.exchange(link, link.there, 30, gap_s=0.11)
        assert min(arrival.delay_s for arrival in arrivals) >= 0.0499
        slow = [arrival for arrival in arrivals if arrival.delay_s >= 0.1499]
        assert 3 <= len(slow) <= 27  # half of 30, but for one chance in 100,000

    @pytest.mark.parametrize("ratio", [0.01, 0.3])
    def test_the_share_of_lost_packets_is_as_asked(self, bench: Bench, ratio: float):
        link, count = bench.make_link(), 10_000
        bench.apply(link.there, LinkSpec(loss_ratio=ratio))
        arrivals = bench.exchange(link, link.there, count)
        assert within_binomial(count - len(arrivals), count, ratio)
        assert numbers(arrivals) == sorted(set(numbers(arrivals)))
        assert sum(bench.counters(link.there).dropped.values()) == count - len(arrivals)

    def test_losses_of_gilbert_and_elliott_come_in_bursts(self, bench: Bench):
        asked = LinkSpec(loss_gilbert=(0.02, 0.2, 1.0, 0.0))
        self.skip_if_refused(bench, asked)
        link, count = bench.make_link(), 20_000
        bench.apply(link.there, asked)
        got = set(numbers(bench.exchange(link, link.there, count)))
        flags = [number not in got for number in range(count)]
        begun = sum(now and not before for before, now in zip([False, *flags], flags, strict=False))
        # Bursts of 5 on average: the mean of `begun` geometric lengths, within five deviations.
        assert sum(flags) / begun == pytest.approx(5.0, abs=5 * (20.0**0.5) / begun**0.5)

    def test_what_is_delivered_is_never_above_the_rate(self, bench: Bench):
        link, rate, size, count = bench.make_link(), 4e6, 1000, 400
        bench.apply(link.there, LinkSpec(rate_bps=rate, queue_packets=count))
        arrivals = bench.exchange(link, link.there, count, size=size)
        assert numbers(arrivals) == list(range(count))
        start = arrivals[0].sent_s
        for delivered, arrival in enumerate(arrivals, 1):
            assert delivered * size * 8 <= rate * (arrival.seen_s - start) + 2 * size * 8

    def test_overhead_counts_at_the_rate(self, bench: Bench):
        asked = LinkSpec(rate_bps=4e6, overhead_bytes=200, queue_packets=200)
        self.skip_if_refused(bench, asked)
        link = bench.make_link()
        bench.apply(link.there, asked)
        arrivals = bench.exchange(link, link.there, 200, size=200)
        taken_s = arrivals[-1].seen_s - arrivals[0].sent_s
        assert taken_s * 4e6 >= (200 - 2) * 400 * 8

    @pytest.mark.parametrize(
        ("queue", "packets"),
        [({"queue_packets": 10}, 10), ({"queue_bytes": 10_000}, 10), ({"queue_s": 0.1}, 12)],
    )
    def test_what_finds_the_queue_full_is_dropped(self, bench: Bench, queue, packets):
        link, rate, size, count = bench.make_link(), 1e6, 1000, 60
        bench.apply(link.there, LinkSpec(rate_bps=rate, **queue))
        arrivals = bench.exchange(link, link.there, count, size=size)
        taken_s = arrivals[-1].sent_s - arrivals[0].sent_s
        assert len(arrivals) >= packets - 2
        # What left while they came, what waits, what is being sent; one for rounding.
        sent_s = max(taken_s, 0.0) + 0.05 * (taken_s > 0.02)
        assert len(arrivals) <= packets + 3 + sent_s * rate / 8 / size
        assert sum(bench.counters(link.there).dropped.values()) == count - len(arrivals)

    def test_all_are_duplicated_at_a_ratio_of_one(self, bench: Bench):
        link = bench.make_link()
        bench.apply(link.there, LinkSpec(duplicate_ratio=1.0))
        arrivals = bench.exchange(link, link.there, 300)
        assert sorted(numbers(arrivals)) == sorted([*range(300), *range(300)])

    def test_the_share_of_duplicates_is_as_asked(self, bench: Bench):
        link, count = bench.make_link(), 4000
        bench.apply(link.there, LinkSpec(duplicate_ratio=0.2))
        arrivals = bench.exchange(link, link.there, count)
        assert set(numbers(arrivals)) == set(range(count))
        assert within_binomial(len(arrivals) - count, count, 0.2)

    def test_a_corrupt_packet_is_one_that_receivers_throw_away(self, bench: Bench):
        link, count = bench.make_link(), 2000
        bench.apply(link.there, LinkSpec(corrupt_ratio=0.3))
        arrivals = bench.exchange(link, link.there, count, size=1000)
        # A driver below Ethernet's header may hit that one: few of 1000 bytes.
        assert len(arrivals) <= count * (1 - 0.3 * 0.97) + 5 * (count * 0.21) ** 0.5
        assert len(arrivals) >= count * 0.7 - 5 * (count * 0.21) ** 0.5

    def test_some_overtake_and_the_others_keep_their_order(self, bench: Bench):
        link, count = bench.make_link(), 400
        bench.apply(link.there, LinkSpec(delay_s=0.3, reorder_ratio=0.3))
        arrivals = bench.exchange(link, link.there, count)
        assert sorted(numbers(arrivals)) == list(range(count))
        # Those that overtake, and those that don't: two orders, each kept, however late they are.
        assert orders(numbers(arrivals)) == 2

    def test_a_link_that_is_down_passes_nothing_until_it_is_up_again(self, bench: Bench):
        link = bench.make_link()
        bench.apply(link.there, LinkSpec(up=False, delay_s=0.001))
        assert bench.exchange(link, link.there, 100) == []
        assert numbers(bench.exchange(link, link.back, 10)) == list(range(10))
        bench.apply(link.there, LinkSpec(delay_s=0.001))
        assert numbers(bench.exchange(link, link.there, 100)) == list(range(100))

    def test_packets_leave_only_in_slots(self, bench: Bench):
        asked = LinkSpec(slot_s=(0.05, 0.05), slot_bytes=1000)
        self.skip_if_refused(bench, asked)
        link = bench.make_link()
        bench.apply(link.there, asked)
        arrivals = bench.exchange(link, link.there, 20, size=500)
        assert numbers(arrivals) == list(range(20))
        # Two in each slot: the last pair leaves nine slots after the first at least.
        assert arrivals[-1].seen_s - arrivals[0].sent_s >= 0.05 * 8

    def test_no_change_loses_duplicates_or_reorders_anything(self, bench: Bench):
        link, chance = bench.make_link(), random.Random(3)

        def change(number: int) -> None:
            if number % 10 == 0:
                spec = LinkSpec(
                    delay_s=chance.choice((None, 0.001, 0.01, 0.05)),
                    rate_bps=chance.choice((None, 50e6, 200e6)),
                    queue_packets=10_000,
                )
                bench.apply(link.there, spec)

        arrivals = bench.exchange(link, link.there, 2000, between=change, burst=3000)
        assert numbers(arrivals) == list(range(2000))

    @pytest.mark.parametrize("delay_s", [None, 0.01])
    def test_what_a_rate_holds_is_not_overtaken_when_the_rate_goes(
        self, bench: Bench, delay_s: float | None
    ):
        link = bench.make_link()
        bench.apply(link.there, LinkSpec(rate_bps=0.1e6, delay_s=delay_s))

        def change(number: int) -> None:
            if number == 2:  # the first takes 0.1 s at the rate
                bench.apply(link.there, LinkSpec())

        arrivals = bench.exchange(link, link.there, 6, size=1400, gap_s=0.02, between=change)
        assert numbers(arrivals) == list(range(6))

    def test_a_change_takes_effect_for_what_comes_after_it(self, bench: Bench):
        link = bench.make_link()
        for delay_s in (0.02, 0.1, 0.05):
            bench.apply(link.there, LinkSpec(delay_s=delay_s))
            arrivals = bench.exchange(link, link.there, 10)
            assert min(arrival.delay_s for arrival in arrivals) >= delay_s

    def test_codel_keeps_a_queue_short_that_tail_drop_lets_fill(self, bench: Bench):
        asked = LinkSpec(rate_bps=2e6, queue_packets=1000, queue_discipline="codel")
        self.skip_if_refused(bench, asked)
        link = bench.make_link()
        bench.apply(link.there, asked)
        arrivals = bench.exchange(link, link.there, 500, size=1000, burst=1000)
        assert len(arrivals) < 500  # it dropped some, though there was room for all

    def test_tcp_survives_a_bad_link_whole(self, bench: Bench):
        link = bench.make_link()
        spec = LinkSpec(delay_s=0.002, jitter_s=0.001, loss_ratio=0.005, rate_bps=50e6)
        bench.apply(link.there, spec)
        bench.apply(link.back, spec)
        begun = time.monotonic()
        assert tcp_copy(link, 2_000_000) == 2_000_000
        assert (time.monotonic() - begun) * 50e6 >= (2_000_000 - 2 * (1500 + HEADERS)) * 8
