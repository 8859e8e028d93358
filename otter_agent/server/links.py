"""Links: shown, and changed by hand."""

from __future__ import annotations

import asyncio

from aiohttp import web

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.links.counting import counted
from otter_agent.server.common import AGENT, answer, flag
from otter_agent.server.owners import caller
from otter_agent.tunnels.telling import told

MOST = 10_000
"""Changes in one request."""


async def _links(request: web.Request) -> web.Response:
    agent, mesh = request.app[AGENT], request.match_info["mesh"]
    book = agent.links(mesh)
    await book.look_again()
    counters = await asyncio.to_thread(book.count)
    spec = agent.spec(mesh)
    states = await asyncio.to_thread(agent.machine.network.tunnels, spec)
    return answer(told(counted(book.statuses(), counters), spec, states))


async def _shape(request: web.Request) -> web.Response:
    agent, mesh = request.app[AGENT], request.match_info["mesh"]
    agent.links(mesh)
    changes = api.decode(await request.read(), list[api.LinkChange])
    if len(changes) > MOST:
        raise AgentError("bad-request", f"{len(changes)} changes at once, at most {MOST}")
    check = flag(request, "check")
    return answer(await agent.shape(mesh, changes, caller(request), check=check))


ROUTES = (
    web.get("/v1/meshes/{mesh}/links", _links),
    web.patch("/v1/meshes/{mesh}/links", _shape),
)
