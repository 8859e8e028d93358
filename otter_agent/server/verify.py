"""Measuring a mesh, as NDJSON of `VerifyLine`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from net.errors import OtterError
from otter_agent import api
from otter_agent.agent import Agent
from otter_agent.errors import AgentError
from otter_agent.links.counting import counted
from otter_agent.server.common import AGENT, ndjson
from otter_agent.verify.certifier import certify, checked
from otter_agent.verify.jobs import chosen

RUNNING = web.AppKey("verify", set[str])
"""Meshes that are measured now: two measurings would measure each other."""


async def _verify(request: web.Request) -> web.StreamResponse:
    agent, running = request.app[AGENT], request.app[RUNNING]
    asked = checked(api.decode(await request.read(), api.VerifyRequest))
    mesh = request.match_info["mesh"]
    chosen(agent.spec(mesh), asked.links)
    if running:
        text = f"mesh {next(iter(running))} is being verified already"
        raise AgentError("in-use", text, hint="two at a time would measure each other: wait")
    running.add(mesh)
    try:
        return await ndjson(request, _lines(agent, mesh, asked))
    finally:
        running.discard(mesh)


async def _lines(
    agent: Agent, mesh: str, asked: api.VerifyRequest
) -> AsyncIterator[list[api.VerifyLine]]:
    """What is measured; what goes wrong after the answer has begun is its last line."""

    async def look() -> api.MeshStatus:
        counters = await asyncio.to_thread(agent.links(mesh).count)
        status = agent.mesh(mesh)
        return msgspec.structs.replace(status, links=counted(status.links, counters))

    try:
        lines = certify(agent.machine, look, asked)
        async with contextlib.aclosing(lines):
            async for batch in lines:
                yield batch
    except OtterError as error:
        code = error.code if isinstance(error, AgentError) else "failed"
        problem = api.Problem(code=code, message=str(error.args[0]), hint=error.hint)
        yield [api.VerifyLine(problem=problem)]


ROUTES = (web.post("/v1/meshes/{mesh}/verify", _verify),)
