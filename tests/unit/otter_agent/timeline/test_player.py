"""The player: what is due comes into force in order, and it goes on wherever it was interrupted.

The links are the agent's own, with the fake driver; time is real and short.
"""

from __future__ import annotations

import asyncio
import csv
import time
from array import array
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from helpers.timeline_world import BACK, BASE, FORTH, Unhurried, World, event, spec, until

from net.links.spec import LinkSpec
from net.links.traces.trace import Trace
from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.links import clock
from otter_agent.links.asking import resolve
from otter_agent.links.planner import Part, Plan
from otter_agent.links.planning import PlanningThread
from otter_agent.timeline import ahead
from otter_agent.timeline.happenings import Happenings
from otter_agent.timeline.player import Player
from otter_agent.timeline.record import COLUMNS


@pytest.fixture(autouse=True, params=[False, True], ids=["when it is due", "ahead"])
def plans(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """All of it holds for both ways of making changes."""
    monkeypatch.setattr(World, "plans", request.param)
    return bool(request.param)


def made(player: Player) -> list[tuple[float, str, dict[str, Any]]]:
    return [(c.at_s, c.source, c.change) for c in player.record.last]


async def settled(player: Player) -> None:
    """Until all that it was told so far is in force: only then it takes in the second news."""
    for _ in range(2):
        player._news.set()
        await until(lambda: not player._news.is_set())


class OneByOne(Plan):
    """However long its thread stood still, what was due meanwhile is made in turn."""

    def due(self, now: float, most: int = 1 << 30) -> Any:
        return super().due(min(now, self.next_s), most)


@pytest.mark.slow
async def test_nothing_happens_before_the_epoch(tmp_path):
    world = World(tmp_path)
    async with world.playing(spec(event(0.0, rate_bps=1e6))) as player:
        assert world.in_force() == BASE
        assert player.status().state == "waiting"
        assert [c.at_s for c in await player.upcoming(5)] == [0.0, 0.0]
        player.all_ready()
        await until(lambda: world.in_force() == replace(BASE, rate_bps=1e6))
        assert world.in_force(BACK) == replace(BASE, rate_bps=1e6)
        assert player.status().state == "running"
        assert player.status().epoch is not None


@pytest.mark.slow
async def test_changes_come_in_order_and_are_noted(tmp_path, plans, monkeypatch):
    world = World(tmp_path)
    if plans:
        step, planner = 0.2, PlanningThread(world.driver)
        planner._plan, world.driver._planner = OneByOne(), planner
        monkeypatch.setattr(ahead, "_LEAD_S", 1.0)  # so long no thread is kept waiting
    else:
        world.now, step = Unhurried(0.003), 0.02  # four looks at it are less than a step
    mesh = spec(
        event(step, rate_bps=1e6, for_s=3 * step),
        event(2 * step, loss_ratio=0.5),
        event(3 * step, reset=True),
    )
    async with world.playing(mesh) as player:
        player.all_ready()
        await until(lambda: len(player.record.last) >= 6)
        forth = [(at, change) for at, source, change in made(player) if source == "phone"]
        assert forth == [
            (step, {"rate_bps": 1e6}),
            (2 * step, {"rate_bps": 1e6, "loss_ratio": 0.5}),
            (3 * step, {}),
        ]
        assert all(c.applied_s is not None and c.applied_s >= c.at_s for c in player.record.last)
        assert world.in_force() == BASE
        assert await player.upcoming(5) == ()
        links = [said[1:3] for said in world.told if said[0] == "link"]
        assert links == [
            ("radio", "timeline: {'rate_bps': 1000000.0}"),
            ("radio", "timeline: {'loss_ratio': 0.5}"),
            ("radio", "timeline: {}"),
        ]
    rows = list(csv.reader((tmp_path / "timeline.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert {(row[1], row[4]) for row in rows[1:3]} == {
        (f"{step:.6f}", "phone"),
        (f"{step:.6f}", "edge"),
    }


@pytest.mark.slow
async def test_a_trace_plays_one_way(tmp_path):
    world = World(tmp_path)
    trace = Trace(
        array("d", [0.0, 0.02]), {"rate_bps": array("d", [8e6, 9e6]), "up": array("d", [1, 0])}, 1.0
    )
    use = api.TraceUse(link="radio", way="forward", name="t", blob=world.upload(trace), loop=False)
    async with world.playing(spec(traces=(use,))) as player:
        player.all_ready()
        await until(lambda: world.in_force() == replace(BASE, rate_bps=9e6, up=False))
        assert world.in_force(BACK) == BASE


@pytest.mark.slow
async def test_a_killed_agent_goes_on_where_it_would_be(tmp_path):
    world = World(tmp_path)
    mesh = spec(event(0.0, rate_bps=1e6), event(100.0, rate_bps=2e6), event(200.0, rate_bps=3e6))
    async with world.playing(mesh) as player:
        player.all_ready()
        await until(lambda: world.in_force() == replace(BASE, rate_bps=1e6))
    # nothing was said to anybody: what is left is the database, and time goes by
    again = World(tmp_path)
    again.skew_s = 150.0
    again.driver = world.driver
    seen: list[LinkSpec] = []
    apply = again.driver.apply

    def noting(asked: Any) -> Any:
        seen.extend(s for d, s in asked.items() if d.source == "phone")
        return apply(asked)

    again.driver.apply = noting  # type: ignore[method-assign]
    async with again.playing(mesh) as player:
        await until(lambda: again.in_force() == replace(BASE, rate_bps=2e6))
        assert player.status().state == "running"
        assert 150 <= player.status().position_s < 200
        # not for a moment was it what the topology says without the timeline
        assert {s.rate_bps for s in seen} == {2e6}
        assert any("goes on at 15" in said[2] for said in again.told)


@pytest.mark.slow
async def test_pause_start_and_reset(tmp_path):
    world = World(tmp_path)
    async with world.playing(spec(event(0.0, rate_bps=1e6), event(50.0, rate_bps=2e6))) as player:
        player.order("start", "ada")
        await until(lambda: world.in_force() == replace(BASE, rate_bps=1e6))
        player.order("pause")
        world.skew_s = 60.0
        status = player.status()
        assert (status.state, status.position_s < 50) == ("paused", True)
        assert [c.at_s for c in await player.upcoming(5)] == [50.0, 50.0]
        assert world.in_force() == replace(BASE, rate_bps=1e6)
        player.order("start")
        world.skew_s = 120.0
        player.order("start")  # it runs: nothing changes
        player._news.set()  # the clock leapt, which no loop notices
        await until(lambda: world.in_force() == replace(BASE, rate_bps=2e6))
        player.order("reset")
        await until(lambda: world.in_force() == BASE)
        player.all_ready()
        assert player.status().state == "held"
        assert player.status().lateness.changes == 0
        said = [(said[0], *said[2:4]) for said in world.told if said[0] == "timeline"]
        assert said[0] == ("timeline", "at 0.000 s: start was asked for by ada", "running")
        assert [state for *_, state in said] == ["running", "paused", "running", "held"]


@pytest.mark.slow
async def test_a_step_of_the_wall_clock_is_no_leap(tmp_path):
    world = World(tmp_path)
    world.now = lambda: replace(clock.now(), wall_s=clock.now().wall_s + world.skew_s)
    async with world.playing(spec(event(0.0, rate_bps=1e6), event(100.0, up=False))) as player:
        player.all_ready()
        await until(lambda: world.in_force() == replace(BASE, rate_bps=1e6))
        world.skew_s = 3600.0
        player._news.set()
        assert player.status().position_s < 100
        assert world.in_force() == replace(BASE, rate_bps=1e6)


@pytest.mark.slow
async def test_another_topology_keeps_the_epoch(tmp_path):
    world = World(tmp_path)
    async with world.playing(spec(event(0.0, rate_bps=1e6))) as player:
        player.all_ready()
        epoch = player.status().epoch
        await until(lambda: world.in_force() == replace(BASE, rate_bps=1e6))
        world.skew_s = 30.0
        other = spec(event(10.0, loss_ratio=0.5), event(99.0, up=False))
        world.links.take(other)
        player.take(other)
        await until(lambda: world.in_force() == replace(BASE, loss_ratio=0.5))
        assert player.status().epoch == epoch or abs(player.status().epoch - epoch) < 1
        world.links.take(spec())
        player.take(spec())
        await until(lambda: world.in_force() == BASE)


@pytest.mark.slow
async def test_a_trace_that_is_spoilt_is_told_and_the_rest_plays(tmp_path):
    world = World(tmp_path)
    world.blobs["a" * 64] = b"no trace"
    uses = (
        api.TraceUse(link="radio", way="forward", name="bad.csv", blob="a" * 64),
        api.TraceUse(link="radio", way="reverse", name="gone.csv", blob="b" * 64),
    )
    async with world.playing(spec(event(0.0, rate_bps=1e6), traces=uses)) as player:
        player.all_ready()
        await until(lambda: world.in_force() == replace(BASE, rate_bps=1e6))
        problem = player.status().problem
        assert "trace bad.csv of link radio can't be played: not a trace" in problem
        assert "gone.csv" in problem
        assert ("timeline", "m", problem, "failed") in world.told


@pytest.mark.slow
async def test_what_the_driver_refuses_is_noted_as_failed(tmp_path):
    world = World(tmp_path)
    async with world.playing(spec(event(0.0, rate_bps=1e6))) as player:
        world.driver.fails["radio"] = "it is broken"
        player.all_ready()
        await until(lambda: player.status().lateness.failed == 2)
        assert all("it is broken" in c.error for c in player.record.last)
        assert all(c.applied_s is None for c in player.record.last)


@pytest.mark.slow
async def test_a_host_that_can_t_be_limited_is_noted_as_failed(tmp_path):
    world = World(tmp_path)
    slow = api.TimelineEvent(at_s=0.0, hosts=("edge",), change={"cpu": 0.5}, text="edge: cpu 0.5")
    async with world.playing(spec(slow, event(0.0, rate_bps=1e6))) as player:
        player.all_ready()
        await until(lambda: player.status().lateness.changes == 3)
        (failed,) = [c for c in player.record.last if c.error]
        assert (failed.host, failed.change, failed.link) == ("edge", {"cpu": 0.5}, "")
        assert "no cgroups" in failed.error
        assert world.in_force() == replace(BASE, rate_bps=1e6)
        await until(lambda: any(said[0] == "host" for said in world.told))


async def test_an_order_that_can_t_be_kept_is_refused(tmp_path, monkeypatch):
    world = World(tmp_path)

    def full(mesh: str, kept: bytes) -> None:
        raise AgentError("failed", "the disk is full")

    async with world.playing(spec(event(0.0, rate_bps=1e6))) as player:
        monkeypatch.setattr(world.state, "put_timeline", full)
        with suppress(AgentError):
            player.order("start")
        assert player.status().state == "waiting"
        player.all_ready()  # what nobody asked for goes on, in memory
        assert player.status().state == "running"


@pytest.mark.slow
async def test_a_thousand_directions_change_together(tmp_path):
    world = World(tmp_path)
    links = tuple(
        api.Link(name=f"l{n}", a="phone", b="edge", forward=BASE, reverse=BASE) for n in range(500)
    )
    every = api.TimelineEvent(at_s=0.01, both=tuple(x.name for x in links), change={"up": False})
    every = msgspec.structs.replace(every, text="all: down")
    mesh = msgspec.structs.replace(spec(every), links=links)
    async with world.playing(mesh) as player:
        player.all_ready()
        await until(lambda: player.status().lateness.changes == 1000)
        assert all(s.up is False for s in world.driver.done.values())
        assert len(player.status(last=1000).last) == 1000


@pytest.mark.slow
async def test_what_changes_more_often_than_it_can_be_made_leaves_the_agent_alive(tmp_path):
    world = World(tmp_path)
    fast = event(0.0, up=False, for_s=0.001, every_s=0.002)
    async with world.playing(spec(fast)) as player:
        player.all_ready()
        await until(lambda: player.status().lateness.passed > 10)
        world.skew_s = 1e6  # as if it had slept for days
        await until(lambda: player.record.last and player.record.last[-1].at_s > 1e6 - 1)
        assert player.status().lateness.failed == 0


@pytest.mark.slow
async def test_what_is_paused_stays_as_it_was_then(tmp_path):
    """What was told ahead is taken back."""
    world = World(tmp_path)
    fast = [event(0.0, rate_bps=1e6, every_s=0.01), event(0.005, rate_bps=2e6, every_s=0.01)]
    async with world.playing(spec(*fast)) as player:
        player.all_ready()
        await until(lambda: player.status().lateness.changes > 20)
        player.order("pause")
        await settled(player)
        assert not world.links.planned()
        held, changes = world.in_force(), player.status().lateness.changes
        reached_s = player.record.last[-1].at_s
        world.skew_s = 1.0
        await settled(player)
        assert world.in_force() == held
        # Word of what was in force before the pause may still come, but of nothing in that second.
        assert player.record.last[-1].at_s < reached_s + 0.5
        player.order("start")
        await until(lambda: player.status().lateness.changes > changes + 20)


@pytest.mark.slow
async def test_what_is_changed_by_hand_stays_while_the_timeline_goes_on(tmp_path):
    world = World(tmp_path)
    fast = [event(0.0, rate_bps=1e6, every_s=0.02), event(0.01, rate_bps=2e6, every_s=0.02)]
    async with world.playing(spec(*fast)) as player:
        player.all_ready()
        await until(lambda: player.status().lateness.changes > 4)
        asked = resolve([api.LinkChange(link="radio", set={"loss_ratio": 0.5})], (FORTH,), "m")
        seen: list[LinkSpec] = []
        apply = world.driver.apply

        def noting(asked: Any) -> Any:
            done = apply(asked)
            seen.extend(s for d, s in asked.items() if d.source == "phone")
            return done

        await world.links.shape(asked)
        world.driver.apply = noting  # type: ignore[method-assign]
        await until(lambda: {s.rate_bps for s in seen} == {1e6, 2e6})
        assert {s.loss_ratio for s in seen} == {0.5}
        assert {s.delay_s for s in seen} == {BASE.delay_s}


@pytest.mark.slow
async def test_what_was_told_ahead_and_is_lost_is_asked_for_again(tmp_path, plans):
    """The one that was told has ended, and another has taken its place."""
    world = World(tmp_path)

    class Forgetful(PlanningThread):
        def play(self, mesh: str, parts: Any) -> Any:
            return super().play(mesh, {d: Part(p.now) for d, p in parts.items()})

    if plans:
        world.driver._planner = Forgetful(world.driver)
    async with world.playing(spec(event(0.1, rate_bps=1e6))) as player:
        player.all_ready()
        await until(lambda: world.in_force() == replace(BASE, rate_bps=1e6))
        await until(lambda: player.status().lateness.changes == 2)
        assert player.status().lateness.failed == 0


@pytest.mark.slow
async def test_devices_that_are_made_meanwhile_lose_nothing_of_what_is_to_come(tmp_path):
    world = World(tmp_path)
    async with world.playing(spec(event(0.5, rate_bps=1e6))) as player:
        player.all_ready()
        await until(lambda: world.plans == bool(world.links.planned()))
        world.links.kinds()
        await asyncio.to_thread(world.links.devices_are_there)
        assert world.in_force() == BASE or player.status().position_s >= 0.5
        await until(lambda: world.in_force() == replace(BASE, rate_bps=1e6))
        await until(lambda: player.status().lateness.changes == 2)


@pytest.mark.slow
async def test_a_thousand_events_a_millisecond_leave_the_loop_to_others(tmp_path):
    """They are passed over; before there was an end to it the loop did nothing else."""
    world = World(tmp_path)
    events = [event(n * 1e-6, delay_s=0.01 + n * 1e-6, every_s=0.001) for n in range(1000)]
    async with world.playing(spec(*events)) as player:
        player.all_ready()
        await until(lambda: player.status().lateness.changes > 4)
        begun, looks = time.thread_time(), 0

        def others_had_it() -> bool:
            nonlocal looks
            looks += 1
            return looks > 100

        await until(others_had_it)
        assert time.thread_time() - begun < 5.0  # 50 ms a look, most of which is the player's
        await until(lambda: player.status().lateness.passed > 10)


def test_events_are_told_once_a_second_at_most():
    fast = event(0.0, up=False, for_s=0.05, every_s=0.1, text="radio: down").timed(0)
    happenings = Happenings((fast,), -1.0)
    told = [h for n in range(300) for h in happenings.to(n / 100)]
    assert [(round(h.at_s, 3), h.kind) for h in told] == [
        (0.0, "changed"), (1.0, "changed"), (2.0, "changed"),
    ]  # fmt: skip
    assert told[1].text == "down (and 9 times since it was told last)"


@pytest.mark.slow
def test_a_day_of_an_event_is_told_some_hundred_times():
    fast = event(0.0, up=False, for_s=5.0, every_s=10.0, text="radio: down").timed(0)
    happenings = Happenings((fast,), -1.0)
    told = [h for second in range(86_400) for h in happenings.to(float(second))]
    assert len(told) < 500
    assert [h.at_s for h in told[:4]] == [0.0, 5.0, 10.0, 15.0]
