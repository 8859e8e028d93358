"""Brings what modules leave into the run folder, and writes down there what ran.

Streams: nothing is held in memory or put on disk twice. Prints nothing: callers pass a function
that takes the progress. Must not know: the CLI, the terminal.
"""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from net.errors import OtterError
from net.handover import read_in_thread
from otter_agent import api
from otter_ctl.errors import FetchError, ResultsError, UnknownNameError
from otter_ctl.meshes import Meshes
from otter_ctl.runs import Brought, RunFolder, timestamp

OnBytes = Callable[[str, int], None]
"""(module, bytes that have come so far)."""


@dataclass(slots=True)
class Fetched:
    """What was brought.

    Attributes:
        warnings: A line each; nothing is lost by these.
    """

    files: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


async def fetch(
    client: Meshes,
    status: api.MeshStatus,
    folder: RunFolder,
    modules: Sequence[str] = (),
    on_bytes: OnBytes = lambda module, done: None,
) -> Fetched:
    """Bring logs, records and outputs of some modules (none named: all).

    Raises:
        UnknownNameError: There is no such module.
        FetchError: Some could not be brought; all others were.
    """
    known = [m.name for m in status.modules]
    for name in modules:
        if name not in known:
            raise UnknownNameError(
                f"module {name}",
                f"not in mesh {status.mesh}",
                hint=f"there are: {', '.join(known)}",
            )
    fetched = Fetched()
    failed: list[OtterError] = []
    try:
        folder.record(None, status.spec)
        folder.note(await facts(client, status))
        await _events(client, status.mesh, folder)
        await _timeline(client, status.spec, folder)
        folder.write("fidelity.json", api.encode(status.fidelity) + b"\n")
        folder.write("links.json", api.encode(status.links) + b"\n")
    except OtterError as error:
        failed.append(error)
    for name in modules or known:
        try:
            brought = await _module(client, status.mesh, name, folder, on_bytes)
        except OtterError as error:
            failed.append(error)
        else:
            fetched.files += brought.files
            fetched.warnings += _warnings(name, brought)
    if failed:
        raise _incomplete(client, folder, failed)
    return fetched


def about(size_bytes: int) -> str:
    """A size for people: `1.5 GiB`."""
    value, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


async def _module(
    client: Meshes, mesh: str, module: str, folder: RunFolder, on_bytes: OnBytes
) -> Brought:
    async def counted() -> AsyncIterator[bytes]:
        done = 0
        async for chunk in client.files(mesh, module):
            done += len(chunk)
            on_bytes(module, done)
            yield chunk

    return await read_in_thread(counted(), lambda source: folder.unpack(module, source))


def _warnings(module: str, brought: Brought) -> list[str]:
    if brought.report is None:
        return []
    found = [f'module {module}: output "{p}" matches nothing' for p in brought.report.unmatched]
    return found + [f"module {module}: left out: {line}" for line in brought.report.left_out]


def _incomplete(client: Meshes, folder: RunFolder, failed: list[OtterError]) -> FetchError:
    missing = sum(e.missing_bytes for e in failed if isinstance(e, ResultsError))
    files = sum(e.missing_files for e in failed if isinstance(e, ResultsError))
    first = failed[0]
    more = f" (and {len(failed) - 1} more)" if failed[1:] else ""
    lost = f"; {files} files, {about(missing)}, are not in {folder.path}" if files else ""
    text = f"could not fetch all: {first.args[0]}{more}{lost}"
    return FetchError(client.machine, text, hint=first.hint, missing_bytes=missing)


async def _events(client: Meshes, mesh: str, folder: RunFolder) -> None:
    """What happened to the mesh, as far as the agent remembers: the newest of the run folder."""
    lines: list[bytes] = []
    async with client.events(mesh=mesh, since=0) as events:
        async for event in events:
            if event.state == "destroyed":
                lines.clear()  # an earlier mesh of that name
            else:
                lines.append(api.encode(event))
    folder.write("events.ndjson", b"".join(line + b"\n" for line in lines))


async def _timeline(client: Meshes, spec: api.MeshSpec, folder: RunFolder) -> None:
    """What events and traces requested, and when it was in force."""
    if spec.timeline.traces or spec.timeline.events:
        chunks = [chunk async for chunk in client.timeline_changes(spec.name)]
        folder.write("timeline.csv", b"".join(chunks))


async def facts(
    client: Meshes, status: api.MeshStatus, known: Sequence[api.Info] = ()
) -> dict[str, Any]:
    """What is needed to know what ran: `run.json`, see docs/data.md.

    Args:
        client: Who is asked about its machines.
        status: Of the mesh.
        known: What its machines said of themselves a moment ago; none: they are asked.
    """
    spec = status.spec
    asked = {module.name: module for module in spec.modules}
    infos = [msgspec.to_builtins(info) for info in known or await client.infos(spec.name)]
    for info in infos:
        for name in ("pid", "root"):
            info.pop(name, None)
    # Only if there is something to say: what was noted once stays, though the machine has room now.
    marked = {"overcommit": status.overcommit} if status.overcommit else {}
    return marked | {
        "mesh": spec.name,
        "run": spec.run,
        "seed": spec.seed,
        "owner": status.owner,
        "state": status.state,
        "noted": timestamp(),
        "controller": controller(),
        "machines": infos,
        "modules": {m.name: _module_facts(m, asked.get(m.name)) for m in status.modules},
    }


def _module_facts(module: api.ModuleStatus, asked: api.ModuleSpec | None) -> dict[str, Any]:
    return {
        "host": module.host,
        "runtime": module.runtime,
        "asked": asked.image or (asked.build.context if asked.build else "") if asked else "",
        "digest": module.image,
        "state": module.state,
        "restarts": module.restarts,
        "exit_code": module.exit_code,
    }


@cache
def controller() -> dict[str, str]:
    """This controller, as `run.json` tells it. Slow the first time: ask while others work."""
    from importlib.metadata import version

    return {
        "version": version("otter-mesh"),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
