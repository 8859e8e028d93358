"""Watches over modules that run until they are ready: who is asked, since when, what comes of it.

How a module is asked is readiness.py's. Must not know: what follows from being ready or late.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine

from otter_agent import api, processes, readiness, states
from otter_agent.book import Book
from otter_agent.part import Part

Spawn = Callable[[Coroutine[None, None, None], str], None]
"""Run something until it ends or the mesh does."""


class Prober:
    """For the modules of one mesh."""

    def __init__(self, book: Book, spawn: Spawn) -> None:
        self._book = book
        self._spawn = spawn

    def look_at(self, module: api.ModuleSpec) -> None:
        """Begin to ask a module that runs, unless that is known or under way."""
        part = self._book.parts[module.name]
        if part.ready or part.probing or not part.connected:
            return
        part.probing = True
        self._spawn(self._until_ready(module, part), f"probe {module.name}")

    async def _until_ready(self, module: api.ModuleSpec, part: Part) -> None:
        book, life, ready = self._book, part.instance, module.ready
        memory = book.memory[module.name]

        def same() -> bool:
            now = book.wanted.modules.get(module.name)
            return part.instance == life and now is not None and now.ready == ready

        def troubled(trouble: str, late: bool) -> None:
            part.trouble = trouble
            if late and not part.overdue:
                waits = f"waits for {states.waits_for(ready)}{book.trouble_of(module)}"
                part.overdue = f"not ready after {ready.within_s:g} s: {waits}"
                book.touch(module.name)

        try:
            probe = readiness.probe_of(book.machine, book.name, module)
            if probe is None:  # nothing to ask: ready is who lives on for a moment
                await asyncio.sleep(book.patience.moment_of(memory))
                yes = same() and not _has_ended(part)
            else:
                left = max(memory.started_at, book.applied_at) + ready.within_s - time.time()
                yes = await readiness.ask(probe, left, same, troubled)
            if yes and part.connected:
                part.ready, part.overdue, part.trouble = True, "", ""
        finally:
            part.probing = False
            book.touch(module.name)


def _has_ended(part: Part) -> bool:
    """Whether its process has, of which a busy engine tells a while later."""
    pid = part.instance.pid if part.instance is not None else None
    return pid is not None and pid < processes.MOST_PIDS and not processes.runs(pid)
