"""Events and modules' logs, as NDJSON."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase

from aiohttp import web

from otter_agent import api, logs
from otter_agent.agent import Agent
from otter_agent.errors import AgentError
from otter_agent.server.common import AGENT, NDJSON, flag, moment, ndjson, number

BLOCK_BYTES = 1 << 16
"""Lines are sent together as long as more are at hand: one by one cost ten times as much."""


async def _events(request: web.Request) -> web.StreamResponse:
    agent = request.app[AGENT]
    since = number(request, "since")
    follow = flag(request, "follow")
    start = since if since is not None else (agent.last_event() if follow else 0)
    events = agent.events(mesh=request.query.get("mesh"), since=start, follow=follow)
    return await ndjson(request, events)


async def _logs(request: web.Request) -> web.StreamResponse:
    agent = request.app[AGENT]
    spec = agent.spec(request.match_info["mesh"])
    modules = _chosen(spec, request.query.getall("module", []))
    wanted = logs.Wanted(
        tail=number(request, "tail"),
        since=moment(request, "since"),
        until=moment(request, "until"),
    )
    if not flag(request, "follow"):
        return await _send(request, logs.merged(agent.machine, spec.name, modules, wanted))
    watch = _watch(agent, spec.name)
    return await _send(request, logs.followed(agent.machine, spec.name, modules, wanted, watch))


def _chosen(spec: api.MeshSpec, patterns: list[str]) -> list[api.ModuleSpec]:
    """The modules that names and globs stand for; none given: all."""
    for pattern in patterns:
        if not any(fnmatchcase(m.name, pattern) for m in spec.modules):
            known = ", ".join(m.name for m in spec.modules)
            text = f"no module {pattern!r} in mesh {spec.name}"
            raise AgentError("not-found", text, hint=f"there are: {known}")
    return [
        m for m in spec.modules if not patterns or any(fnmatchcase(m.name, p) for p in patterns)
    ]


def _watch(agent: Agent, mesh: str) -> logs.Watch:
    def wanted(module: str) -> bool:
        try:
            return any(m.name == module for m in agent.spec(mesh).modules)
        except AgentError:
            return False

    async def news() -> None:
        async for _ in agent.events(mesh=mesh, since=agent.last_event(), follow=True):
            return

    return logs.Watch(wanted, news)


async def _send(request: web.Request, lines: AsyncIterator[api.LogLine]) -> web.StreamResponse:
    """Stream lines: what is at hand together, the rest as it comes."""
    response = web.StreamResponse(headers={"Content-Type": NDJSON})
    await response.prepare(request)
    block = bytearray()
    some, room = asyncio.Event(), asyncio.Event()
    ended = False

    async def write() -> None:
        while block or not ended:
            await some.wait()
            some.clear()
            data = bytes(block)
            block.clear()
            room.set()
            await response.write(data)

    try:
        async with contextlib.aclosing(lines), asyncio.TaskGroup() as group:  # type: ignore[type-var]
            group.create_task(write(), name="log lines")
            async for line in lines:
                block += api.encode(line) + b"\n"
                some.set()
                if len(block) > BLOCK_BYTES:
                    room.clear()
                    await room.wait()
            ended = True
            some.set()
        await response.write_eof()
    except* ConnectionError:
        pass  # the reader went away, as followers do
    return response


ROUTES = (
    web.get("/v1/events", _events),
    web.get("/v1/meshes/{mesh}/logs", _logs),
)
