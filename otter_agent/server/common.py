"""What all request handlers share: the agent, queries, answers, NDJSON. Must not know: any path."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiohttp import web

from otter_agent import api
from otter_agent.agent import Agent
from otter_agent.errors import AgentError

NDJSON = "application/x-ndjson"
AGENT = web.AppKey("agent", Agent)


def problem(
    status: int, code: str, message: str, hint: str, missing: tuple[str, ...] = ()
) -> web.Response:
    """The answer to a request that was refused, or failed."""
    return answer(api.Problem(code=code, message=message, hint=hint, missing=missing), status)


def answer(value: Any, status: int = 200) -> web.Response:
    """JSON of any API type."""
    return web.Response(body=api.encode(value), status=status, content_type="application/json")


def flag(request: web.Request, name: str) -> bool:
    """A switch of the query: absent, empty, `0` and `false` are off."""
    return request.query.get(name, "") not in ("", "0", "false")


def number(request: web.Request, name: str) -> int | None:
    """A whole number of the query; None if absent. Raises `AgentError`."""
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise AgentError("bad-request", f"{name}={text[:40]!r}: a whole number is needed")
    return int(text)


def moment(request: web.Request, name: str) -> float | None:
    """A time of the query, in seconds since 1970; None if absent. Raises `AgentError`."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1 << 33:  # nan is neither
        raise AgentError("bad-request", f"{name}={text[:40]!r}: seconds since 1970 are needed")
    return value


async def ndjson(request: web.Request, batches: AsyncIterator[Sequence[Any]]) -> web.StreamResponse:
    """Stream items, a line each and a batch at once, until they end or the reader goes away."""
    response = web.StreamResponse(headers={"Content-Type": NDJSON})
    await response.prepare(request)
    async with contextlib.aclosing(batches):  # type: ignore[type-var]  # all are async generators
        try:
            async for batch in batches:
                await response.write(b"".join(api.encode(item) + b"\n" for item in batch))
            await response.write_eof()
        except ConnectionError:
            pass  # the reader went away, as followers do
    return response


def module_of(agent: Agent, request: web.Request) -> api.ModuleSpec:
    """The module that a path names. Raises `AgentError` with code `not-found`."""
    spec = agent.spec(request.match_info["mesh"])
    name = request.match_info["module"]
    for module in spec.modules:
        if module.name == name:
            return module
    known = ", ".join(m.name for m in spec.modules)
    raise AgentError(
        "not-found", f"no module {name!r} in mesh {spec.name}", hint=f"there are: {known}"
    )
