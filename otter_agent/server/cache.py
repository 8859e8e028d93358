"""The cache of weights and packages: listed, emptied."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import web

from otter_agent import api, cache
from otter_agent.images.weights import name_of
from otter_agent.server.common import AGENT, answer


def _used(module: api.ModuleSpec) -> Iterable[str]:
    return map(name_of, module.weights)


async def _cache(request: web.Request) -> web.Response:
    agent = request.app[AGENT]
    return answer(await asyncio.to_thread(cache.listed, agent.machine, agent.users(_used)))


async def _remove(request: web.Request) -> web.Response:
    agent = request.app[AGENT]
    asked = api.decode(await request.read(), api.CacheRemoval)
    with agent.needed():
        return answer(await cache.remove(agent.machine, lambda: agent.users(_used), asked))


ROUTES = (
    web.get("/v1/cache", _cache),
    web.post("/v1/cache/remove", _remove),
)
