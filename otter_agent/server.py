"""The agent's API: HTTP over one Unix socket, mode 0660 (access to it equals root, as Docker's).

Translates requests to calls of `Agent` and errors to `Problem`. The paths are in
docs/architecture.md. Must not know: Docker, SSH, how anything is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from net.errors import OtterError
from otter_agent import api, collect
from otter_agent.agent import Agent
from otter_agent.errors import AgentError
from otter_agent.runtimes.base import Exec, Key

MAX_SPEC_BYTES = 64 << 20
"""Of a JSON body: about 50,000 modules."""
_STATUS = {"not-found": 404, "missing-blobs": 409, "destroying": 409, "bad-request": 400}
STDIN_CHUNKS = 16
"""Messages of stdin in flight: a command that doesn't read slows its client."""
_NDJSON = "application/x-ndjson"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_AGENT = web.AppKey("agent", Agent)


def make_app(agent: Agent) -> web.Application:
    """All routes."""
    app = web.Application(client_max_size=MAX_SPEC_BYTES, middlewares=[_errors])
    app[_AGENT] = agent
    app.add_routes(
        [
            web.get("/v1/info", _info),
            web.get("/v1/blobs/{digest}", _has_blob),  # HEAD comes with it
            web.put("/v1/blobs/{digest}", _put_blob),
            web.get("/v1/meshes", _meshes),
            web.put("/v1/meshes/{mesh}", _put_mesh),
            web.get("/v1/meshes/{mesh}", _mesh),
            web.delete("/v1/meshes/{mesh}", _delete_mesh),
            web.get("/v1/meshes/{mesh}/logs", _logs),
            web.get("/v1/meshes/{mesh}/modules/{module}/files", _files),
            web.get("/v1/meshes/{mesh}/modules/{module}/exec", _exec),
            web.get("/v1/events", _events),
            web.get("/v1/images", _images),
            web.post("/v1/images/prune", _prune),
        ]
    )
    return app


@contextlib.asynccontextmanager
async def serving(agent: Agent, socket: Path) -> AsyncIterator[None]:
    """Serve the API at `socket` while the block runs; the socket is gone afterwards."""
    runner = web.AppRunner(
        make_app(agent), access_log=None, shutdown_timeout=1.0, handler_cancellation=True
    )
    await runner.setup()
    socket.parent.mkdir(parents=True, exist_ok=True)
    fresh = socket.with_name(f".{socket.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    old = os.umask(0o117)  # so that it is 0660 from its first moment
    try:
        await web.UnixSite(runner, str(fresh)).start()
    finally:
        os.umask(old)
    fresh.rename(socket)  # never a moment in which a client finds a socket that refuses
    try:
        yield
    finally:
        socket.unlink(missing_ok=True)
        await runner.cleanup()


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except AgentError as error:
        return _problem(_STATUS.get(error.code, 500), error.code, error.message, error.hint)
    except OtterError as error:
        return _problem(500, "failed", error.args[0], error.hint)
    except OSError as error:  # a full disk, most likely
        return _problem(500, "failed", f"{request.method} {request.path}: {error}", "")
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        hint = "are otterctl and otter-agent of the same version?"
        return _problem(400, "bad-request", f"request body: {error}", hint)
    except web.HTTPException as error:
        return _problem(
            error.status,
            "not-found" if error.status == 404 else "bad-request",
            f"{request.method} {request.path}: {error.reason}",
            "",
        )
    return response


def _problem(
    status: int, code: str, message: str, hint: str, missing: tuple[str, ...] = ()
) -> web.Response:
    return _json(api.Problem(code=code, message=message, hint=hint, missing=missing), status)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=api.encode(value), status=status, content_type="application/json")


# --- info, uploads -------------------------------------------------------------------------------


async def _info(request: web.Request) -> web.Response:
    return _json(request.app[_AGENT].machine.info())


def _blob_path(request: web.Request) -> Path:
    digest = request.match_info["digest"]
    if not _SHA256.fullmatch(digest):
        raise AgentError("bad-request", f"{digest[:80]!r} is not a SHA-256 in hex")
    return request.app[_AGENT].machine.layout.blobs / digest


async def _has_blob(request: web.Request) -> web.Response:
    if not _blob_path(request).exists():
        raise AgentError("not-found", "no such upload")
    return web.Response()


async def _put_blob(request: web.Request) -> web.Response:
    import hashlib

    path = _blob_path(request)
    path.parent.mkdir(parents=True, exist_ok=True)
    total = hashlib.sha256()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".upload-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            async for chunk in request.content.iter_chunked(1 << 20):
                total.update(chunk)
                await asyncio.to_thread(file.write, chunk)
        if total.hexdigest() != path.name:
            raise AgentError("bad-request", f"upload {path.name[:12]}…: content has another digest")
        Path(name).rename(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return web.Response(status=201)


# --- meshes --------------------------------------------------------------------------------------


async def _meshes(request: web.Request) -> web.Response:
    return _json(request.app[_AGENT].meshes())


async def _put_mesh(request: web.Request) -> web.Response:
    agent = request.app[_AGENT]
    spec = api.decode(await request.read(), api.MeshSpec)
    if spec.name != request.match_info["mesh"]:
        raise AgentError("bad-request", f"the path names another mesh than the body ({spec.name})")
    api.check(spec)
    missing = agent.missing_blobs(spec)
    if missing:
        text = f"{len(missing)} uploads are missing"
        return _problem(409, "missing-blobs", text, "", tuple(missing))
    return _json(agent.put_mesh(spec))


async def _mesh(request: web.Request) -> web.Response:
    return _json(request.app[_AGENT].mesh(request.match_info["mesh"]))


async def _delete_mesh(request: web.Request) -> web.Response:
    request.app[_AGENT].destroy_mesh(request.match_info["mesh"])
    return web.Response(status=202)


# --- streams -------------------------------------------------------------------------------------


def _flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "") not in ("", "0", "false")


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise AgentError("bad-request", f"{name}={text[:40]!r}: a whole number is needed")
    return int(text)


async def _stream(request: web.Request, items: AsyncIterator[Any]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": _NDJSON})
    await response.prepare(request)
    async with contextlib.aclosing(items):  # type: ignore[type-var]  # all are async generators
        try:
            async for item in items:
                await response.write(api.encode(item) + b"\n")
            await response.write_eof()
        except ConnectionError:
            pass  # the reader went away, as followers do
    return response


async def _events(request: web.Request) -> web.StreamResponse:
    agent = request.app[_AGENT]
    since = _number(request, "since")
    follow = _flag(request, "follow")
    start = since if since is not None else (agent.last_event() if follow else 0)
    events = agent.events(mesh=request.query.get("mesh"), since=start, follow=follow)
    return await _stream(request, events)


async def _logs(request: web.Request) -> web.StreamResponse:
    agent = request.app[_AGENT]
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
        tail=_number(request, "tail"),
        follow=_flag(request, "follow"),
    )
    return await _stream(request, lines)


def _module(agent: Agent, request: web.Request) -> api.ModuleSpec:
    spec = agent.mesh(request.match_info["mesh"]).spec
    name = request.match_info["module"]
    for module in spec.modules:
        if module.name == name:
            return module
    known = ", ".join(m.name for m in spec.modules)
    raise AgentError(
        "not-found", f"no module {name!r} in mesh {spec.name}", hint=f"there are: {known}"
    )


async def _files(request: web.Request) -> web.StreamResponse:
    agent = request.app[_AGENT]
    module = _module(agent, request)
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


async def _exec(request: web.Request) -> web.StreamResponse:
    agent = request.app[_AGENT]
    module = _module(agent, request)
    driver = agent.machine.runtimes[module.runtime]
    if not isinstance(driver, Exec):
        raise AgentError("bad-request", f"runtime {module.runtime} can't run commands in a module")
    socket = web.WebSocketResponse(max_msg_size=1 << 24)
    await socket.prepare(request)
    key = Key(request.match_info["mesh"], module.name)
    try:
        wanted = await _exec_request(socket)
        code = await _run_while_connected(socket, driver, key, wanted.argv)
        last: dict[str, Any] = {"exit": code}
    except OtterError as error:
        problem = api.Problem(code="failed", message=str(error.args[0]), hint=error.hint)
        last = {"error": api.to_builtins(problem)}
    if not socket.closed:
        await socket.send_bytes(b"\x00" + api.encode(last))
    await socket.close()
    return socket


async def _exec_request(socket: web.WebSocketResponse) -> api.ExecRequest:
    message = await socket.receive()
    try:
        if message.type is WSMsgType.TEXT:
            return api.decode(message.data, api.ExecRequest)
        why = "the first message must be text"
    except (msgspec.DecodeError, RecursionError) as error:
        why = str(error)
    raise AgentError("bad-request", f"exec: {why}")


async def _run_while_connected(
    socket: web.WebSocketResponse, driver: Exec, key: Key, argv: Sequence[str]
) -> int:
    """Run a command; it is killed when its client goes away."""
    stdin: asyncio.Queue[bytes] = asyncio.Queue(STDIN_CHUNKS)

    async def given() -> AsyncIterator[bytes]:
        while data := await stdin.get():
            yield data

    async def listen() -> None:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await stdin.put(message.data)

    async with asyncio.TaskGroup() as group:
        work = group.create_task(
            driver.exec(key, argv, stdin=given(), output=_output(socket)), name=f"exec in {key}"
        )
        listening = group.create_task(listen(), name=f"stdin of {key}")
        await asyncio.wait((work, listening), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
        listening.cancel()
    if work.cancelled():
        raise AgentError("gone", "the client went away; the command was killed")
    return work.result()


def _output(socket: web.WebSocketResponse) -> Any:
    async def write(fd: int, data: bytes) -> None:
        await socket.send_bytes(bytes([fd]) + data)

    return write


# --- images --------------------------------------------------------------------------------------


async def _images(request: web.Request) -> web.Response:
    return _json(await collect.images(request.app[_AGENT].machine, request.app[_AGENT].in_use()))


async def _prune(request: web.Request) -> web.Response:
    agent = request.app[_AGENT]
    return _json(await collect.prune(agent.machine, frozenset(agent.in_use())))
