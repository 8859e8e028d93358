"""Talks to one agent: its HTTP API over a Unix socket, as typed calls.

Errors are `AgentFault` (the agent refused), `AgentUnreachable` (nobody answers).
Must not know: topology, how output looks, how an agent is started.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
import msgspec

from otter_agent import api
from otter_ctl.errors import AgentFault, AgentUnreachable

T = TypeVar("T")
_CONNECT_S = 5.0
_NO_LIMIT = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
_BASE = "http://agent"
MAX_LINE_BYTES = 1 << 22


class AgentClient:
    """One agent; use with `async with`.

    Args:
        socket: Its Unix socket.
        machine: How to call it in errors.
    """

    def __init__(self, socket: Path, machine: str = "local") -> None:
        self.socket = socket
        self.machine = machine
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> AgentClient:
        connector = aiohttp.UnixConnector(path=str(self.socket), limit=32)
        self._session = aiohttp.ClientSession(connector=connector, timeout=_NO_LIMIT)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, path: str, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None, "use with `async with`"
        try:
            async with self._session.request(
                method, _BASE + path, max_line_size=MAX_LINE_BYTES, **options
            ) as response:
                if response.status >= 400:
                    raise await self._fault(response)
                yield response
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(str(error.os_error.strerror)) from error
        except (aiohttp.ClientError, ConnectionError) as error:
            why = f"the connection broke ({error or type(error).__name__})"
            raise self._unreachable(why) from error

    def _unreachable(self, why: str) -> AgentUnreachable:
        return AgentUnreachable(self.machine, str(self.socket), why)

    async def _fault(self, response: aiohttp.ClientResponse) -> AgentFault:
        body = await response.read()
        try:
            problem = api.decode(body, api.Problem)
        except msgspec.DecodeError:
            text = body[:200].decode(errors="replace") or response.reason or "no reason given"
            problem = api.Problem(code="failed", message=text)
        return AgentFault(self.machine, problem)

    async def _get(self, path: str, kind: type[T], method: str = "GET", **options: Any) -> T:
        async with self._request(method, path, **options) as response:
            body = await response.read()
        try:
            return api.decode(body, kind)
        except msgspec.DecodeError as error:
            hint = "are otterctl and otter-agent of the same version? see `otterctl doctor`"
            why = f"answer not understood: {error}"
            problem = api.Problem(code="version", message=why, hint=hint)
            raise AgentFault(self.machine, problem) from error

    # --- calls -------------------------------------------------------------------------------

    async def info(self) -> api.Info:
        """Facts about the agent and its machine."""
        return await self._get("/v1/info", api.Info)

    async def meshes(self) -> list[api.MeshSummary]:
        """All meshes there."""
        return await self._get("/v1/meshes", list[api.MeshSummary])

    async def mesh(self, name: str) -> api.MeshStatus:
        """One mesh. Raises `AgentFault` with code `not-found`."""
        return await self._get(f"/v1/meshes/{name}", api.MeshStatus)

    async def find_mesh(self, name: str) -> api.MeshStatus | None:
        """One mesh, or None."""
        try:
            return await self.mesh(name)
        except AgentFault as fault:
            if fault.code == "not-found":
                return None
            raise

    async def put_mesh(
        self, spec: api.MeshSpec, uploads: Mapping[str, Callable[[], bytes]]
    ) -> api.MeshStatus:
        """Ask for `spec`, with what it needs: digest -> a function that gives the content."""
        path = f"/v1/meshes/{spec.name}"
        body = api.encode(spec)
        try:
            return await self._get(path, api.MeshStatus, "PUT", data=body)
        except AgentFault as fault:
            if fault.code != "missing-blobs":
                raise
            for digest in fault.problem.missing:
                async with self._request("PUT", f"/v1/blobs/{digest}", data=uploads[digest]()):
                    pass
        return await self._get(path, api.MeshStatus, "PUT", data=body)

    async def destroy(self, name: str) -> None:
        """Ask for removal; follow `events` until `destroyed`."""
        async with self._request("DELETE", f"/v1/meshes/{name}"):
            pass

    async def images(self) -> list[api.ImageInfo]:
        """Images and environments that OTTER made there."""
        return await self._get("/v1/images", list[api.ImageInfo])

    async def prune(self) -> api.Pruned:
        """Remove those that nothing uses."""
        return await self._get("/v1/images/prune", api.Pruned, "POST")

    # --- streams -----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def events(
        self, *, mesh: str | None = None, since: int | None = None, follow: bool = False
    ) -> AsyncIterator[AsyncIterator[api.Event]]:
        """Events; on entry with `follow`, nothing that happens from now on is missed."""
        query = {"follow": "1" if follow else "0"}
        if mesh is not None:
            query["mesh"] = mesh
        if since is not None:
            query["since"] = str(since)
        async with self._request("GET", "/v1/events", params=query) as response:
            yield _lines(response, api.Event)

    async def logs(
        self, mesh: str, modules: Sequence[str], *, tail: int | None, follow: bool
    ) -> AsyncIterator[api.LogLine]:
        """Log lines of some modules (none named: all)."""
        query = [("module", m) for m in modules] + [("follow", "1" if follow else "0")]
        if tail is not None:
            query.append(("tail", str(tail)))
        async with self._request("GET", f"/v1/meshes/{mesh}/logs", params=query) as response:
            async for line in _lines(response, api.LogLine):
                yield line

    async def files(self, mesh: str, module: str, target: Path) -> None:
        """Write the tar of a module's logs, records and outputs to `target`."""
        path = f"/v1/meshes/{mesh}/modules/{module}/files"
        async with self._request("GET", path) as response:
            with target.open("wb") as file:
                async for chunk in response.content.iter_chunked(1 << 20):
                    file.write(chunk)

    @contextlib.asynccontextmanager
    async def exec(
        self, mesh: str, module: str, argv: Sequence[str]
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Start a command in a module.

        What is sent is its stdin (empty: the end). The first byte of what comes says what follows:
        1 or 2 its output, 0 JSON, `{"exit": N}` or `{"error": Problem}`, and the end.
        """
        assert self._session is not None
        path = f"/v1/meshes/{mesh}/modules/{module}/exec"
        try:
            socket = await self._session.ws_connect(_BASE + path, max_msg_size=1 << 24)
        except aiohttp.WSServerHandshakeError as error:
            async with self._request("GET", path):  # to read the problem in full
                pass
            raise self._unreachable(str(error)) from error
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(str(error.os_error.strerror)) from error
        async with socket:
            await socket.send_str(msgspec.json.encode({"argv": list(argv)}).decode())
            yield socket


async def _lines(response: aiohttp.ClientResponse, kind: type[T]) -> AsyncIterator[T]:
    async for line in response.content:
        if line.strip():
            yield api.decode(line, kind)
