"""Watches over the fidelity of one mesh while it runs; the verdict holds for the whole run.

A run begins with its epoch, when all modules are ready. Once it was not what was asked for it is
invalid for good, over the agent's restarts too. Must not know: HTTP, how links are carried.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from otter_agent import api
from otter_agent.fidelity import processor
from otter_agent.fidelity.judge import Sample, doubts, merged
from otter_agent.links.base import Health
from otter_agent.links.telling import Tell

WINDOW_S = 5.0
"""Shares are those of so long: a moment's pause among thousands of packets isn't an overload, and
nor is a second of it hidden by an hour without."""
_LEAST_S = 1.0
_AGAIN_S = 60.0
"""Between two events about one cause that goes on."""


class Links(Protocol):
    """The links of the mesh: `otter_agent.links.book.LinkBook`."""

    def health(self) -> Health | None:
        """How well they are carried; None: nothing carries them that could be late."""
        ...


class Watch:
    """Of one mesh.

    Args:
        links: Of the mesh.
        tell: Records events.
        file: Where the verdict is kept.
        run: Name of the run.
        begun: Whether its epoch has come: what goes on before, while all starts, isn't judged.
        changes: How many changes the timeline has made, and how many of them late.
    """

    def __init__(
        self,
        links: Links,
        tell: Tell,
        file: Path,
        run: str,
        begun: Callable[[], bool],
        changes: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        self._links = links
        self._tell = tell
        self._file = file
        self._run = run
        self._begun = begun
        self._changes = changes
        self._fidelity = _kept(file, run)
        self._before: Sample | None = None
        self._told_at: dict[str, float] = {}

    @property
    def verdict(self) -> api.Fidelity:
        """Of the run so far."""
        return self._fidelity

    def take(self, run: str) -> None:
        """Another run begins, if it is another."""
        if run != self._run:
            self._run, self._fidelity, self._before = run, api.Fidelity(run=run), None

    async def run(self) -> None:
        """Watch until cancelled, from when the run has begun."""
        while True:
            await asyncio.sleep(WINDOW_S if self._begun() else _LEAST_S)
            await self.look_if_begun()

    async def look_if_begun(self) -> None:
        """See how it went since the last look."""
        if not self._begun():
            return
        self.judge(await asyncio.to_thread(self.sample))

    def judge(self, sample: Sample | None) -> None:
        """Of what was seen just now, as long as nothing newer was."""
        before = self._before
        if sample is None or before is None or sample.at_s - before.at_s < _LEAST_S:
            self._before = before or sample
            return
        found = doubts(before, sample)
        if found or sample.at_s - before.at_s >= WINDOW_S:
            self._before = sample
            self._fidelity = msgspec.structs.replace(
                self._fidelity, checked_s=self._fidelity.checked_s + sample.at_s - before.at_s
            )
            self._take(found)

    def lost(self, gap_s: float) -> None:
        """Nothing passed for so long, as what carries the links had ended or hung."""
        now = time.time()
        text = f"what carries the links ended or hung: nothing passed for {gap_s:.3f} s"
        doubt = api.Doubt(cause="gap", text=text, since=now - gap_s, until=now, seconds=gap_s)
        self._take([doubt])

    def _take(self, found: list[api.Doubt]) -> None:
        if not found:
            return
        why = merged(self._fidelity.why, found)
        self._fidelity = msgspec.structs.replace(self._fidelity, valid=False, why=why)
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part = self._file.with_suffix(".part")
            part.write_bytes(api.encode(self._fidelity))
            part.replace(self._file)
        now = time.monotonic()
        for doubt in found:
            if now - self._told_at.get(doubt.cause, -_AGAIN_S) >= _AGAIN_S:
                self._told_at[doubt.cause] = now
                text = f"this run isn't what was asked for: {doubt.text}"
                self._tell("fidelity", "", text, "invalid", msgspec.to_builtins(doubt))

    def sample(self) -> Sample | None:
        """How it is now; None: its run hasn't begun. Blocking."""
        if not self._begun():
            return None
        health = self._links.health()
        throttled_s = 0.0 if health is None else processor.throttled_s(health.pid)
        changes, late_changes = self._changes()
        return Sample(
            at_s=time.monotonic(), wall_s=time.time(), health=health,
            stolen_s=processor.stolen_s(), throttled_s=throttled_s,
            crowded_s=processor.crowded_s(), cores=os.cpu_count() or 1,
            changes=changes, late_changes=late_changes,
        )  # fmt: skip


def _kept(file: Path, run: str) -> api.Fidelity:
    """What an earlier life of the agent found of this run."""
    try:
        found = api.decode(file.read_bytes(), api.Fidelity)
    except (OSError, msgspec.DecodeError):
        return api.Fidelity(run=run)
    return found if found.run == run else api.Fidelity(run=run)
