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


IN_KERNEL = Health(pid=7, in_kernel=True, packets=100, moments=200)


@pytest.mark.parametrize(
    ("late", "packets", "found"),
    [(9, 50, []), (10, 50, ["late"]), (150, 50, ["late"]), (150, 0, [])],
)
def test_a_kernel_is_late_with_packets_where_there_are_any(late, packets, found):
    before = replace(BEFORE, health=IN_KERNEL)
    more = {"moments": 400, "late_moments": late, "packets": 100 + packets, "worst_s": 0.04}
    now = replace(before, at_s=105.0, health=replace(IN_KERNEL, **more))
    assert causes(now, before) == found
    for doubt in doubts(before, now):
        assert f"more than 3 ms late, {late / 200:.0%} of the time (40 ms at worst)" in doubt.text


@pytest.mark.parametrize(
    ("made", "late", "found"), [(5000, 49, False), (5000, 50, True), (12, 9, False), (12, 10, True)]
)
def test_changes_that_come_late_make_links_others_than_asked(made, late, found):
    before = replace(BEFORE, changes=700, late_changes=30, health=None)
    now = replace(before, at_s=105.0, changes=700 + made, late_changes=30 + late)
    assert causes(now, before) == ["changes"] * found
    fresh = replace(before, at_s=105.0, changes=20, late_changes=15)  # its timeline was reset
    assert "75.0% of 20 changes" in doubts(before, fresh)[0].text


def test_a_crowd_is_told_where_something_was_wrong():
    slow = replace(after(packets=1000, late=900), crowded_s=4.0)
    assert "processes waited for a processor 80% of it" in doubts(BEFORE, slow)[0].text
    assert causes(replace(after(), crowded_s=4.0)) == []


def test_causes_add_up_over_the_run():
    one = Doubt(cause="late", text="a", since=1.0, until=6.0, seconds=5.0)
    two = Doubt(cause="late", text="b", since=11.0, until=16.0, seconds=5.0)
    gap = Doubt(cause="gap", text="c", since=20.0, until=21.0, seconds=1.0)
    found = merged(merged((), [one]), [two, gap])
    assert found == (Doubt(cause="late", text="b", since=1.0, until=16.0, seconds=10.0), gap)
