"""Packets of a link, as a pcapng file that grows."""

from __future__ import annotations

import contextlib
import math

from aiohttp import web

from otter_agent.agent import Agent
from otter_agent.capture import LONGEST_SNAP, Wanted, captured
from otter_agent.errors import AgentError
from otter_agent.server.common import AGENT, number
from otter_agent.server.owners import check_owner

MOST = 16
"""At the same time: the kernel keeps up to 32 MiB for each direction."""
RUNNING = web.AppKey("captures", set[object])
"""Those under way."""
_TYPE = "application/x-pcapng"
_LEAST_SNAP = 14


async def _capture(request: web.Request) -> web.StreamResponse:
    check_owner(request)  # what others' modules say to each other is theirs
    agent, running = request.app[AGENT], request.app[RUNNING]
    if len(running) >= MOST:
        text = f"{MOST} captures are under way already"
        raise AgentError("in-use", text, hint="wait for one to end")
    mark = object()
    running.add(mark)
    try:
        return await _captured(request, agent)
    finally:
        running.discard(mark)


async def _captured(request: web.Request, agent: Agent) -> web.StreamResponse:
    spec = agent.spec(request.match_info["mesh"])
    chunks = captured(agent.machine, spec, request.match_info["link"], _wanted(request))
    async with contextlib.aclosing(chunks):
        first = await anext(chunks)  # before the answer begins: what is wrong is told by its status
        response = web.StreamResponse(headers={"Content-Type": _TYPE})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # the reader went away, as it does
            await response.write(first)
            async for chunk in chunks:
                await response.write(chunk)
            await response.write_eof()
    return response


def _wanted(request: web.Request) -> Wanted:
    snap = number(request, "snap")
    packets = number(request, "packets")
    if snap is not None and not _LEAST_SNAP <= snap <= LONGEST_SNAP:
        raise AgentError("bad-request", f"snap: {_LEAST_SNAP} to {LONGEST_SNAP} bytes")
    if packets == 0:
        raise AgentError("bad-request", "packets: 1 or more")
    return Wanted(
        direction=request.query.get("direction", ""),
        snap_bytes=snap or LONGEST_SNAP,
        packets=packets,
        seconds=_seconds(request),
    )


def _seconds(request: web.Request) -> float | None:
    text = request.query.get("seconds")
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e9:
        raise AgentError("bad-request", f"seconds={text[:40]!r}: a time is needed")
    return value


ROUTES = (web.get("/v1/meshes/{mesh}/links/{link}/capture", _capture),)
