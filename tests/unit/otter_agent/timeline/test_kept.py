"""When the epoch was: kept over pauses, the agent's lives, reboots and steps of the wall clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from otter_agent.links.leases import Moment
from otter_agent.timeline.kept import Kept, decode, encode

START = Moment(boot="a", boot_s=1000.0, wall_s=1.7e9)


def test_the_epoch_is_when_all_are_ready_and_only_the_first_time():
    kept = Kept().all_ready(START)
    assert (kept.state, kept.position(START)) == ("running", 0.0)
    later = START.after(5.0)
    assert kept.all_ready(later) is kept
    assert kept.position(later) == 5.0


def test_a_pause_stands_still_and_is_left_out():
    kept = Kept().all_ready(START).ordered("pause", START.after(5.0))
    assert kept.state == "paused"
    assert kept.position(START.after(60.0)) == 5.0
    assert kept.ordered("pause", START.after(70.0)) is kept
    kept = kept.ordered("start", START.after(100.0))
    assert kept.position(START.after(103.0)) == 8.0
    assert kept.ordered("start", START.after(104.0)) is kept


def test_a_reset_holds_at_zero_whatever_gets_ready():
    kept = Kept().all_ready(START).ordered("reset", START.after(5.0))
    assert (kept.state, kept.begun, kept.position(START.after(9.0))) == ("held", False, 0.0)
    assert kept.all_ready(START.after(9.0)) is kept
    assert kept.ordered("pause", START.after(9.0)) is kept
    started = kept.ordered("start", START.after(10.0))
    assert (started.state, started.position(START.after(12.0))) == ("running", 2.0)


def test_what_is_paused_before_its_epoch_does_not_start_by_itself():
    kept = Kept().ordered("pause", START)
    assert kept.all_ready(START.after(1.0)).state == "held"


def test_nothing_holds_before_an_epoch_that_is_to_come():
    kept = Kept().all_ready(START.after(0.5))
    assert (kept.state, kept.begun, kept.holds(START)) == ("running", True, False)
    assert (kept.position(START), kept.reached(START)) == (0.0, -0.5)
    assert kept.holds(START.after(0.5))
    assert kept.position(START.after(2.0)) == 1.5
    assert kept.ordered("pause", START).state == "held"
    assert kept.ordered("pause", START.after(0.6)).state == "paused"


def test_what_goes_on_in_a_moment_stays_where_it_is_until_then():
    kept = Kept().all_ready(START).ordered("pause", START.after(0.2))
    kept = kept.ordered("start", START.after(10.5))
    assert kept.holds(START.after(10.0))
    assert kept.position(START.after(10.0)) == pytest.approx(0.2)
    assert kept.reached(START.after(10.0)) == pytest.approx(-0.3)
    assert kept.position(START.after(11.5)) == pytest.approx(1.2)


def test_start_does_not_wait_for_modules():
    assert Kept().ordered("start", START).position(START.after(1.0)) == 1.0


@pytest.mark.parametrize("step_s", [-86_400.0, 3600.0])
def test_steps_of_the_wall_clock_move_nothing(step_s):
    kept = Kept().all_ready(START)
    now = replace(START.after(5.0), wall_s=START.wall_s + 5.0 + step_s)
    assert kept.position(now) == 5.0


def test_after_a_reboot_the_wall_clock_tells_once():
    kept = Kept().all_ready(START)
    rebooted = Moment(boot="b", boot_s=7.0, wall_s=START.wall_s + 90.0)
    assert kept.position(rebooted) == 90.0
    anchored = kept.anchored(rebooted)
    stepped = Moment(boot="b", boot_s=8.0, wall_s=5.0)
    assert anchored.position(stepped) == 91.0
    assert anchored.anchored(stepped) is anchored


def test_a_wall_clock_that_went_back_over_a_reboot_gives_no_negative_position():
    assert Kept().all_ready(START).position(Moment(boot="b", boot_s=1.0, wall_s=0.0)) == 0.0


def test_it_is_kept_whole():
    for kept in (Kept(), Kept().all_ready(START), Kept(state="paused", position_s=3.5)):
        assert decode(encode(kept)) == kept
    assert decode(None) == Kept()
