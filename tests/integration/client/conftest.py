"""`peer`: a server of the test's own making at a Unix socket, and what talks to it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest


class Peer:
    """A server whose every connection is handled by one coroutine function.

    Attributes:
        socket: Where it listens.
        connections: How many were made so far.
    """

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "peer.sock"
        self.connections = 0
        self.gone = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serving(self, handle):
        """Serve while the block runs; `gone` is set whenever a connection ends."""

        async def each(reader, writer):
            self.connections += 1
            try:
                await handle(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # clients may leave
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                self.gone.set()

        server = await asyncio.start_unix_server(each, self.socket, limit=1 << 22)
        async with server:
            yield self


@pytest.fixture
def peer():
    folder = Path(tempfile.mkdtemp(prefix="otter-peer-"))  # tmp_path is too long for a socket
    yield Peer(folder)
    shutil.rmtree(folder)


async def request_of(reader) -> bytes:
    """The head of the next request."""
    return await reader.readuntil(b"\r\n\r\n")


@pytest.fixture
def hear():
    return request_of
