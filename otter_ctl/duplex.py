"""Messages both ways over one connection: a WebSocket, its bytes by wsproto.

Imported only by what needs it. Failures are raised as what `fail` makes of a reason. Must not
know: agents, what the messages mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, ProtocolError

from otter_ctl.connection import Fail, Stream

MAX_MESSAGE_BYTES = 1 << 24
"""Both ways; the agent's limit too."""
_MAX_REFUSAL_BYTES = 1 << 20
_CLOSE_S = 5.0
_NO_STATUS = 1005
_GOODBYES = frozenset({1000, 1001, _NO_STATUS})
"""Codes of a close that was meant (RFC 6455, 7.4.1); others are failures."""


class Refused(Exception):  # noqa: N818 - translated by who asked
    """The server answered with an HTTP error instead.

    Attributes:
        status: 404, …
        body: What it sent along.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.body = body


class Duplex:
    """Send and receive messages; one task may do each. Iterating receives until the end.

    Args:
        stream: Freshly opened; closed by `aclose`.
        fail: Makes errors.
    """

    def __init__(self, stream: Stream, fail: Fail) -> None:
        self._stream = stream
        self._fail = fail
        self._socket = WSConnection(ConnectionType.CLIENT)
        self._events: deque[Event] = deque()
        self._ended = False

    async def open(self, target: str, host: str) -> None:
        """Ask the server to talk messages at `target`.

        Raises:
            Refused: It won't.
        """
        await self._transmit(Request(host=host, target=target))
        event = await self._event()
        if isinstance(event, RejectConnection):
            body = bytearray()
            more = event.has_body
            while more and len(body) < _MAX_REFUSAL_BYTES:
                rest = await self._event()
                assert isinstance(rest, RejectData)
                body += rest.data
                more = not rest.body_finished
            raise Refused(event.status_code, bytes(body))
        assert isinstance(event, AcceptConnection)

    async def send(self, message: bytes | str) -> None:
        """Send one message; waits while the other side takes no more.

        Sending to one that has closed does nothing: `receive` tells.
        """
        if not self._ended:
            if isinstance(message, str):
                await self._transmit(TextMessage(data=message))
            else:
                await self._transmit(BytesMessage(data=message))

    async def receive(self) -> bytes | str | None:
        """The next message; None: the other side closed."""
        parts: list[bytes | bytearray | str] = []
        size = 0
        while not self._ended:
            event = await self._event()
            if isinstance(event, Ping):
                await self._transmit(event.response())
            elif isinstance(event, CloseConnection):
                self._ended = True
                if event.code not in _GOODBYES:
                    why = event.reason or f"code {event.code}"
                    raise self._fail(f"the connection broke ({why})")
            elif isinstance(event, TextMessage | BytesMessage):
                parts.append(event.data)
                size += len(event.data)
                if size > MAX_MESSAGE_BYTES:
                    raise self._fail(f"it sent a message of over {MAX_MESSAGE_BYTES} bytes")
                if event.message_finished:
                    if isinstance(event, TextMessage):
                        return "".join(part for part in parts if isinstance(part, str))
                    return b"".join(part for part in parts if not isinstance(part, str))
        return None

    async def __aiter__(self) -> AsyncIterator[bytes | str]:
        while (message := await self.receive()) is not None:
            yield message

    async def aclose(self) -> None:
        """Say goodbye and close the connection; what was sent is delivered if it is taken soon."""
        self._ended = True
        try:
            with contextlib.suppress(OSError):  # gone already, or it takes nothing any more
                async with asyncio.timeout(_CLOSE_S):
                    with contextlib.suppress(LocalProtocolError):
                        await self._stream.send(self._socket.send(CloseConnection(code=1000)))
                    await self._stream.close()
        finally:
            self._stream.abort()

    async def _transmit(self, event: Event) -> None:
        try:
            await self._stream.send(self._socket.send(event))
        except LocalProtocolError:
            pass  # the other side has said goodbye: the next `receive` tells
        except OSError as error:
            raise self._fail(f"the connection broke ({error.strerror or error})") from error

    async def _event(self) -> Event:
        while not self._events:
            try:
                data = await self._stream.read()
                if not data:
                    raise self._fail("the connection broke (it was closed)")
                self._socket.receive_data(data)
                self._events.extend(self._socket.events())
            except ProtocolError as error:
                raise self._fail(f"the connection broke ({error})") from error
            except OSError as error:
                raise self._fail(f"the connection broke ({error.strerror or error})") from error
        return self._events.popleft()
