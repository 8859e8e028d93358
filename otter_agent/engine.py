"""The Docker engine, as the docker runtime and the docker images use it: aiodocker and its errors.

aiodocker does plain requests. Streams (events, logs, builds, attached commands) go through its
session directly, because its own helpers hide tasks, drop timestamps or can't close stdin alone.
Must not know: modules, meshes, labels.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import aiodocker
import aiohttp

from net.errors import DriverError

_UNIX = "unix://"
_HOST = "http://docker"
"""Only fills the Host header: the connector dials the socket."""
Params = Mapping[str, str] | Sequence[tuple[str, str]] | None
_FOREVER = aiohttp.ClientTimeout(total=None, sock_read=None)
_DIAL_S = 10.0
_AWAY = "is dockerd running, and may this user open its socket?"
_NO_HINTS: Mapping[int, str] = MappingProxyType({})


class EngineError(Exception):
    """What went wrong with a request; translated to a `DriverError` at the driver's edge.

    Attributes:
        status: The engine's HTTP status; 0: there was no answer (the engine is away).
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message.strip()


class Engine:
    """One engine at a Unix socket; connects when first used.

    Args:
        url: `unix:///var/run/docker.sock` or the like.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._client: aiodocker.Docker | None = None
        self._info: dict[str, Any] | None = None
        self._asking = asyncio.Lock()

    @property
    def client(self) -> aiodocker.Docker:
        """The client of aiodocker. Wrap its calls in `with engine.errors():`.

        No timeout, since starting and pulling may take long; no limit of connections, since each
        log that is followed holds one: callers bound what runs in parallel.
        """
        if self._client is None or self._client.session.closed:
            if not self.url.startswith(_UNIX):
                raise EngineError(0, f"{self.url} is not a unix:// URL: not on this machine")
            connector = aiohttp.UnixConnector(path=self.url.removeprefix(_UNIX), limit=0)
            session = aiohttp.ClientSession(connector=connector, timeout=_FOREVER)
            self._client = aiodocker.Docker(url=_HOST, connector=connector, session=session)
        return self._client

    @property
    def version(self) -> str:
        """As it said when it was first asked; "": it wasn't yet."""
        return str(self._info.get("ServerVersion", "")) if self._info else ""

    async def aclose(self) -> None:
        """Close all connections; a later call opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
            await client.session.close()

    async def info(self) -> dict[str, Any]:
        """What `docker info` says; asked once.

        Never asked by many at once, best before containers come and go: in Docker 20.10 it can lock
        up the engine (an order of locks in libnetwork) while networks of containers are let go.
        """
        async with self._asking:
            if self._info is None:
                answer: dict[str, Any] = await self.json("GET", "/info")
                self._info = answer
            return self._info

    async def json(self, method: str, path: str, *, params: Params = None, body: Any = None) -> Any:
        """One request with JSON both ways; None for an empty answer.

        Raises:
            EngineError: The engine refused or is away.
        """
        data = None if body is None else json.dumps(body).encode()
        async with self.stream(method, path, params=params, data=data) as response:
            with self.errors():
                text = await response.read()
        return json.loads(text) if text.strip() else None

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Params = None,
        data: Any = None,
        content_type: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request whose answer is read as it comes.

        Raises:
            EngineError: The engine refused or is away.
        """
        with self.errors():
            self._check_there()
            response = await self.client.session.request(
                method,
                f"{_HOST}{path}",
                params=params,
                data=data,
                timeout=_FOREVER,
                headers={"Content-Type": content_type},
            )
        try:
            if response.status >= 400:
                raise EngineError(response.status, _message(await response.read()))
            yield response
        finally:
            response.close()

    def _check_there(self) -> None:
        """Whether it has a socket: an agent without an engine looks every second, for ever."""
        if self.url.startswith(_UNIX):
            os.stat(self.url.removeprefix(_UNIX))

    async def objects(self, response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
        """The JSON objects of a stream, one per line."""
        rest = b""
        with self.errors():
            async for block in response.content.iter_any():
                *lines, rest = (rest + block).split(b"\n")
                for line in filter(None, map(bytes.strip, lines)):
                    yield json.loads(line)
        if rest.strip():
            yield json.loads(rest)

    async def hijack(
        self, path: str, body: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """POST and keep the connection as a two-way byte stream (`exec/ID/start`).

        Raises:
            EngineError: The engine refused or is away.
        """
        with self.errors():
            async with asyncio.timeout(_DIAL_S):
                reader, writer = await asyncio.open_unix_connection(self.url.removeprefix(_UNIX))
        try:
            with self.errors():
                writer.write(_upgrade(path, json.dumps(body).encode()))
                head = await reader.readuntil(b"\r\n\r\n")
                status = int(head.split(None, 2)[1])
                if status not in (101, 200):
                    raise EngineError(status, _message(await reader.read()))
        except BaseException:
            writer.close()
            raise
        return reader, writer

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what aiodocker and the connection raise into `EngineError`."""
        try:
            yield
        except aiodocker.DockerError as exc:
            status = 0 if exc.status == 900 else exc.status  # 900: aiodocker's "can't connect"
            raise EngineError(status, exc.message) from exc
        except (aiohttp.ClientError, OSError, EOFError) as exc:
            raise EngineError(0, f"no Docker engine answers at {self.url} ({exc})") from exc


@contextlib.contextmanager
def translated(
    kind: type[DriverError], op: str, target: object, hints: Mapping[int, str] = _NO_HINTS
) -> Iterator[None]:
    """Turn an `EngineError` of the block into a driver's error, with a hint by the engine's status.

    An engine that is away, an internal error of it, or a container that someone removed: trying
    again, after a fresh look, may well work.
    """
    try:
        yield
    except EngineError as exc:
        raise _driver_error(exc, kind, op, target, hints) from exc
    except ExceptionGroup as group:
        found, rest = group.split(EngineError)
        if found is None or rest is not None:
            raise
        first = next(e for e in found.exceptions if isinstance(e, EngineError))
        raise _driver_error(first, kind, op, target, hints) from group


def _driver_error(
    exc: EngineError, kind: type[DriverError], op: str, target: object, hints: Mapping[int, str]
) -> DriverError:
    return kind(
        "docker",
        op,
        str(target),
        " ".join(exc.message.split()),
        recoverable=exc.status in (0, 404) or exc.status >= 500,
        hint=_AWAY if exc.status == 0 else hints.get(exc.status, ""),
    )


def filters(**wanted: list[str]) -> dict[str, str]:
    """The query parameter `filters`."""
    return {"filters": json.dumps(wanted)}


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")


def _upgrade(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
        f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
