"""What an agent fetched once and keeps: models' weights, and the packages that builds install from.

Nothing that a mesh uses is removed; packages are used while something is built, and that is waited
for. Must not know: HTTP, how either was fetched.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from msgspec.structs import replace

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.images.base import Builds
from otter_agent.images.weights import KINDS, WeightCache
from otter_agent.images.wheelhouse import Wheelhouse
from otter_agent.machine import Machine

Users = Mapping[str, Sequence[str]]
"""Name of a model in the cache -> the modules (`mesh/module`) that name it."""


def listed(machine: Machine, users: Users) -> list[api.CacheItem]:
    """All of it. Blocking."""
    layout = machine.layout
    return [*WeightCache(layout).list(users), *Wheelhouse(layout.wheels).list()]


async def remove(
    machine: Machine, users: Callable[[], Users], asked: api.CacheRemoval
) -> api.Pruned:
    """Remove some of it, or all that isn't used.

    What a mesh begins to use while that waits for its turn stays.

    Args:
        machine: Whose.
        users: Who uses what now; may be called in any thread.
        asked: What.

    Raises:
        AgentError: `not-found`: a name is none here; `in-use`: a mesh uses it. Nothing was removed.
    """
    chosen = choose(await asyncio.to_thread(listed, machine, users()), asked.names)
    if asked.dry_run:
        items = [_pruned(item) for item in chosen]
    else:
        items = await _gone(machine, users, chosen, every=not asked.names)
    return api.Pruned(
        removed=tuple(item.reference for item in items),
        freed_bytes=sum(item.size_bytes for item in items), items=tuple(items),
        dry_run=asked.dry_run,
    )  # fmt: skip


def _pruned(item: api.CacheItem) -> api.PrunedItem:
    return api.PrunedItem(reference=item.name, kind=item.kind, size_bytes=item.size_bytes)


async def _gone(
    machine: Machine, users: Callable[[], Users], chosen: Sequence[api.CacheItem], *, every: bool
) -> list[api.PrunedItem]:
    """Remove them, and with `every` what killed agents left half; returns what went."""
    shelf = WeightCache(machine.layout).shelf
    weights = {item.name for item in chosen if item.kind == "weights"}
    items: list[api.PrunedItem] = []
    if weights or every:
        pruned = await shelf.prune(
            KINDS, lambda name: name not in weights or bool(users().get(name)), dry_run=False
        )
        for gone in pruned.items:
            name = str(Path(gone.reference).relative_to(shelf.root))
            items.append(replace(gone, reference=name, kind="weights"))
    wheels = [item for item in chosen if item.kind == "wheels"]
    if not wheels and not every:
        return items
    wheelhouse = Wheelhouse(machine.layout.wheels)
    async with contextlib.AsyncExitStack() as stack:
        for store in machine.stores.values():
            if isinstance(store, Builds):
                await stack.enter_async_context(store.alone())
        await stack.enter_async_context(shelf.alone())  # models come out of packages, too
        for item in wheels:
            await asyncio.to_thread(wheelhouse.remove, item.name.partition("/")[2])
        if every:
            await asyncio.to_thread(wheelhouse.remove_left)
    return [*items, *map(_pruned, wheels)]


def choose(there: Sequence[api.CacheItem], names: Sequence[str]) -> list[api.CacheItem]:
    """Those that names and globs mean; without any, those that nobody uses. Pure.

    Raises:
        AgentError: `not-found`, `in-use`.
    """
    if not names:
        return [item for item in there if not item.used_by]
    for name in names:
        if not any(fnmatchcase(item.name, name) for item in there):
            raise AgentError(
                "not-found", f"nothing is called {name[:80]!r} in the cache",
                hint="otterctl cache ls lists it",
            )  # fmt: skip
    chosen = [i for i in there if any(fnmatchcase(i.name, name) for name in names)]
    for item in chosen:
        if item.used_by:
            raise AgentError(
                "in-use", f"{item.name} ({item.title}) is used by {', '.join(item.used_by[:3])}",
                hint="destroy the mesh, or take the weights out of its topology, first",
            )  # fmt: skip
    return chosen
