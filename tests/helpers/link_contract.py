"""What every link driver keeps to, whatever it is made of: settings, and what becomes of packets.

A test file names the driver by a fixture `bench` (a `Bench`) and gathers the tests:

    pytest.register_assert_rewrite("helpers.link_contract", "helpers.link_packets")

    class TestSettings(LinkSettings): ...
    class TestPackets(LinkPackets): ...   # helpers.link_packets

Bounds are such that a busy machine can't fail them: nothing comes early, however late it may be.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
from helpers.link_bench import Bench

from net.links.spec import Discipline, LinkSpec
from otter_agent.links.base import Direction

DISCIPLINES: tuple[Discipline, ...] = ("tail", "codel", "red")
EVERYTHING: dict[str, LinkSpec] = {
    "delay": LinkSpec(delay_s=0.0123),
    "long delay": LinkSpec(delay_s=30.0),
    "jitter": LinkSpec(delay_s=0.02, jitter_s=0.003),
    "uniform": LinkSpec(delay_s=0.02, jitter_s=0.003, jitter_distribution="uniform"),
    "pareto": LinkSpec(delay_s=0.02, jitter_s=0.003, jitter_distribution="pareto"),
    "paretonormal": LinkSpec(delay_s=0.02, jitter_s=0.003, jitter_distribution="paretonormal"),
    "table": LinkSpec(
        delay_s=0.02, jitter_s=0.01, jitter_distribution="table", jitter_table=(-1.0, 0.0, 2.0)
    ),
    "correlated jitter": LinkSpec(delay_s=0.02, jitter_s=0.003, jitter_correlation=0.5),
    "loss": LinkSpec(loss_ratio=0.01),
    "medium": LinkSpec(rate_bps=1e6, medium="gnb1", medium_weight=2.0),
    "correlated loss": LinkSpec(loss_ratio=0.01, loss_correlation=0.5),
    "gilbert": LinkSpec(loss_gilbert=(0.01, 0.3, 0.8, 0.001)),
    "markov": LinkSpec(loss_markov=(0.01, 0.3, 0.2, 0.4, 0.005)),
    "rate": LinkSpec(rate_bps=20e6),
    "slow": LinkSpec(rate_bps=5000.0),
    "overhead": LinkSpec(rate_bps=20e6, overhead_bytes=38),
    "queue time": LinkSpec(rate_bps=20e6, queue_s=0.1),
    "queue bytes": LinkSpec(rate_bps=20e6, queue_bytes=60_000),
    "queue packets": LinkSpec(rate_bps=20e6, queue_packets=40),
    "codel": LinkSpec(rate_bps=20e6, queue_discipline="codel", ecn=True),
    "red": LinkSpec(rate_bps=20e6, queue_discipline="red", queue_s=0.2),
    **{
        f"{words}, {kind}": LinkSpec(queue_discipline=kind, **asked)
        for words, kinds, asked in (
            ("a fast one's own queue", DISCIPLINES, {"rate_bps": 1e12}),
            ("1 TiB", DISCIPLINES, {"rate_bps": 20e6, "queue_bytes": 1 << 40}),
            ("most packets", ("red",), {"rate_bps": 20e6, "queue_packets": 10**9}),
            ("5 s at 40 Gbit/s", ("red",), {"rate_bps": 40e9, "queue_s": 5.0}),
            ("10 MB", ("red",), {"rate_bps": 500e6, "queue_bytes": 10_000_000}),
        )
        for kind in kinds
    },
    "duplicate": LinkSpec(duplicate_ratio=0.02),
    "corrupt": LinkSpec(corrupt_ratio=0.02),
    "reorder": LinkSpec(delay_s=0.02, reorder_ratio=0.1, reorder_correlation=0.3),
    "slots": LinkSpec(slot_s=(0.004, 0.006), slot_bytes=15_000),
    "slots of 1 TiB": LinkSpec(slot_s=(0.004, 0.006), slot_bytes=1 << 40),
    "down": LinkSpec(up=False),
    "much": LinkSpec(
        delay_s=0.02, jitter_s=0.002, loss_ratio=0.005, rate_bps=20e6, queue_s=0.05,
        duplicate_ratio=0.001,
    ),
}  # fmt: skip


def same(one: LinkSpec, other: LinkSpec) -> bool:
    """Whether two specs ask for the same, up to what a kernel's integers can say."""
    for field in fields(LinkSpec):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, float | int) and isinstance(right, float | int):
            if left != pytest.approx(right, rel=1e-4, abs=1e-8):
                return False
        elif left != right:
            return False
    return True


def random_spec(chance: random.Random) -> LinkSpec:
    """Some properties of each kind, values at random."""
    delay_s = chance.choice((None, chance.uniform(0.001, 0.3)))
    jitter_s = chance.choice((None, delay_s * chance.random())) if delay_s else None
    return LinkSpec(
        delay_s=delay_s,
        jitter_s=jitter_s,
        loss_ratio=chance.choice((None, chance.random())),
        rate_bps=chance.choice((None, float(chance.randint(10_000, 500_000_000)))),
        duplicate_ratio=chance.choice((None, None, chance.random())),
        up=chance.choice((None, None, None, False)),
    )


@pytest.mark.netns
class LinkSettings:
    """What is asked is in force, and nothing else is."""

    def test_the_driver_says_that_it_is_usable_and_on_what_it_rests(self, bench: Bench):
        facts = bench.driver.probe()
        assert facts.usable, facts.detail
        assert facts.detail

    def test_a_new_link_has_no_properties(self, bench: Bench):
        link = bench.make_link()
        assert bench.driver.read([link.there, link.back]) == {
            link.there: LinkSpec(),
            link.back: LinkSpec(),
        }

    @pytest.mark.parametrize("name", EVERYTHING)
    def test_a_property_is_read_back_as_asked_or_refused(self, bench: Bench, name: str):
        link, asked = bench.make_link(), EVERYTHING[name]
        bench.apply(link.there, LinkSpec(delay_s=0.001))
        refused = bench.driver.refusals(asked)
        outcome = bench.driver.apply({link.there: asked})[link.there]
        if refused:
            assert outcome.applied is None
            assert outcome.error is not None
            assert set(refused) <= {f.name for f in fields(LinkSpec)}
            assert bench.read(link.there) == LinkSpec(delay_s=0.001)
            return
        assert outcome.error is None, outcome.error
        assert outcome.applied is not None
        assert same(outcome.applied, asked), outcome.applied
        assert same(bench.read(link.there), asked), bench.read(link.there)

    def test_asking_again_changes_nothing(self, bench: Bench):
        link = bench.make_link()
        asked = LinkSpec(delay_s=0.02, loss_ratio=0.1, rate_bps=1e6)
        first = bench.driver.apply({link.there: asked})[link.there]
        again = bench.driver.apply({link.there: asked})[link.there]
        assert again == first

    def test_what_is_asked_replaces_what_was_asked_before(self, bench: Bench):
        link = bench.make_link()
        bench.apply(link.there, LinkSpec(delay_s=0.02, loss_ratio=0.1, duplicate_ratio=0.1))
        bench.apply(link.there, LinkSpec(delay_s=0.03, rate_bps=1e6))
        assert same(bench.read(link.there), LinkSpec(delay_s=0.03, rate_bps=1e6))
        bench.apply(link.there, LinkSpec())
        assert bench.read(link.there) == LinkSpec()

    def test_other_directions_stay_as_they_are(self, bench: Bench):
        one, other = bench.make_link(), bench.make_link()
        bench.apply(one.there, LinkSpec(delay_s=0.02))
        bench.apply(one.back, LinkSpec(delay_s=0.03))
        bench.apply(other.there, LinkSpec(delay_s=0.04))
        bench.apply(one.there, LinkSpec(loss_ratio=0.5))
        assert same(bench.read(one.there), LinkSpec(loss_ratio=0.5))
        assert same(bench.read(one.back), LinkSpec(delay_s=0.03))
        assert same(bench.read(other.there), LinkSpec(delay_s=0.04))
        assert bench.read(other.back) == LinkSpec()

    def test_many_directions_at_once_have_their_own(self, bench: Bench):
        links = [bench.make_link() for _ in range(5)]
        asked = {
            direction: LinkSpec(delay_s=0.001 * number)
            for number, direction in enumerate(
                itertools.chain.from_iterable((link.there, link.back) for link in links), 1
            )
        }
        outcomes = bench.driver.apply(asked)
        assert set(outcomes) == set(asked)
        assert not [str(o.error) for o in outcomes.values() if o.error]
        found = bench.driver.read(asked)
        assert all(same(found[direction], spec) for direction, spec in asked.items())

    def test_one_that_cannot_be_had_fails_alone_and_says_where(self, bench: Bench):
        link = bench.make_link()
        for gone in (
            replace(link.there, source_netns="no-such-netns", link="gone"),
            replace(link.there, device="no-such-dev", link="gone"),
        ):
            asked = {gone: LinkSpec(delay_s=0.01), link.there: LinkSpec(delay_s=0.02)}
            outcomes = bench.driver.apply(asked)
            assert outcomes[gone].applied is None
            assert "gone" in str(outcomes[gone].error)
            assert outcomes[link.there].error is None
            assert same(bench.read(link.there), LinkSpec(delay_s=0.02))
            assert bench.driver.read([gone]) == {gone: LinkSpec()}
            assert gone not in bench.driver.counters([gone])

    def test_a_mesh_that_is_forgotten_leaves_nothing_of_it_but_what_is_kept(self, bench: Bench):
        kept, gone, other = bench.make_link(), bench.make_link(), bench.make_link(mesh="other")
        for link in (kept, gone, other):
            bench.apply(link.there, LinkSpec(delay_s=0.02))
        bench.driver.forget("mesh", keep=[kept.there, kept.back])
        assert same(bench.read(kept.there), LinkSpec(delay_s=0.02))
        assert same(bench.read(other.there), LinkSpec(delay_s=0.02))
        bench.driver.forget("mesh")
        bench.driver.forget("mesh")
        assert same(bench.read(other.there), LinkSpec(delay_s=0.02))
        bench.remove(gone)
        assert bench.read(gone.there) == LinkSpec()

    @pytest.mark.slow
    def test_ten_thousand_random_changes_end_in_what_was_asked_last(self, bench: Bench):
        link, chance = bench.make_link(), random.Random(5)
        asked: dict[Direction, LinkSpec] = {}
        for _ in range(10_000):
            direction = chance.choice((link.there, link.back))
            asked[direction] = random_spec(chance)
            outcome = bench.driver.apply({direction: asked[direction]})[direction]
            assert outcome.error is None, (asked[direction], outcome.error)
        for direction, spec in asked.items():
            assert same(bench.read(direction), spec)

    def test_threads_may_ask_at_the_same_time(self, bench: Bench):
        links = [bench.make_link() for _ in range(4)]

        def ask(number: int) -> Callable[[], None]:
            def work() -> None:
                for step in range(20):
                    bench.apply(links[number].there, LinkSpec(delay_s=0.001 * (step + 1 + number)))

            return work

        bench.at_once([ask(number) for number in range(4)])
        for number, link in enumerate(links):
            assert same(bench.read(link.there), LinkSpec(delay_s=0.001 * (20 + number)))
