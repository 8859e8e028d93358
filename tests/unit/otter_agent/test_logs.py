"""Lines of several modules as one: in the order of time, without waiting for the silent."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otter_agent import logs
from otter_agent.api import LogLine
from otter_agent.logs import GRACE_S, _Merger


def line(module: str, at: float) -> LogLine:
    return LogLine(module=module, text=f"{module} {at}", time=at)


async def source(module: str, *times: float, then: asyncio.Event | None = None):
    for at in times:
        yield line(module, at)
    if then is not None:
        await then.wait()


async def merged(sources: dict[str, list[float]]) -> list[tuple[str, float]]:
    merger = _Merger(list(sources))
    found = []
    async with asyncio.TaskGroup() as group:
        for name, times in sources.items():
            group.create_task(merger.pump(name, source(name, *times)))
        while (one := await merger.next()) is not None:
            found.append((one.module, one.time))
    return found


def at_once(waiting: Coroutine[Any, Any, LogLine | None]) -> LogLine | None:
    """What it returns, which it may not wait for."""
    with pytest.raises(StopIteration) as done:
        waiting.send(None)
    return done.value.value


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 50), max_size=30)))
def test_what_is_there_comes_in_order(times):
    sources = {name: sorted(map(float, moments)) for name, moments in times.items()}
    found = asyncio.run(merged(sources))
    assert [at for _, at in found] == sorted(at for moments in sources.values() for at in moments)
    for name, moments in sources.items():
        assert [at for module, at in found if module == name] == moments


async def test_a_silent_source_holds_up_others_for_a_moment_only():
    merger, over = _Merger(["loud", "silent"]), asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(merger.pump("loud", source("loud", 1.0, 2.0, 3.0)))
        group.create_task(merger.pump("silent", source("silent", then=over)))
        for name in ("loud", "silent"):
            merger.caught_up(name)
        assert merger._patience() <= GRACE_S
        assert (await merger.next()).time == 1.0
        for at in (2.0, 3.0):  # one source has been silent for as long already
            assert at_once(merger.next()).time == at
        over.set()
        assert await merger.next() is None


async def test_a_late_line_comes_before_later_ones(monkeypatch):
    """Within the grace: what another source said at nearly the same moment."""
    monkeypatch.setattr("otter_agent.logs.GRACE_S", 20.0)  # a busy machine is no silent source
    merger, said = _Merger(["a", "b"]), asyncio.Event()

    async def late():
        await said.wait()
        yield line("b", 1.5)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(merger.pump("a", source("a", 2.0)))
        group.create_task(merger.pump("b", late()))
        for name in ("a", "b"):
            merger.caught_up(name)
        waiting = group.create_task(merger.next())
        await asyncio.sleep(0)
        said.set()
        assert (await waiting).time == 1.5
        assert (await merger.next()).time == 2.0
        assert await merger.next() is None


async def test_what_was_there_is_in_order_however_long_it_takes_to_read(monkeypatch):
    """Only what comes is given without waiting for who may have said something before."""
    monkeypatch.setattr(logs, "GRACE_S", 0.0)
    merger, read = _Merger(["quick", "slow"]), asyncio.Event()

    async def slow():
        for at in (1.0, 3.0):
            await read.wait()
            read.clear()
            yield line("slow", at)
        await read.wait()
        merger.caught_up("slow")
        await over.wait()

    over = asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(merger.pump("quick", source("quick", 2.0, 4.0, then=over)))
        group.create_task(merger.pump("slow", slow()))
        merger.caught_up("quick")
        for at in (1.0, 2.0, 3.0, 4.0):
            coming = group.create_task(merger.next())
            if at != 3.0:  # which is there, as is what is later of the other
                for _ in range(10):
                    await asyncio.sleep(0)
                assert not coming.done()
                read.set()
            assert (await coming).time == at
        over.set()
        assert await merger.next() is None


async def test_one_that_cannot_be_read_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(logs, "FIRST_LOOK_S", 0.0)
    merger, over = _Merger(["there", "hangs"]), asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(merger.pump("there", source("there", 1.0)))
        group.create_task(merger.pump("hangs", source("hangs", then=over)))
        assert (await merger.next()).time == 1.0
        over.set()
        assert await merger.next() is None


@pytest.mark.parametrize("count", [0, 1])
async def test_few_sources(count):
    assert await merged({"a": [1.0, 2.0]} if count else {}) == [("a", 1.0), ("a", 2.0)][: 2 * count]
