"""Secrets of a mesh: they only come in, nothing ever shows them."""

from __future__ import annotations

import msgspec
from aiohttp import web

from otter_agent.errors import AgentError
from otter_agent.server.common import AGENT, answer
from otter_agent.server.owners import check_owner


async def _put_secrets(request: web.Request) -> web.Response:
    check_owner(request)
    values = await _values(request)
    return answer(request.app[AGENT].put_secrets(request.match_info["mesh"], values))


async def _check_secrets(request: web.Request) -> web.Response:
    check_owner(request)  # it changes nothing, but would let anybody guess
    values = await _values(request)
    return answer(request.app[AGENT].differing_secrets(request.match_info["mesh"], values))


async def _values(request: web.Request) -> dict[str, str]:
    try:
        return msgspec.json.decode(await request.read(), type=dict[str, str])
    except msgspec.DecodeError:  # its text could quote what was sent
        why = "the secrets are no JSON object of strings"
        raise AgentError("bad-request", why) from None


ROUTES = (
    web.put("/v1/meshes/{mesh}/secrets", _put_secrets),
    web.post("/v1/meshes/{mesh}/secrets/check", _check_secrets),
)
