"""One HTTP/1.1 connection over a two-way byte stream: a request, its answer, the next request.

    open ─► exchange ─► data … data ─► None ─► renewed ─► exchange …
              any failure, or leaving early ─► abort

The protocol is h11's; the streams are asyncio's, or whatever else an `Open` gives (an SSH channel
looks the same). Failures are raised as what `fail` makes of a reason. Must not know: agents, JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import h11

STALL_S = 60.0
"""How long a server may take none of what is sent to it."""
_MAX_HEAD_BYTES = 1 << 15
_READ_BYTES = 1 << 18
_SEND_BYTES = 1 << 18

Body = bytes | Path | AsyncIterable[bytes]
"""What is sent along; a file is read as it is sent, an iterable is sent in chunks."""
Fail = Callable[[str], Exception]
"""Makes the error to raise, of a reason in one line."""


class Reader(Protocol):
    """As `asyncio.StreamReader`."""

    async def read(self, n: int = -1, /) -> bytes:
        """Some bytes; none: the end."""

    def at_eof(self) -> bool:
        """Whether the end was read."""


class Writer(Protocol):
    """As `asyncio.StreamWriter`."""

    def write(self, data: bytes, /) -> None:
        """Send, in the background."""

    async def drain(self) -> None:
        """Wait while too much is unsent."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A two-way byte stream. What it raises must be an `OSError`.

    Attributes:
        abort: Let go of it at once, with whatever is unsent.
        close: Let go of it when all is sent.
    """

    reader: Reader
    writer: Writer
    abort: Callable[[], None]
    close: Callable[[], Awaitable[None]]

    async def read(self) -> bytes:
        """Some bytes; none: the end."""
        return await self.reader.read(_READ_BYTES)

    async def send(self, data: bytes) -> None:
        """Send, and wait while too much is unsent."""
        self.writer.write(data)
        await self.writer.drain()


Open = Callable[[], Awaitable[Stream]]


def unix(path: Path) -> Open:
    """Streams to a Unix socket."""

    async def open_() -> Stream:
        if not hasattr(asyncio, "open_unix_connection"):
            raise OSError(errno.EAFNOSUPPORT, "this system opens no Unix sockets")
        reader, writer = await asyncio.open_unix_connection(path, limit=_READ_BYTES)

        async def close() -> None:
            writer.close()
            await writer.wait_closed()

        return Stream(reader, writer, writer.transport.abort, close)

    return open_


@contextlib.asynccontextmanager
async def limit(fail: Fail, seconds: float | None) -> AsyncIterator[asyncio.Timeout]:
    """Fail if the block takes longer."""
    try:
        async with asyncio.timeout(seconds) as clock:
            yield clock
    except TimeoutError as error:
        raise fail("no answer in time") from error


class Connection:
    """One connection: one request at a time.

    Args:
        stream: Freshly opened.
        fail: Makes errors.

    Attributes:
        unanswered: No byte has come since the request was sent.
    """

    def __init__(self, stream: Stream, fail: Fail) -> None:
        self._stream = stream
        self.fail = fail
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._upload_error: Exception | None = None
        self.unanswered = True

    @property
    def closed(self) -> bool:
        """Whether the server closed it, as far as we know."""
        return self._stream.reader.at_eof()

    def abort(self) -> None:
        """Let go of it at once."""
        self._stream.abort()

    def renewed(self) -> bool:
        """Make it ready for the next request; False: it can't be."""
        try:
            if self._http.their_state is h11.SEND_BODY:
                self._http.next_event()  # an empty body ends without a byte
            self._http.start_next_cycle()
        except h11.ProtocolError:
            return False
        self.unanswered = True
        return not self.closed

    # --- sending -----------------------------------------------------------------------------

    async def exchange(self, head: h11.Request, body: Body, answer_s: float | None) -> h11.Response:
        """Send a request, hear the head of its answer.

        Args:
            head: Its headers fit `body`.
            body: What to send along.
            answer_s: How long the answer may take once all is sent.

        Cancellation, errors: `abort` it.
        """
        if isinstance(body, bytes) and len(body) <= _SEND_BYTES:
            async with limit(self.fail, answer_s):
                data = self._packed(head, h11.Data(data=body), h11.EndOfMessage())
                with contextlib.suppress(OSError):  # the answer, or its absence, says why
                    await self._stream.send(data)
                return await self._answer()
        return await self._upload_and_hear(head, body, answer_s)

    async def _upload_and_hear(
        self, head: h11.Request, body: Body, answer_s: float | None
    ) -> h11.Response:
        """A server may refuse before it has all: hear that, and send no more."""
        outcome: h11.Response | Exception
        async with asyncio.TaskGroup() as group:
            try:
                async with limit(self.fail, None) as clock:
                    sending = group.create_task(
                        self._upload(head, body, answer_s, clock), name="upload"
                    )
                    outcome = await self._answer()
            except Exception as error:  # noqa: BLE001 - raised below, outside the group
                outcome = error
            sending.cancel()
        if isinstance(outcome, Exception):
            raise self._upload_error or outcome
        return outcome

    async def _upload(
        self, head: h11.Request, body: Body, answer_s: float | None, clock: asyncio.Timeout
    ) -> None:
        try:
            with contextlib.suppress(ConnectionError):  # the answer, or its absence, says why
                await self._stream.send(self._packed(head))
                async for piece in _pieces(body):
                    async with limit(self.fail, STALL_S):
                        await self._stream.send(self._packed(h11.Data(data=piece)))
                await self._stream.send(self._packed(h11.EndOfMessage()))
            if answer_s is not None:
                clock.reschedule(asyncio.get_running_loop().time() + answer_s)
        except h11.LocalProtocolError as error:  # its length isn't what was announced
            self._upload_error = self.fail(f"what is sent changed meanwhile ({error})")
            self.abort()
        except Exception as error:  # noqa: BLE001 - raised where the answer is waited for
            self._upload_error = error
            self.abort()

    def _packed(self, *events: h11.Event) -> bytes:
        return b"".join(self._http.send(event) or b"" for event in events)

    # --- hearing -----------------------------------------------------------------------------

    async def data(self) -> bytes | None:
        """The next bytes of the answer's body; None: it is complete."""
        if self._http.their_state is not h11.SEND_BODY:
            return None
        event = await self._event()
        return event.data if isinstance(event, h11.Data) else None

    async def _answer(self) -> h11.Response:
        while not isinstance(event := await self._event(), h11.Response):
            pass  # 100 Continue
        return event

    async def _event(self) -> h11.Event:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self._stream.read()
                if not data and self.unanswered:
                    raise self.fail("it closed the connection without an answer")
                self.unanswered = False
                self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise self.fail(f"the connection broke ({error})") from error
        except OSError as error:
            raise self.fail(f"the connection broke ({error.strerror or error})") from error
        assert not isinstance(event, type)
        return event


async def _pieces(body: Body) -> AsyncIterator[bytes]:
    if isinstance(body, Path):
        with body.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, _SEND_BYTES):
                yield piece
    elif isinstance(body, bytes):
        view = memoryview(body)
        for start in range(0, len(body), _SEND_BYTES):
            yield bytes(view[start : start + _SEND_BYTES])
    else:
        async for piece in body:
            yield piece
