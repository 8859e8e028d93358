"""Events and modules' logs, as NDJSON."""

from __future__ import annotations

from aiohttp import web

from otter_agent import collect
from otter_agent.errors import AgentError
from otter_agent.server.common import AGENT, flag, ndjson, number


async def _events(request: web.Request) -> web.StreamResponse:
    agent = request.app[AGENT]
    since = number(request, "since")
    follow = flag(request, "follow")
    start = since if since is not None else (agent.last_event() if follow else 0)
    events = agent.events(mesh=request.query.get("mesh"), since=start, follow=follow)
    return await ndjson(request, events)


async def _logs(request: web.Request) -> web.StreamResponse:
    agent = request.app[AGENT]
    spec = agent.mesh(request.match_info["mesh"]).spec
    wanted = request.query.getall("module", [])
    modules = [m for m in spec.modules if not wanted or m.name in wanted]
    unknown = sorted(set(wanted) - {m.name for m in spec.modules})
    if unknown:
        known = ", ".join(m.name for m in spec.modules)
        raise AgentError(
            "not-found", f"no module {unknown[0]!r} in mesh {spec.name}", hint=f"there are: {known}"
        )
    lines = collect.merged_logs(
        agent.machine,
        spec.name,
        modules,
        tail=number(request, "tail"),
        follow=flag(request, "follow"),
    )
    return await ndjson(request, lines)


ROUTES = (
    web.get("/v1/events", _events),
    web.get("/v1/meshes/{mesh}/logs", _logs),
)
