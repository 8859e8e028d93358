"""A small HTTP client for one server, over any byte stream; it starts in a tenth of aiohttp's time.

Connections that ended an exchange cleanly are used again. Every failure is raised as what `fail`
makes of its reason. Must not know: agents, their paths, JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import urlencode

import h11

from otter_ctl.connection import Body, Connection, Fail, Open, Stream, limit

CONNECT_S = 5.0
ANSWER_S = 60.0
"""How long an answer may take to begin, and one that is read whole to end."""
MAX_LINE_BYTES = 1 << 22
MAX_BODY_BYTES = 1 << 28
"""Of an answer that is read whole; larger ones are read in chunks."""
_IDLE = 4
_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""What may be sent twice: a server may close a kept connection in the moment it is used."""


class Response:
    """An answer; its body is read once, in one of these ways.

    Attributes:
        status: 200, 404, …
        reason: The words beside it.
    """

    def __init__(self, connection: Connection, head: h11.Response) -> None:
        self.status = head.status_code
        self.reason = head.reason.decode("latin-1")
        self._connection = connection

    async def read(self) -> bytes:
        """All of it."""
        body = bytearray()
        async with limit(self._connection.fail, ANSWER_S):
            async for chunk in self.chunks():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise self._connection.fail(f"its answer is over {MAX_BODY_BYTES} bytes")
        return bytes(body)

    async def chunks(self) -> AsyncIterator[bytes]:
        """As it comes."""
        while (data := await self._connection.data()) is not None:
            yield data

    async def lines(self) -> AsyncIterator[bytes]:
        """Line by line, as they come, without their ends and without empty ones."""
        rest = bytearray()
        async for chunk in self.chunks():
            rest += chunk
            if b"\n" in chunk:
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    if line.strip():
                        yield bytes(line)
            if len(rest) > MAX_LINE_BYTES:
                raise self._connection.fail(f"a line of its answer is over {MAX_LINE_BYTES} bytes")
        if rest.strip():
            yield bytes(rest)


class HttpClient:
    """Requests to one server; `close` when done.

    Args:
        open_: Makes a connection.
        fail: Makes the error to raise.
        host: For the Host header.
        connect_s: How long a connection may take.
    """

    def __init__(
        self, open_: Open, fail: Fail, host: str = "agent", connect_s: float = CONNECT_S
    ) -> None:
        self._open = open_
        self._fail = fail
        self._host = host
        self._connect_s = connect_s
        self._idle: list[Connection] = []

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop().abort()

    async def connect(self) -> Stream:
        """A connection of one's own, for another protocol than plain requests."""
        try:
            async with asyncio.timeout(self._connect_s):
                return await self._open()
        except TimeoutError as error:
            raise self._fail(f"no connection in {self._connect_s:g} s") from error
        except OSError as error:
            raise self._fail(error.strerror or str(error)) from error

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Body = b"",
        encoding: str = "",
        answer_s: float | None = ANSWER_S,
    ) -> AsyncIterator[Response]:
        """Send a request; the block reads the answer.

        Args:
            method: `GET` or the like.
            path: Quoted already.
            query: Not quoted.
            body: What to send.
            encoding: How that is compressed already; empty: it isn't.
            answer_s: How long the answer may take to begin.

        Cancellation, or leaving the block early: the connection is closed.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        head = h11.Request(method=method, target=target, headers=self._headers(body, encoding))
        connection, answer = await self._exchange(head, body, answer_s)
        try:
            yield Response(connection, answer)
        finally:
            if len(self._idle) < _IDLE and connection.renewed():
                self._idle.append(connection)
            else:
                connection.abort()

    def _headers(self, body: Body, encoding: str) -> list[tuple[str, str]]:
        headers = [("Host", self._host)]
        if encoding:
            headers.append(("Content-Encoding", encoding))
        if isinstance(body, Path):
            headers.append(("Content-Length", str(body.stat().st_size)))
        elif not isinstance(body, bytes):
            headers.append(("Transfer-Encoding", "chunked"))
        elif body:
            headers.append(("Content-Length", str(len(body))))
        return headers

    async def _exchange(
        self, head: h11.Request, body: Body, answer_s: float | None
    ) -> tuple[Connection, h11.Response]:
        repeatable = head.method.decode() in _REPEATABLE and isinstance(body, bytes | Path)
        while True:
            kept = self._kept()
            connection = kept or Connection(await self.connect(), self._fail)
            try:
                return connection, await connection.exchange(head, body, answer_s)
            except BaseException:
                connection.abort()
                if not (kept and repeatable and kept.closed and kept.unanswered):
                    raise

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
            connection.abort()
        return None
