"""Named volumes: listed, removed. They are made by the modules that use them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import web

from otter_agent import api
from otter_agent.server.common import AGENT, answer
from otter_agent.volumes import Volumes


def _used(module: api.ModuleSpec) -> Iterable[str]:
    return (mount.volume for mount in module.volumes)


async def _volumes(request: web.Request) -> web.Response:
    agent = request.app[AGENT]
    volumes = Volumes(agent.machine.layout)
    return answer(await asyncio.to_thread(volumes.list, agent.users(_used)))


async def _remove(request: web.Request) -> web.Response:
    agent = request.app[AGENT]
    volumes = Volumes(agent.machine.layout)
    name = request.match_info["volume"]
    await asyncio.to_thread(volumes.remove, name, agent.users(_used))
    return web.Response(status=204)


ROUTES = (
    web.get("/v1/volumes", _volumes),
    web.delete("/v1/volumes/{volume}", _remove),
)
