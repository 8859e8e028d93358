"""Images and environments: listed, pruned."""

from __future__ import annotations

from aiohttp import web

from otter_agent import collect
from otter_agent.server.common import AGENT, answer, flag


async def _images(request: web.Request) -> web.Response:
    return answer(await collect.images(request.app[AGENT].machine, request.app[AGENT].in_use()))


async def _prune(request: web.Request) -> web.Response:
    agent = request.app[AGENT]
    keep, dry_run = frozenset(agent.in_use()), flag(request, "dry_run")
    return answer(await collect.prune(agent.machine, keep, dry_run=dry_run))


ROUTES = (
    web.get("/v1/images", _images),
    web.post("/v1/images/prune", _prune),
)
