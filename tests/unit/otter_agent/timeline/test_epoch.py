"""The epoch lies so far ahead that whoever changes links has been told of what is due at it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers.timeline_world import BACK, BASE, FORTH, World, event, spec, until

from net.links.spec import LinkSpec
from otter_agent.links import clock
from otter_agent.links.planning import PlanningThread
from otter_agent.timeline import ahead


@pytest.fixture(autouse=True, params=[False, True], ids=["when it is due", "ahead"])
def plans(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """All of it holds for both ways of making changes."""
    monkeypatch.setattr(World, "plans", request.param)
    return bool(request.param)


@pytest.mark.slow
async def test_what_is_due_at_the_epoch_is_told_before_it(tmp_path, plans, monkeypatch):
    monkeypatch.setattr(ahead, "_LEAD_S", 1.0)  # so long no thread is kept waiting
    world = World(tmp_path)
    async with world.playing(spec(event(0.0, rate_bps=1e6))) as player:
        player.all_ready()
        if plans:
            await until(lambda: set(world.links.planned()) == {FORTH, BACK})
            assert player.status().epoch > clock.now().wall_s
            assert (player.position(), world.in_force()) == (None, BASE)
            assert [c.at_s for c in await player.upcoming(5)] == [0.0, 0.0]
        await until(lambda: world.in_force() == replace(BASE, rate_bps=1e6))
        await until(lambda: len(player.record.last) == 2)
        assert player.position() is not None
        if plans:
            assert [(c.at_s, c.applied_s >= 0) for c in player.record.last] == [(0.0, True)] * 2


@pytest.mark.parametrize("order", ["pause", "reset"])
async def test_what_was_told_before_an_epoch_that_does_not_come_is_taken_back(
    tmp_path, plans, order
):
    world = World(tmp_path)
    async with world.playing(spec(event(0.0, rate_bps=1e6))) as player:
        player.order("start", at=clock.now().wall_s + 60.0)
        await until(lambda: world.links.planned() == ({FORTH, BACK} if plans else set()))
        player.order(order)
        await until(lambda: not world.links.planned())
        assert (player.status().state, world.in_force()) == ("held", BASE)
        assert list(player.record.last) == []


async def test_another_topology_before_the_epoch_holds_from_it_on(tmp_path, plans):
    world = World(tmp_path)
    async with world.playing(spec(event(0.0, rate_bps=1e6))) as player:
        player.order("start", at=clock.now().wall_s + 60.0)
        await until(lambda: world.links.planned() == ({FORTH, BACK} if plans else set()))
        player.take(spec(event(30.0, rate_bps=2e6)))
        await until(lambda: not world.links.planned())
        world.skew_s = 100.0
        player._news.set()  # the clock leapt, which no loop notices
        await until(lambda: world.in_force() == replace(BASE, rate_bps=2e6))


async def test_whoever_starts_it_is_told_how_long_before_the_epoch_that_has_to_be_known(
    tmp_path, plans
):
    class Starting(PlanningThread):
        ready = False

    leads = []
    for number in range(2):
        (folder := tmp_path / str(number)).mkdir()
        world = World(folder)
        if plans and number:
            world.driver._planner = Starting(world.driver)
        async with world.playing(spec(event(0.0, rate_bps=1e6))) as player:
            leads.append(player.status().lead_s)
            player.order("start")
            assert player.status().lead_s == 0.0
    assert (0 < leads[0] < leads[1]) if plans else leads == [0.0, 0.0]


@pytest.mark.slow
async def test_what_goes_on_in_a_moment_is_as_it_was_until_then(tmp_path):
    world = World(tmp_path)
    async with world.playing(spec(event(0.0, rate_bps=1e6), event(50.0, up=False))) as player:
        player.order("start")
        await until(lambda: world.in_force() == replace(BASE, rate_bps=1e6))
        player.order("pause")
        seen: list[LinkSpec] = []
        apply = world.driver.apply

        def noting(asked: Any) -> Any:
            seen.extend(asked.values())
            return apply(asked)

        world.driver.apply = noting  # type: ignore[method-assign]
        player.order("start", at=clock.now().wall_s + 60.0)
        world.skew_s = 30.0
        assert (player.status().state, player.position() < 10) == ("running", True)
        world.skew_s = 120.0
        player._news.set()  # the clock leapt, which no loop notices
        await until(lambda: seen and seen[-1].up is False)
        assert {s.rate_bps for s in seen} == {1e6}
