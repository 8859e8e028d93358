"""What the benchmark of placement asks for can be placed, with little trying."""

from __future__ import annotations

import pytest

from benchmarks import placement
from otter_ctl.placing import place, total_s
from otter_ctl.placing.rules import Group
from otter_ctl.placing.seating import Seating


@pytest.mark.slow
def test_a_hundred_modules_on_fifty_hosts_are_placed_without_trying_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Most of the time goes into trying rooms: some 72,000 in the second that is the goal."""
    tried, talk_s = 0, Seating.talk_s

    def counting(seating: Seating, group: Group, room: str) -> float:
        nonlocal tried
        tried += 1
        return talk_s(seating, group, room)

    monkeypatch.setattr(Seating, "talk_s", counting)
    asked = placement.mesh(0, placement.HOSTS, placement.MODULES)
    assert len(asked.flows) > placement.MODULES
    seats = place(asked)
    assert placement.MODULES < tried < 150_000
    assert len(seats) == placement.MODULES
    anyhow = {name: f"h{n % placement.HOSTS}" for n, name in enumerate(seats)}
    assert total_s(asked, seats) < total_s(asked, anyhow) / 2


def test_the_same_mesh_is_asked_for_in_every_run() -> None:
    one, other = (placement.mesh(7, 6, 10) for _ in range(2))
    assert (one.rooms, one.items, one.flows) == (other.rooms, other.items, other.flows)
    assert one.cross_s("h1", "h4", 1000) == other.cross_s("h1", "h4", 1000) > 0
