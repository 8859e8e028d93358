"""Facts about the agent, and uploads named by their content."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from otter_agent.errors import AgentError
from otter_agent.server.common import AGENT, answer

BLOCK_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


async def _info(request: web.Request) -> web.Response:
    agent = request.app[AGENT]
    await agent.devices.known()
    return answer(agent.machine.info(agent.holdings()))


async def _measure(request: web.Request) -> web.Response:
    """The same, once what predictions rest on is measured; two seconds the first time."""
    await request.app[AGENT].measure_waking()
    return await _info(request)


def _blob_path(request: web.Request) -> Path:
    digest = request.match_info["digest"]
    if not _SHA256.fullmatch(digest):
        raise AgentError("bad-request", f"{digest[:80]!r} is not a SHA-256 in hex")
    return request.app[AGENT].machine.layout.blobs / digest


async def _has_blob(request: web.Request) -> web.Response:
    if not _blob_path(request).exists():
        raise AgentError("not-found", "no such upload")
    return web.Response()


async def _put_blob(request: web.Request) -> web.Response:
    path = _blob_path(request)
    path.parent.mkdir(parents=True, exist_ok=True)
    total = hashlib.sha256()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".upload-")

    def take(data: bytes) -> None:
        total.update(data)
        file.write(data)

    try:
        with os.fdopen(descriptor, "wb") as file:
            async for block in _blocks(request):
                await asyncio.to_thread(take, block)
        if total.hexdigest() != path.name:
            raise AgentError("bad-request", f"upload {path.name[:12]}…: content has another digest")
        Path(name).rename(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return web.Response(status=201)


async def _blocks(request: web.Request) -> AsyncIterator[bytes]:
    """What comes in, in few pieces: each is a thread's."""
    block = bytearray()
    async for chunk in request.content.iter_any():
        block += chunk
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)


ROUTES = (
    web.get("/v1/info", _info),
    web.post("/v1/info", _measure),
    web.get("/v1/blobs/{digest}", _has_blob),  # HEAD comes with it
    web.put("/v1/blobs/{digest}", _put_blob),
)
