"""Requests to one agent's API, with typed answers: HTTP over a Unix socket, or what leads to one.

    AgentClient, ImageCalls, …   what can be asked: paths, types
    ApiClient                    here: how; errors of the agent and of the way to it
    HttpClient                   connections, bytes

Must not know: which requests there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from otter_agent import api
from otter_ctl.connection import Body, Open, limit, unix
from otter_ctl.errors import AgentFault, AgentUnreachable
from otter_ctl.http import ANSWER_S, CONNECT_S, HttpClient, Response
from otter_ctl.squeezing import LEAST_BYTES, shrunk

if TYPE_CHECKING:
    from otter_ctl.duplex import Duplex

T = TypeVar("T")
Query = Sequence[tuple[str, str]]
_HOST = "agent"
_READS = re.compile(r"/v1/meshes/[^/]+/(secrets/)?check|/v1/images/look|/v1/knock|/v1/info")
"""What is asked with a body, and changes nothing all the same."""


class ApiClient:
    """One agent; use with `async with`.

    Requests raise `AgentFault` where the agent refuses, `AgentUnreachable` where nobody answers.

    Args:
        socket: Its Unix socket.
        machine: How to call it in errors.
        open_: Makes the connections to it, from another machine: what is sent is compressed; None:
            by the socket, on this machine.
        force: Act on meshes of others as well, and on ones that have changed (`--force`).
        connect_s: How long a connection may take.
        reads_only: Whatever could change something is a bug (`RuntimeError`), and isn't sent.

    Attributes:
        holder: Whose turn to change meshes it is, said with each request; empty: nobody's.
        is_far: It is on another machine, or takes a way there.
    """

    def __init__(
        self,
        socket: Path,
        machine: str = "local",
        open_: Open | None = None,
        *,
        force: bool = False,
        connect_s: float = CONNECT_S,
        reads_only: bool = False,
    ) -> None:
        self._reads_only = reads_only
        self.socket = socket
        self.machine = machine
        self.force = force
        self.holder = ""
        self.is_far = open_ is not None
        self._http = HttpClient(open_ or unix(socket), self.unreachable, _HOST, connect_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._http.close()

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Body = b"",
        answer_s: float | None = ANSWER_S,
    ) -> AsyncIterator[Response]:
        """The answer, once its head is there.

        Args:
            method: Of HTTP.
            path: With what is in it quoted.
            query: What is to be added to it.
            body: What is sent.
            answer_s: How long the agent may be silent; None: as long as it likes.
        """
        is_reading = method in ("GET", "HEAD") or (method == "POST" and _READS.fullmatch(path))
        if not is_reading:
            self._may_change(f"{method} {path}")
        packed = None
        if self.is_far and isinstance(body, bytes):
            packed = await asyncio.to_thread(shrunk, body) if len(body) >= LEAST_BYTES else None
        async with self._http.request(
            method, path, query=[*query, *self._always()], answer_s=answer_s,
            body=body if packed is None else packed, encoding="" if packed is None else "gzip",
        ) as response:  # fmt: skip
            if response.status >= 400:
                raise self.fault(response.reason, await response.read())
            yield response

    def _may_change(self, what: str) -> None:
        if self._reads_only:
            raise RuntimeError(f"{what}: asked by what is to change nothing")

    def _always(self) -> list[tuple[str, str]]:
        said = {"force": "1" if self.force else "", "lease": self.holder}
        return [(name, value) for name, value in said.items() if value]

    async def ask(
        self,
        path: str,
        kind: type[T],
        method: str = "GET",
        *,
        query: Query = (),
        body: Body = b"",
        answer_s: float | None = ANSWER_S,
    ) -> T:
        """A whole answer, as a value of `kind`."""
        async with self.request(method, path, query=query, body=body, answer_s=answer_s) as got:
            return self._decoded(await got.read(), kind)

    async def lines(self, response: Response, kind: type[T]) -> AsyncIterator[T]:
        """An answer of NDJSON, line by line as it comes."""
        async for line in response.lines():
            yield self._decoded(line, kind)

    async def chunks(
        self, path: str, *, query: Query = (), answer_s: float | None = None
    ) -> AsyncIterator[bytes]:
        """An answer of bytes, as it comes."""
        async with self.request("GET", path, query=query, answer_s=answer_s) as response:
            async for chunk in response.chunks():
                yield chunk

    @contextlib.asynccontextmanager
    async def duplex(self, path: str) -> AsyncIterator[Duplex]:
        """Messages both ways, at a path of the API where the agent talks so (a WebSocket)."""
        from otter_ctl.duplex import Duplex, Refused  # few verbs need it

        self._may_change(path)
        duplex = Duplex(await self._http.connect(), self.unreachable)
        try:
            forced = "?force=1" if self.force else ""
            async with limit(self.unreachable, ANSWER_S):
                await duplex.open(path + forced, _HOST)
            yield duplex
        except Refused as refused:
            raise self.fault(str(refused), refused.body) from None
        finally:
            await duplex.aclose()

    # --- errors ------------------------------------------------------------------------------

    def unreachable(self, why: str) -> AgentUnreachable:
        """The error of a way to it that fails."""
        return AgentUnreachable(self.machine, str(self.socket), why)

    def fault(self, reason: str, body: bytes) -> AgentFault:
        """The error of an answer that is one."""
        try:
            problem = api.decode(body, api.Problem)
        except msgspec.DecodeError:
            text = body[:200].decode(errors="replace") or reason or "no reason given"
            problem = api.Problem(code="failed", message=text)
        return AgentFault(self.machine, problem)

    def _decoded(self, data: bytes, kind: type[T]) -> T:
        try:
            return api.decode(data, kind)
        except (msgspec.DecodeError, RecursionError) as error:
            hint = "are otterctl and otter-agent of the same version? see `otterctl doctor`"
            why = f"answer not understood: {error}"
            problem = api.Problem(code="version", message=why, hint=hint)
            raise AgentFault(self.machine, problem) from error
