"""Files of containers, by the engine's archive requests: they need no shell and no running process.

The engine follows links inside the container's root only. Must not know: which container is whose.
"""

from __future__ import annotations

import base64
import posixpath
from collections.abc import AsyncIterator
from typing import Literal

import msgspec

from otter_agent import api
from otter_agent.engine import Engine, EngineError
from otter_agent.errors import AgentError
from otter_agent.runtimes.base import Key
from otter_agent.runtimes.copies import check_allowed, missing, plain

_FOLDER, _LINK, _IRREGULAR = 1 << 31, 1 << 27, 0x8F280000
"""Bits of Go's io/fs.FileMode."""
_STAT = "X-Docker-Container-Path-Stat"


class _Stat(msgspec.Struct):
    """What the engine tells of a path."""

    size: int
    mode: int
    link_target: str = msgspec.field(name="linkTarget", default="")

    @property
    def kind(self) -> Literal["file", "folder", "link", "other"]:
        if self.mode & _FOLDER:
            return "folder"
        if self.mode & _LINK:
            return "link"
        return "other" if self.mode & _IRREGULAR else "file"


async def stat(engine: Engine, container: str, key: Key, path: str) -> api.PathInfo:
    """What is at a path, whose last step may be a link."""
    real = await _real(engine, container, key, plain(path))
    check_allowed(real)
    found = await _look(engine, container, real)
    if found is None:
        raise missing(key, real)
    return api.PathInfo(
        path=real, kind=found.kind, size_bytes=found.size, mode=found.mode & 0o777,
        target=found.link_target,
    )  # fmt: skip


async def pack(engine: Engine, container: str, key: Key, path: str) -> AsyncIterator[bytes]:
    """The engine's tar of a path."""
    found = await stat(engine, container, key, path)
    check_allowed(found.path, whole=True)
    where = f"/containers/{container}/archive"
    async with engine.stream("GET", where, params={"path": found.path}) as response:
        with engine.errors():
            async for chunk in response.content.iter_any():
                yield chunk


async def unpack(
    engine: Engine, container: str, key: Key, path: str, chunks: AsyncIterator[bytes]
) -> api.Copied:
    """Have the engine write a tar below a folder."""
    real = await _real(engine, container, key, plain(path), last=True)
    check_allowed(real)
    params = {"path": real, "noOverwriteDirNonDir": "1"}
    where = f"/containers/{container}/archive"
    try:
        async with engine.stream("PUT", where, params=params, data=chunks,
                                 content_type="application/x-tar") as response:  # fmt: skip
            await response.read()
    except EngineError as exc:
        if exc.status == 404:
            raise missing(key, real) from exc
        if exc.status in (400, 403):
            raise AgentError("bad-request", f"module {key.module}: {real}: {exc.message}") from exc
        raise
    return api.Copied()


async def _real(engine: Engine, container: str, key: Key, path: str, *, last: bool = False) -> str:
    """A path without links; its last step stays one unless `last` says otherwise."""
    real = "/"
    parts = path.split("/")[1:] if path != "/" else []
    for number, part in enumerate(parts, 1):
        step = posixpath.join(real, part)
        if number == len(parts) and not last:
            return step
        found = await _look(engine, container, step)
        if found is None:
            raise missing(key, posixpath.join(step, *parts[number:]))
        real = found.link_target if found.kind == "link" else step
    return real


async def _look(engine: Engine, container: str, path: str) -> _Stat | None:
    where = f"/containers/{container}/archive"
    try:
        async with engine.stream("HEAD", where, params={"path": path}) as response:
            text = response.headers.get(_STAT, "")
    except EngineError as exc:
        if exc.status == 404:
            return None
        raise
    return msgspec.json.decode(base64.b64decode(text), type=_Stat)
