"""Modules: shown, and orders for single ones."""

from __future__ import annotations

from typing import get_args

from aiohttp import web

from otter_agent import api
from otter_agent.server.common import AGENT, answer, module_of
from otter_agent.server.owners import caller


async def _modules(request: web.Request) -> web.Response:
    return answer(request.app[AGENT].modules(request.match_info["mesh"]))


async def _order(request: web.Request) -> web.Response:
    agent = request.app[AGENT]
    module = module_of(agent, request)
    order: api.Order = request.match_info["order"]  # type: ignore[assignment]  # by the route
    mesh = request.match_info["mesh"]
    return answer(agent.order(mesh, module.name, order, caller(request)))


_ORDERS = "|".join(get_args(api.Order))

ROUTES = (
    web.get("/v1/meshes/{mesh}/modules", _modules),
    web.post(f"/v1/meshes/{{mesh}}/modules/{{module}}/{{order:{_ORDERS}}}", _order),
)
