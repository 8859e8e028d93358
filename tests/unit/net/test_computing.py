"""One thread for a model: always the same, in order, with what its caller would see."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from net.computing import OneThread


async def test_all_runs_in_one_thread_in_the_order_in_which_it_was_asked():
    compute, ran = OneThread(), []

    def work(number):
        ran.append((number, threading.get_ident()))

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(compute(work, number))
    assert [number for number, _ in ran] == list(range(20))
    assert len({thread for _, thread in ran}) == 1
    assert ran[0][1] != threading.get_ident()


async def test_results_errors_and_context_are_as_in_the_callers_own_thread():
    compute, name = OneThread(), contextvars.ContextVar("name", default="nobody")
    name.set("caller")
    assert await compute(name.get) == "caller"
    assert await compute(int, "ff", base=16) == 255
    with pytest.raises(ZeroDivisionError):
        await compute(divmod, 1, 0)


async def test_what_was_cancelled_before_it_began_does_not_begin():
    compute, begun, go = OneThread(), threading.Event(), threading.Event()
    ran = []

    def first():
        begun.set()
        go.wait(10)

    async with asyncio.TaskGroup() as group:
        group.create_task(compute(first))
        await asyncio.to_thread(begun.wait, 10)
        second = group.create_task(compute(ran.append, 2))
        third = group.create_task(compute(ran.append, 3))
        await asyncio.sleep(0)  # both have asked
        second.cancel()
        await asyncio.wait({second})  # only then is it taken from those that wait
        go.set()
    assert third.done()
    assert ran == [3]


async def test_the_thread_ends_with_the_last_who_has_it():
    compute = OneThread("model-of-this-test")
    thread = await compute(threading.current_thread)
    assert thread.name.startswith("model-of-this-test")
    del compute
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()
