"""A module's results, as a tar."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from otter_agent import collect
from otter_agent.errors import AgentError
from otter_agent.runtimes.base import Key
from otter_agent.runtimes.copies import Copies
from otter_agent.server.common import AGENT, answer, module_of
from otter_agent.server.owners import check_owner

CHUNK_BYTES = 1 << 18


async def _files(request: web.Request) -> web.StreamResponse:
    agent = request.app[AGENT]
    module = module_of(agent, request)
    scratch = agent.machine.layout.scratch
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        mesh = request.match_info["mesh"]
        return await tar_answer(request, collect.results(agent.machine, mesh, module, Path(folder)))


async def tar_answer(request: web.Request, chunks: AsyncIterator[bytes]) -> web.StreamResponse:
    """An answer that goes out as it is made."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
    async with contextlib.aclosing(chunks):  # type: ignore[type-var]  # all are generators
        first = await anext(chunks, b"")  # what fails before it is a proper answer still
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # the reader went away
            await response.write(first)
            async for chunk in chunks:
                await response.write(chunk)
            await response.write_eof()
    return response


def _copier(request: web.Request) -> tuple[Copies, Key, str]:
    """Who copies, which module's files, and the path. Raises `AgentError`."""
    check_owner(request)
    agent = request.app[AGENT]
    module = module_of(agent, request)
    driver = agent.machine.runtimes.get(module.runtime)
    if not isinstance(driver, Copies):
        raise AgentError("bad-request", f"runtime {module.runtime} can't copy files")
    return driver, Key(request.match_info["mesh"], module.name), request.query.get("path", "")


async def _stat(request: web.Request) -> web.Response:
    driver, key, path = _copier(request)
    return answer(await driver.stat_path(key, path))


async def _pack(request: web.Request) -> web.StreamResponse:
    driver, key, path = _copier(request)
    return await tar_answer(request, driver.pack_path(key, path))


async def _unpack(request: web.Request) -> web.Response:
    driver, key, path = _copier(request)
    chunks = request.content.iter_chunked(CHUNK_BYTES)
    return answer(await driver.unpack_into(key, path, aiter(chunks)))


_MODULE = "/v1/meshes/{mesh}/modules/{module}"
ROUTES = (
    web.get(f"{_MODULE}/files", _files),
    web.get(f"{_MODULE}/stat", _stat),
    web.get(f"{_MODULE}/archive", _pack),
    web.put(f"{_MODULE}/archive", _unpack),
)
