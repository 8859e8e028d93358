"""A module's results, as a tar."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from otter_agent import collect
from otter_agent.server.common import AGENT, module_of


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


ROUTES = (web.get("/v1/meshes/{mesh}/modules/{module}/files", _files),)
