"""Budgets of hosts and modules: shown, and changed by hand."""

from __future__ import annotations

import asyncio

from aiohttp import web

from otter_agent import api
from otter_agent.budgets.usage import usage
from otter_agent.server.common import AGENT, answer, flag
from otter_agent.server.owners import caller


async def _budgets(request: web.Request) -> web.Response:
    book = request.app[AGENT].budgets(request.match_info["mesh"])
    subjects = book.all()
    return answer(await asyncio.to_thread(lambda: [book.status(s) for s in subjects]))


async def _usage(request: web.Request) -> web.Response:
    agent, mesh = request.app[AGENT], request.match_info["mesh"]
    modules = agent.modules(mesh)
    hosts = [host.name for host in agent.spec(mesh).hosts]
    return answer(await asyncio.to_thread(usage, agent.machine.cgroups, mesh, hosts, modules))


async def _shape(request: web.Request) -> web.Response:
    agent, mesh = request.app[AGENT], request.match_info["mesh"]
    agent.budgets(mesh)
    changes = api.decode(await request.read(), list[api.BudgetChange])
    check = flag(request, "check")
    return answer(await agent.shape_budgets(mesh, changes, caller(request), check=check))


ROUTES = (
    web.get("/v1/meshes/{mesh}/usage", _usage),
    web.get("/v1/meshes/{mesh}/budgets", _budgets),
    web.patch("/v1/meshes/{mesh}/budgets", _shape),
)
