"""Gathers over modules and stores what the API hands out: logs, results, images."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec

from net.errors import OtterError
from otter_agent import api
from otter_agent.machine import Machine
from otter_agent.results import write_results
from otter_agent.runtimes.base import Key, Logs

QUEUE_LINES = 1000
"""Lines in flight per follower: a slow reader slows the reading of logs, and costs no memory."""


async def merged_logs(
    machine: Machine,
    mesh: str,
    modules: Sequence[api.ModuleSpec],
    *,
    tail: int | None,
    follow: bool,
) -> AsyncIterator[api.LogLine]:
    """Lines of several modules: with `follow` as they come, else in the order they were written."""
    if not follow:
        async for line in _merged([_lines(machine, mesh, m, tail, False) for m in modules]):
            yield line
        return
    queue: asyncio.Queue[api.LogLine | None] = asyncio.Queue(QUEUE_LINES)

    async def pump(module: api.ModuleSpec) -> None:
        async for line in _lines(machine, mesh, module, tail, True):
            await queue.put(line)
        await queue.put(None)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(pump(m), name=f"logs {m.name}") for m in modules]
        try:
            left = len(tasks)
            while left:
                item = await queue.get()
                if item is None:
                    left -= 1
                else:
                    yield item
        finally:
            for task in tasks:
                task.cancel()


async def _merged(sources: Sequence[AsyncIterator[api.LogLine]]) -> AsyncIterator[api.LogLine]:
    """Lines of several sources by their times, holding one of each: logs may be larger than memory.

    A source whose lines have no times comes whole, before those that follow it.
    """
    heads = [(await anext(source, None), source) for source in sources]
    while waiting := [(n, line) for n, (line, _) in enumerate(heads) if line is not None]:
        n, line = min(waiting, key=lambda head: head[1].time or 0.0)
        yield line
        heads[n] = (await anext(heads[n][1], None), heads[n][1])


async def _lines(
    machine: Machine, mesh: str, module: api.ModuleSpec, tail: int | None, follow: bool
) -> AsyncIterator[api.LogLine]:
    driver = machine.runtimes.get(module.runtime)
    if not isinstance(driver, Logs):
        return
    with contextlib.suppress(OtterError):  # not created yet, or engine away: nothing to show
        async for line in driver.logs(Key(mesh, module.name), tail=tail, follow=follow):
            yield msgspec.structs.replace(line, module=module.name)


async def results(machine: Machine, mesh: str, module: api.ModuleSpec, scratch: Path) -> Path:
    """A tar file in `scratch` with a module's logs, records and outputs."""
    log = scratch / "log"
    with log.open("w", encoding="utf-8") as file:
        async for line in _lines(machine, mesh, module, None, False):
            file.write(line.text + "\n")
    target = scratch / "results.tar"
    paths = machine.layout.module(mesh, module.name)
    await asyncio.to_thread(write_results, paths, module.outputs, log, target)
    return target


async def images(machine: Machine, in_use: Mapping[str, list[str]]) -> list[api.ImageInfo]:
    """What all stores made, with who uses it."""
    found = []
    for name, store in machine.stores.items():
        if machine.problems.get(name):
            continue
        for info in await store.list():
            used = tuple(in_use.get(info.digest, ()))
            found.append(msgspec.structs.replace(info, used_by=used))
    return found


async def prune(machine: Machine, keep: frozenset[str]) -> api.Pruned:
    """Remove what no mesh uses, in all stores."""
    removed: list[str] = []
    freed = 0
    for name, store in machine.stores.items():
        if machine.problems.get(name):
            continue
        pruned = await store.prune(keep)
        removed += pruned.removed
        freed += pruned.freed_bytes
    return api.Pruned(removed=tuple(removed), freed_bytes=freed)
