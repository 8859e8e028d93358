"""Workloads with their folders, as the agent would make them; and a runtime that cleans up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from otter_agent.api import Budget
from otter_agent.layout import Layout
from otter_agent.runtimes.base import Artifact, Instance, Key, Phase, Workload

DEADLINE_S = 60.0


def make_workload(
    layout: Layout,
    image: str,
    argv: tuple[str, ...] | None = None,
    *,
    mesh: str = "m",
    module: str = "mod",
    digest: str = "d1",
    budget: Budget | None = None,
    env: dict[str, str] | None = None,
    artifact: Artifact | None = None,
) -> Workload:
    """A workload whose folders exist, with the FIFO at which it will wait."""
    paths = layout.module(mesh, module)
    for folder in (paths.work, paths.wiring, paths.state):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777 if folder != paths.wiring else 0o755)
    if not paths.gate.exists():
        os.mkfifo(paths.gate, 0o644)
        paths.gate.chmod(0o644)
    paths.hosts.write_text("127.0.0.1 localhost\n100.64.0.9 other\n")
    paths.resolv_conf.write_text("nameserver 127.0.0.1\n")
    paths.nsswitch.write_text("hosts: files dns\n")
    paths.wiring_file.write_text("{}")
    return Workload(
        key=Key(mesh, module),
        spec_digest=digest,
        hostname=module,
        artifact=artifact or Artifact(reference=image),
        argv=argv,
        env=env or {},
        cgroup=f"{mesh}/host",
        budget=budget or Budget(),
        paths=paths,
    )


async def run(runtime, work: Workload) -> Instance:
    """Create, start and release."""
    await runtime.create(work)
    await runtime.start(work.key)
    return await runtime.release(work.key)


async def until(check: Callable[[], Awaitable[object]], what: str) -> None:
    """Ask again until it is so."""
    async with asyncio.timeout(DEADLINE_S):
        while not await check():
            await asyncio.sleep(0.01)
    assert await check(), what


async def until_exit(runtime, key: Key) -> Instance:
    """The instance once it has exited."""
    found: list[Instance] = []

    async def gone() -> bool:
        found[:] = [i for i in await runtime.list() if i.key == key]
        return bool(found) and found[0].phase is Phase.EXITED

    await until(gone, f"{key} exits")
    return found[0]


async def log_text(runtime, key: Key) -> list[str]:
    """All lines of the log."""
    return [line.text async for line in runtime.logs(key, tail=None, follow=False)]


def mount_namespace_file(pid: int, path: str) -> Path:
    """A file as the process sees it."""
    return Path(f"/proc/{pid}/root{path}")
