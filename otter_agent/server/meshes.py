"""Meshes: listed, asked for, shown, removed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
from aiohttp import web

from otter_agent import api, directory, streams
from otter_agent.errors import AgentError
from otter_agent.links.admission import lacking
from otter_agent.links.counting import counted
from otter_agent.server import images
from otter_agent.server.common import AGENT, answer, flag, ndjson, number, problem
from otter_agent.server.many import check_turn
from otter_agent.server.owners import caller, forced
from otter_agent.tunnels.telling import told

MAX_IDS = 100
"""Of messages, asked for at once."""
BATCH = 256


async def _meshes(request: web.Request) -> web.Response:
    return answer(request.app[AGENT].meshes(caller(request)))


async def _put_mesh(request: web.Request) -> web.Response:
    check_turn(request)
    agent = request.app[AGENT]
    spec = api.decode(await request.read(), api.MeshSpec)
    if spec.name != request.match_info["mesh"]:
        raise AgentError("bad-request", f"the path names another mesh than the body ({spec.name})")
    try:
        api.check(spec)
    except msgspec.ValidationError as error:
        raise AgentError("bad-request", str(error)) from error
    missing = agent.missing_blobs(spec)
    spared = await images.spared(agent.machine, spec, missing)
    missing = [blob for blob in missing if blob not in spared]
    if missing:
        text = f"{len(missing)} uploads are missing"
        return problem(409, "missing-blobs", text, "", tuple(missing))
    await agent.devices.known()
    made_for = None if forced(request) else number(request, "generation")
    await agent.measure_for(spec)
    author, retry = caller(request), not flag(request, "no_retry")
    put = agent.put_mesh(spec, author=author, made_for=made_for, spared=spared, retry=retry)
    return answer(put)


async def _check_mesh(request: web.Request) -> web.Response:
    spec = api.decode(await request.read(), api.MeshSpec)
    if spec.name != request.match_info["mesh"]:
        raise AgentError("bad-request", f"the path names another mesh than the body ({spec.name})")
    agent, made_for = request.app[AGENT], number(request, "generation")
    await agent.devices.known()
    await agent.measure_for(spec)
    try:
        agent.check_mesh(spec, made_for=None if forced(request) else made_for)
    except AgentError as error:
        return answer((api.Problem(code=error.code, message=error.message, hint=error.hint),))
    if misfits := await images.misfits(agent.machine, spec):
        return answer(misfits)
    machine = agent.machine
    lacks = list(lacking(machine.links_of(spec), spec))
    lacks += api.without_gpus(spec, machine.grants.facts, machine.grants.why)
    found = [api.Problem(code="degraded", message=line) for line in lacks]
    if made_for is not None and (missing := agent.missing_blobs(spec)):
        text = f"{len(missing)} uploads are missing"
        found.append(api.Problem(code="missing-blobs", message=text, missing=tuple(missing)))
    return answer(tuple(found))


async def _mesh(request: web.Request) -> web.Response:
    agent, name = request.app[AGENT], request.match_info["mesh"]
    book, watch, spec, machine = (
        agent.links(name),
        agent.fidelity(name),
        agent.spec(name),
        agent.machine,
    )

    def look() -> tuple[Any, ...]:
        """All that has to be asked for, at once: whoever has many machines asks them all."""
        book.look()
        return (
            watch.sample(),
            book.count(),
            machine.network.tunnels(spec),
            streams.stream_statuses(machine.layout, spec),
        )

    sample, counts, tunnels, found = await asyncio.to_thread(look)
    book.looked()
    watch.judge(sample)
    status = agent.mesh(name)
    links = told(counted(status.links, counts), spec, tunnels)
    return answer(msgspec.structs.replace(status, streams=found, links=links))


async def _directory(request: web.Request) -> web.Response:
    agent = request.app[AGENT]
    spec = agent.spec(request.match_info["mesh"])
    if not spec.directory:
        raise AgentError("not-found", f"mesh {spec.name} has no directory")
    return answer(await asyncio.to_thread(directory.read, agent.machine.layout, spec))


async def _messages(request: web.Request) -> web.StreamResponse:
    agent = request.app[AGENT]
    spec = agent.spec(request.match_info["mesh"])
    ids = request.query.getall("id", [])[:MAX_IDS]
    lines = streams.record_lines(agent.machine.layout, spec.name, spec.modules, ids)
    return await ndjson(request, _in_thread(lines))


async def _in_thread(items: Iterator[api.RecordLine]) -> AsyncIterator[list[api.RecordLine]]:
    """What takes long to find, in batches, without the loop waiting for it."""
    while batch := await asyncio.to_thread(lambda: list(itertools.islice(items, BATCH))):
        yield batch


async def _delete_mesh(request: web.Request) -> web.Response:
    check_turn(request)
    request.app[AGENT].destroy_mesh(request.match_info["mesh"])
    return web.Response(status=202)


ROUTES = (
    web.get("/v1/meshes", _meshes),
    web.put("/v1/meshes/{mesh}", _put_mesh),
    web.get("/v1/meshes/{mesh}", _mesh),
    web.delete("/v1/meshes/{mesh}", _delete_mesh),
    web.post("/v1/meshes/{mesh}/check", _check_mesh),
    web.get("/v1/meshes/{mesh}/directory", _directory),
    web.get("/v1/meshes/{mesh}/messages", _messages),
)
