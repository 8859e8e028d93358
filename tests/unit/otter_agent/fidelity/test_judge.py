"""What two samples tell of the time between them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otter_agent.api import Doubt
from otter_agent.fidelity.judge import LEAST, Sample, doubts, merged
from otter_agent.links.base import Health

HEALTH = Health(pid=7, packets=50_000, late=400, overruns=30, moments=900, late_moments=40)
BEFORE = Sample(at_s=100.0, wall_s=1000.0, health=HEALTH, cores=2)


def after(**counts: float) -> Sample:
    """Five seconds later, with so much more counted."""
    more = {name: getattr(HEALTH, name) + count for name, count in counts.items()}
    return replace(BEFORE, at_s=105.0, wall_s=1005.0, health=replace(HEALTH, **more))


def causes(sample: Sample, before: Sample = BEFORE) -> list[str]:
    return [doubt.cause for doubt in doubts(before, sample)]


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {"packets": 10_000, "late": 99, "moments": 250, "late_moments": 12, "overruns": 9},
        {"packets": 3, "late": LEAST - 1},  # too few to tell
        {"packets": 100_000, "overruns": 99},
        {"moments": 10, "late_moments": 9},
    ],
)
def test_what_a_good_machine_has_now_and_then_is_no_doubt(counts):
    assert causes(after(**counts)) == []


@pytest.mark.parametrize(
    ("counts", "cause", "text"),
    [
        ({"packets": 1000, "late": 20}, "late", "2.0% of 1,000 packets"),
        ({"moments": 250, "late_moments": 50}, "waiting", "20% of the time (40 ms at worst)"),
        ({"packets": 9000, "overruns": 1000}, "overrun", "1,000 packets (10.0%)"),
        ({"no_room": 1}, "room", "1 packets were dropped for want of memory"),
    ],
)
def test_each_cause_is_told_with_how_much(counts, cause, text):
    found = doubts(BEFORE, after(**counts, worst_s=0.04))
    assert [doubt.cause for doubt in found] == [cause]
    assert text in found[0].text
    assert (found[0].since, found[0].until, found[0].seconds) == (1000.0, 1005.0, 5.0)


def test_what_kept_the_machine_from_it_is_told_where_the_kernel_knows():
    slow = replace(after(packets=1000, late=900), stolen_s=3.0, throttled_s=4.0)
    text = doubts(BEFORE, slow)[0].text
    assert "a quota kept the links' process from running 80% of it" in text
    assert "30% of this machine's processor time went to other machines" in text
    assert causes(replace(after(), stolen_s=9.0, throttled_s=9.0)) == []  # and nobody felt it


def test_another_process_or_other_links_count_from_zero():
    fresh = Sample(at_s=105.0, wall_s=1005.0, health=Health(pid=8, packets=1000, late=20))
    assert causes(fresh) == ["late"]
    fewer = replace(BEFORE, at_s=105.0, health=Health(pid=7, packets=1000, late=20))
    assert causes(fewer) == ["late"]  # links that went took their counts with them


def test_where_nothing_is_carried_nothing_is_late():
    nobody = Sample(at_s=105.0, wall_s=1005.0, health=None)
    assert causes(nobody) == []
    assert causes(after(packets=10, late=10), replace(BEFORE, health=None)) == []


def test_causes_add_up_over_the_run():
    one = Doubt(cause="late", text="a", since=1.0, until=6.0, seconds=5.0)
    two = Doubt(cause="late", text="b", since=11.0, until=16.0, seconds=5.0)
    gap = Doubt(cause="gap", text="c", since=20.0, until=21.0, seconds=1.0)
    found = merged(merged((), [one]), [two, gap])
    assert found == (Doubt(cause="late", text="b", since=1.0, until=16.0, seconds=10.0), gap)
