"""A mesh's timeline: shown, started, paused, reset; what it requested and what came of it."""

from __future__ import annotations

import asyncio
from typing import get_args

from aiohttp import web

from otter_agent import api
from otter_agent.server.common import AGENT, answer, moment, number
from otter_agent.server.owners import caller

USUAL = 20
MOST = 1000
"""Changes in one answer."""


def _count(request: web.Request, name: str) -> int:
    asked = number(request, name)
    return USUAL if asked is None else min(asked, MOST)


async def _timeline(request: web.Request) -> web.Response:
    player = request.app[AGENT].player(request.match_info["mesh"])
    upcoming = await player.upcoming(_count(request, "next"))
    return answer(player.status(_count(request, "last"), upcoming))


async def _order(request: web.Request) -> web.Response:
    order: api.TimelineOrder = request.match_info["order"]  # type: ignore[assignment]  # by the route
    agent, mesh = request.app[AGENT], request.match_info["mesh"]
    return answer(agent.order_timeline(mesh, order, caller(request), moment(request, "at")))


async def _changes(request: web.Request) -> web.StreamResponse:
    agent, mesh = request.app[AGENT], request.match_info["mesh"]
    record = agent.player(mesh).record
    path = agent.machine.layout.timeline(mesh)
    await asyncio.to_thread(record.write)
    if not path.exists():
        return web.Response(text="", content_type="text/csv")
    return web.FileResponse(path, headers={"Content-Type": "text/csv"})


_ORDERS = "|".join(get_args(api.TimelineOrder))

ROUTES = (
    web.get("/v1/meshes/{mesh}/timeline", _timeline),
    web.get("/v1/meshes/{mesh}/timeline/changes", _changes),
    web.post(f"/v1/meshes/{{mesh}}/timeline/{{order:{_ORDERS}}}", _order),
)
