"""Callers that arrive while a call is under way share it."""

from __future__ import annotations

import asyncio

import pytest

from otter_agent.flights import Flights


class Desk:
    """Answers when told to, and counts how often it was asked."""

    def __init__(self):
        self.asked = 0
        self.go = asyncio.Event()

    async def ask(self):
        self.asked += 1
        await self.go.wait()
        return f"answer {self.asked}"


async def turn():
    """Let everybody go on until they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_all_get_the_one_answer_and_the_next_asks_again():
    flights, desk = Flights(), Desk()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(flights.join("x", desk.ask)) for _ in range(30)]
        await turn()
        desk.go.set()
    assert [task.result() for task in tasks] == ["answer 1"] * 30
    assert await flights.join("x", desk.ask) == "answer 2"


async def test_other_names_fly_apart():
    flights, desk = Flights(), Desk()
    async with asyncio.TaskGroup() as group:
        for name in ("x", "y"):
            group.create_task(flights.join(name, desk.ask))
        await turn()
        desk.go.set()
    assert desk.asked == 2


async def test_an_error_is_everybodys_and_is_forgotten():
    flights, desk = Flights(), Desk()

    async def fail():
        await desk.ask()
        raise LookupError("no")

    async def refused():
        with pytest.raises(LookupError, match="no"):
            await flights.join("x", fail)

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(refused())
        await turn()
        desk.go.set()
    assert desk.asked == 1
    assert await flights.join("x", desk.ask) == "answer 2"


async def test_when_the_first_is_cancelled_another_asks_for_the_rest():
    flights, desk = Flights(), Desk()
    async with asyncio.TaskGroup() as group:
        first, *others = [group.create_task(flights.join("x", desk.ask)) for _ in range(4)]
        await turn()
        first.cancel()
        await turn()
        desk.go.set()
    assert first.cancelled()
    assert [task.result() for task in others] == ["answer 2"] * 3


async def test_a_cancelled_joiner_disturbs_nobody():
    flights, desk = Flights(), Desk()
    async with asyncio.TaskGroup() as group:
        first, second = [group.create_task(flights.join("x", desk.ask)) for _ in range(2)]
        await turn()
        second.cancel()
        await turn()
        desk.go.set()
    assert second.cancelled()
    assert first.result() == "answer 1"
