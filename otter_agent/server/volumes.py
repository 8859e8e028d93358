"""Named volumes: listed, removed. They are made by the modules that use them."""

from __future__ import annotations

import asyncio

from aiohttp import web

from otter_agent.server.common import AGENT, answer
from otter_agent.volumes import Volumes


async def _volumes(request: web.Request) -> web.Response:
    agent = request.app[AGENT]
    volumes = Volumes(agent.machine.layout)
    return answer(await asyncio.to_thread(volumes.list, agent.volume_users()))


async def _remove(request: web.Request) -> web.Response:
    agent = request.app[AGENT]
    volumes = Volumes(agent.machine.layout)
    name = request.match_info["volume"]
    await asyncio.to_thread(volumes.remove, name, agent.volume_users())
    return web.Response(status=204)


ROUTES = (
    web.get("/v1/volumes", _volumes),
    web.delete("/v1/volumes/{volume}", _remove),
)
