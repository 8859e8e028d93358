"""The agent's API: HTTP over one Unix socket, mode 0660 (access to it equals root, as Docker's).

Translates requests to calls of `Agent` and errors to `Problem`. The paths are in
docs/architecture.md. Must not know: Docker, SSH, how anything is done.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from net.errors import OtterError
from otter_agent import api
from otter_agent.agent import Agent
from otter_agent.errors import AgentError, Locked
from otter_agent.server import (
    blobs,
    budgets,
    cache,
    capture,
    commands,
    dev,
    files,
    forward,
    gpus,
    images,
    links,
    logs,
    many,
    meshes,
    modules,
    secrets,
    timeline,
    verify,
    volumes,
)
from otter_agent.server.common import AGENT, answer, problem
from otter_agent.server.owners import owners_only
from otter_agent.turns import Turns

MAX_SPEC_BYTES = 64 << 20
"""Of a JSON body: about 50,000 modules."""
_STATUS = {
    "bad-request": 400, "not-owner": 403, "not-found": 404,
    "missing-blobs": 409, "destroying": 409, "changed": 409, "overcommit": 409, "port-taken": 409,
    "unsupported-link": 409, "unsupported-budget": 409, "unsupported-gpu": 409,
    "in-use": 409, "locked": 409, "no-such-path": 404, "wrong-kind": 409, "no-space": 507,
    "missing-layers": 409, "corrupt": 422, "cut": 400,
}  # fmt: skip
_ROUTES = (
    blobs,
    many,
    meshes,
    modules,
    links,
    budgets,
    timeline,
    secrets,
    logs,
    files,
    commands,
    forward,
    dev,
    gpus,
    images,
    cache,
    volumes,
    verify,
    capture,
)
"""Modules with `ROUTES`."""


def make_app(agent: Agent) -> web.Application:
    """All routes."""
    app = web.Application(client_max_size=MAX_SPEC_BYTES, middlewares=[_errors, owners_only])
    app[AGENT] = agent
    app[many.TURNS] = Turns()
    app[verify.RUNNING] = set()
    app[capture.RUNNING] = set()
    for part in _ROUTES:
        app.add_routes(part.ROUTES)
    return app


@contextlib.asynccontextmanager
async def serving(agent: Agent, socket: Path, group: int = -1) -> AsyncIterator[None]:
    """Serve the API at `socket` while the block runs; the socket is gone afterwards.

    Args:
        agent: What answers.
        socket: Made anew, mode 0660.
        group: Id of the group that it is given; -1: of this process's.
    """
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
    os.chown(fresh, -1, group)
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
    except Locked as error:
        said = api.Problem(
            code=error.code, message=error.message, hint=error.hint, controller=error.controller
        )
        return answer(said, _STATUS[error.code])
    except AgentError as error:
        return problem(_STATUS.get(error.code, 500), error.code, error.message, error.hint)
    except OtterError as error:
        return problem(500, "failed", error.args[0], error.hint)
    except OSError as error:  # a full disk, most likely
        return problem(500, "failed", f"{request.method} {request.path}: {error}", "")
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
        hint = "are otterctl and otter-agent of the same version?"
        return problem(400, "bad-request", f"request body: {error}", hint)
    except web.RequestPayloadError as error:  # chunks that are none, a damaged compression
        return problem(400, "bad-request", f"request body: {error}", "")
    except web.HTTPException as error:
        return problem(
            error.status,
            "not-found" if error.status == 404 else "bad-request",
            f"{request.method} {request.path}: {error.reason}",
            "",
        )
    return response
