"""Asking many machines: how many at a time, what each is asked, whose turn it is."""

from __future__ import annotations

import asyncio

from otter_agent import api
from otter_ctl.clocks import QUESTIONS, TRIES, measure_all
from otter_ctl.many import each


async def test_no_more_at_once_than_was_said():
    now, most = 0, 0

    async def ask(name: str, agent: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return agent

    agents = {str(n): n for n in range(50)}
    assert (await each(agents, ask, at_once=7)).all() == agents
    assert most == 7
    assert (await each({}, ask)).all() == {}


class Clock:
    """An agent that is asked for the time."""

    def __init__(self) -> None:
        self.asked = 0

    async def clock(self) -> api.ClockReading:
        self.asked += 1
        return api.ClockReading(wall_s=0.0, monotonic_s=0.0)


async def test_of_many_machines_each_is_asked_for_the_time_less_often():
    few = {str(n): Clock() for n in range(3)}
    await measure_all(few)  # type: ignore[arg-type]
    assert {clock.asked for clock in few.values()} == {TRIES}
    for clock in few.values():
        clock.asked = 0
    await measure_all(few, 2)  # type: ignore[arg-type]
    assert {clock.asked for clock in few.values()} == {2}
    many = {str(n): Clock() for n in range(400)}
    await measure_all(many)  # type: ignore[arg-type]
    assert {clock.asked for clock in many.values()} == {QUESTIONS // 400}
