"""A module's source, changed while somebody works on it: see otter_agent/dev.py."""

from __future__ import annotations

import msgspec
from aiohttp import web

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.server.common import AGENT, answer, module_of
from otter_agent.server.owners import caller, check_owner


async def _put_source(request: web.Request) -> web.Response:
    agent = request.app[AGENT]
    module = module_of(agent, request)
    check_owner(request)
    change = api.decode(await request.read(), api.SourceChange)
    mesh = request.match_info["mesh"]
    try:
        status = agent.put_source(mesh, module.name, change, caller(request))
    except msgspec.ValidationError as error:
        raise AgentError("bad-request", str(error)) from error
    return answer(status)


ROUTES = (web.put("/v1/meshes/{mesh}/modules/{module}/source", _put_source),)
