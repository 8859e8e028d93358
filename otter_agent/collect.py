"""Gathers over modules and stores what the API hands out: results, images."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from net.handover import write_in_thread
from otter_agent import api, logs
from otter_agent.machine import Machine
from otter_agent.results import pack_results


async def results(
    machine: Machine, mesh: str, module: api.ModuleSpec, scratch: Path
) -> AsyncIterator[bytes]:
    """A tar with a module's logs, records and outputs; its log goes through a file in `scratch`."""
    log = scratch / "log"
    with log.open("w", encoding="utf-8") as file:
        async for line in logs.lines_of(machine, mesh, module, logs.Wanted()):
            file.write(line.text + "\n")
    paths = machine.layout.module(mesh, module.name)
    async for chunk in write_in_thread(lambda: pack_results(paths, module.outputs, log)):
        yield chunk


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


async def prune(machine: Machine, keep: frozenset[str], *, dry_run: bool) -> api.Pruned:
    """Remove what no mesh uses, in all stores; with `dry_run` only say what that would be."""
    items: list[api.PrunedItem] = []
    freed = 0
    for name, store in machine.stores.items():
        if machine.problems.get(name):
            continue
        pruned = await store.prune(keep, dry_run=dry_run)
        items += pruned.items
        freed += pruned.freed_bytes
    removed = tuple(item.reference for item in items)
    return api.Pruned(removed=removed, freed_bytes=freed, items=tuple(items), dry_run=dry_run)
