"""The machine's GPUs."""

from __future__ import annotations

from aiohttp import web

from otter_agent.server.common import AGENT, answer


async def _gpus(request: web.Request) -> web.Response:
    return answer(await request.app[AGENT].devices.state())


async def _verify(request: web.Request) -> web.Response:
    return answer(await request.app[AGENT].devices.verify())


ROUTES = (web.get("/v1/gpus", _gpus), web.post("/v1/gpus/verify", _verify))
