"""A module's results, as a tar."""

from __future__ import annotations

import asyncio
import tempfile
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
        tar = await collect.results(agent.machine, request.match_info["mesh"], module, Path(folder))
        response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
        await response.prepare(request)
        with tar.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, 1 << 20):
                await response.write(chunk)
        await response.write_eof()
    return response


ROUTES = (web.get("/v1/meshes/{mesh}/modules/{module}/files", _files),)
