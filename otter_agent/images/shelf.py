"""A folder of folders that are either whole or not there: made once, under a lock, by content.

A folder is named `KIND/KEY` and is whole when its facts file is there; that is written last.
Anything else is left over from a build that was killed, and is made anew. Folders are made where
they stay (virtual environments hold absolute paths). Must not know: what is in them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from otter_agent.api import Pruned, PrunedItem
from otter_agent.images.base import BuildLog
from otter_agent.images.layers import tree_bytes
from otter_agent.images.steps import Step, locked, to_end

FACTS = "otter.json"

Facts = dict[str, Any]
"""JSON. `uses` names folders that this one needs; `created` and `size_bytes` are added."""


class Shelf:
    """Folders under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str) -> Path:
        """Where `KIND/KEY` is, whole or not."""
        return self.root / name

    def facts(self, name: str) -> Facts | None:
        """The facts of a folder that is whole, as is all that it uses. Blocking."""
        try:
            facts: Facts = json.loads((self.root / name / FACTS).read_bytes())
        except (OSError, ValueError):
            return None
        uses = facts.get("uses", [])
        return facts if all((self.root / used / FACTS).is_file() for used in uses) else None

    @contextlib.asynccontextmanager
    async def using(self) -> AsyncIterator[None]:
        """Nothing is pruned meanwhile."""
        async with locked(self.root / "locks" / "shelf", shared=True):
            yield

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Nobody uses it meanwhile."""
        async with locked(self.root / "locks" / "shelf"):
            yield

    async def once(
        self, name: str, fill: Callable[[int], Awaitable[Facts]], step: Step, log: BuildLog
    ) -> Facts:
        """Make a folder unless it is whole; if that fails, it is not there at all.

        Args:
            name: `KIND/KEY`.
            fill: Fills the folder, which is there and empty, and returns its facts. Gets the
                descriptor of the lock, for steps to inherit.
            step: Names what is done, in errors.
            log: Told when another build is waited for.
        """
        folder = self.root / name
        lock = self.root / "locks" / name.replace("/", "-")
        with step.translating(self.root):
            async with locked(lock, waiting=log) as fd:
                facts = await asyncio.to_thread(self.facts, name)
                if facts is None:
                    await to_end(_clear, folder)
                    try:
                        facts = await fill(fd)
                        await to_end(_seal, folder, facts)
                    except BaseException:
                        await to_end(_remove, folder)
                        raise
                return facts

    def names(self, kind: str) -> list[str]:
        """All folders of a kind, whole or not. Blocking."""
        parent = self.root / kind
        return sorted(f"{kind}/{f.name}" for f in parent.iterdir()) if parent.is_dir() else []

    async def prune(
        self, kinds: Iterable[str], keep: Callable[[str], bool], *, dry_run: bool
    ) -> Pruned:
        """Remove folders; waits until no build is underway.

        Args:
            kinds: In this order; those that use others first.
            keep: Whether a folder shall stay even if no other uses it.
            dry_run: Only say which.
        """
        async with self.alone():
            return await to_end(self._prune, tuple(kinds), keep, dry_run)

    def _prune(self, kinds: tuple[str, ...], keep: Callable[[str], bool], dry_run: bool) -> Pruned:
        items, used = [], set[str]()
        for name in (name for kind in kinds for name in self.names(kind)):
            facts = self.facts(name)
            if facts is not None and (name in used or keep(name)):
                used.update(facts.get("uses", ()))
                continue
            folder = self.root / name
            size, kind = tree_bytes(folder), name.partition("/")[0]
            items.append(PrunedItem(reference=str(folder), kind=kind, size_bytes=size))
            if not dry_run:
                _remove(folder)
        # Nobody builds while we hold the shelf's own lock, so nobody holds the others.
        for lock in () if dry_run else (self.root / "locks").iterdir():
            if lock.name != "shelf":
                lock.unlink(missing_ok=True)
        return Pruned(
            removed=tuple(item.reference for item in items),
            freed_bytes=sum(item.size_bytes for item in items),
            items=tuple(items),
            dry_run=dry_run,
        )


def _clear(folder: Path) -> None:
    _remove(folder)
    folder.mkdir(parents=True)


def _seal(folder: Path, facts: Facts) -> None:
    """Write the facts file, which makes the folder whole."""
    facts |= {"created": time.time(), "size_bytes": tree_bytes(folder)}
    partial = folder / f".{FACTS}"
    partial.write_text(json.dumps(facts))
    partial.rename(folder / FACTS)


def _remove(folder: Path) -> None:
    """Remove a folder; one that is removed half is not whole."""
    (folder / FACTS).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
