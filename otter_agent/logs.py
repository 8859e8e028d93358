"""Logs of several modules as one: in the order of time, through restarts and replacements.

Must not know: HTTP, how a runtime keeps logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from net.errors import OtterError
from otter_agent import api
from otter_agent.machine import Machine
from otter_agent.runtimes.base import Key, LogPlace, Logs

QUEUE_LINES = 1000
"""Lines in flight per follower: a slow reader slows the reading of logs, and costs no memory."""
GRACE_S = 0.06
"""How long a followed module that is silent holds up the later lines of others: a look's length."""
FIRST_LOOK_S = 5.0
"""The same as long as not all has been read that was there: an engine may hang."""
LOOK_AGAIN_S = 1.0
"""A module that is being replaced is looked for this often, in case its news were missed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines.

    Attributes:
        tail: Only the last so many of each module.
        since: Only lines of this time (seconds since 1970) or later.
        until: Only lines of this time or earlier.
    """

    tail: int | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """What a follower asks its agent.

    Attributes:
        wanted: Whether a module is still part of the mesh.
        news: Returns when something happened to the mesh.
    """

    wanted: Callable[[str], bool]
    news: Callable[[], Awaitable[None]]


async def lines_of(
    machine: Machine, mesh: str, module: api.ModuleSpec, wanted: Wanted
) -> AsyncIterator[api.LogLine]:
    """What is there now of one module's log; nothing if it can't be read."""
    async for line in _read(machine, mesh, module, wanted, LogPlace(), follow=False):
        yield line


async def merged(
    machine: Machine, mesh: str, modules: Sequence[api.ModuleSpec], wanted: Wanted
) -> AsyncIterator[api.LogLine]:
    """What is there now, in the order of time. Holds one line of each: logs may be large.

    A source whose lines have no times comes whole, before those that follow it.
    """
    sources = [lines_of(machine, mesh, module, wanted) for module in modules]
    heads = [(await anext(source, None), source) for source in sources]
    while waiting := [(n, line) for n, (line, _) in enumerate(heads) if line is not None]:
        n, line = min(waiting, key=lambda head: head[1].time or 0.0)
        yield line
        heads[n] = (await anext(heads[n][1], None), heads[n][1])


async def followed(
    machine: Machine, mesh: str, modules: Sequence[api.ModuleSpec], wanted: Wanted, watch: Watch
) -> AsyncIterator[api.LogLine]:
    """What is there and what comes, until none of the modules is part of the mesh any more.

    In the order of time; a module that says nothing new holds up others for a moment only.
    """
    merger = _Merger([m.name for m in modules])
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                merger.pump(
                    m.name,
                    _follow(machine, mesh, m, wanted, watch, partial(merger.caught_up, m.name)),
                ),
                name=f"logs {m.name}",
            )
            for m in modules
        ]
        try:
            while (line := await merger.next()) is not None:
                yield line
        finally:
            for task in tasks:
                task.cancel()


async def _follow(
    machine: Machine,
    mesh: str,
    module: api.ModuleSpec,
    wanted: Wanted,
    watch: Watch,
    caught_up: Callable[[], None],
) -> AsyncIterator[api.LogLine]:
    """One module, also when its instance is replaced by another one."""
    place = LogPlace(caught_up=caught_up)
    while watch.wanted(module.name):
        async for line in _read(machine, mesh, module, wanted, place, follow=True):
            yield line
        caught_up()  # also with what isn't there
        if place.at is not None:
            wanted = Wanted(since=wanted.since)  # the rest of the log is new
        elif wanted.tail is not None:  # it wasn't there: nor was anything to have the tail of
            wanted = Wanted(since=wanted.since or time.time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN_S):
                await watch.news()


async def _read(
    machine: Machine,
    mesh: str,
    module: api.ModuleSpec,
    wanted: Wanted,
    place: LogPlace,
    *,
    follow: bool,
) -> AsyncIterator[api.LogLine]:
    driver = machine.runtimes.get(module.runtime)
    if not isinstance(driver, Logs):
        return
    lines = driver.logs(
        Key(mesh, module.name), tail=wanted.tail, follow=follow,
        since=wanted.since, until=wanted.until, place=place,
    )  # fmt: skip
    with contextlib.suppress(OtterError):  # not created yet, or engine away: nothing to show
        async for line in lines:
            yield msgspec.structs.replace(line, module=module.name)


class _Merger:
    """Takes lines of several sources as they come, and gives them in the order of their times."""

    def __init__(self, names: Sequence[str]) -> None:
        self._queues: dict[str, asyncio.Queue[api.LogLine | None]] = {
            name: asyncio.Queue(max(1, QUEUE_LINES // max(1, len(names)))) for name in names
        }
        self._heads: dict[str, api.LogLine] = {}
        self._silent: dict[str, float] = dict.fromkeys(names, time.monotonic())
        """Since when each source without a head has had nothing to say."""
        self._behind = set(names)
        """Of which not all has come that was there."""
        self._news = asyncio.Event()

    async def pump(self, name: str, lines: AsyncIterator[api.LogLine]) -> None:
        """Take a source's lines to its end."""
        queue = self._queues[name]
        async for line in lines:
            await queue.put(line)
            self._news.set()
        await queue.put(None)
        self._news.set()

    def caught_up(self, name: str) -> None:
        """All that was there of a source has been taken; what comes now, comes as it is said."""
        if name in self._behind:
            self._behind.discard(name)
            if name in self._silent:
                self._silent[name] = time.monotonic()
            self._news.set()

    async def next(self) -> api.LogLine | None:
        """The next line; None: all sources have ended."""
        while True:
            self._news.clear()
            self._fill()
            wait = self._patience()
            if self._heads and wait <= 0:
                return self._pop()
            if not self._heads and not self._silent:
                return None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait if self._heads else None):
                    await self._news.wait()

    def _fill(self) -> None:
        for name in list(self._silent):
            queue = self._queues[name]
            if not queue.empty():
                line = queue.get_nowait()
                del self._silent[name]
                if line is not None:
                    self._heads[name] = line

    def _patience(self) -> float:
        """How much longer silent sources are waited for."""
        ends = [
            since + (FIRST_LOOK_S if name in self._behind else GRACE_S)
            for name, since in self._silent.items()
        ]
        return max(ends, default=0.0) - time.monotonic()

    def _pop(self) -> api.LogLine:
        name = min(self._heads, key=lambda name: self._heads[name].time or 0.0)
        self._silent[name] = time.monotonic() if len(self._queues) > 1 else 0.0
        return self._heads.pop(name)
