"""What the benchmark of placement asks for can be placed, in the time that is its goal."""

from __future__ import annotations

import time

import pytest

from benchmarks import placement
from otter_ctl.placing import place, total_s


@pytest.mark.slow
def test_a_hundred_modules_on_fifty_hosts_are_placed_in_a_second_or_two() -> None:
    """Of a processor's time, twice the goal: other tests run beside this one."""
    asked = placement.mesh(0, placement.HOSTS, placement.MODULES)
    assert len(asked.flows) > placement.MODULES
    start = time.process_time()
    seats = place(asked)
    assert time.process_time() - start < 2 * placement.GOAL_S
    assert len(seats) == placement.MODULES
    anyhow = {name: f"h{n % placement.HOSTS}" for n, name in enumerate(seats)}
    assert total_s(asked, seats) < total_s(asked, anyhow) / 2


def test_the_same_mesh_is_asked_for_in_every_run() -> None:
    one, other = (placement.mesh(7, 6, 10) for _ in range(2))
    assert (one.rooms, one.items, one.flows) == (other.rooms, other.items, other.flows)
    assert one.cross_s("h1", "h4", 1000) == other.cross_s("h1", "h4", 1000) > 0
