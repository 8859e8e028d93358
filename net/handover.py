"""Bytes between the event loop and a thread that reads or writes them as a file.

A socket pair in between gives back-pressure both ways: at most a few hundred kilobytes are under
way, however large the whole is. Must not know: what the bytes are.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import BinaryIO, TypeVar, cast

T = TypeVar("T")
CHUNK_BYTES = 1 << 18


async def read_in_thread(chunks: AsyncIterable[bytes], work: Callable[[BinaryIO], T]) -> T:
    """Run `work` in a thread over a stream that holds `chunks`; returns what it returns.

    If `chunks` raises, `work` sees the stream's early end, and then that error is raised. A `work`
    that returns early leaves the rest unread.
    """
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    working = loop.run_in_executor(None, _reading, theirs, work)
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            async for chunk in chunks:
                await loop.sock_sendall(ours, chunk)
    finally:
        ours.close()
        await asyncio.wait((working,))
        working.exception()  # where another error is raised, this one isn't told beside it
    return working.result()


async def write_in_thread(make: Callable[[], Iterable[bytes]]) -> AsyncIterator[bytes]:
    """What `make()` yields in a thread, as it is made. Errors of it are raised here."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    working = loop.run_in_executor(None, _writing, theirs, make)
    try:
        while chunk := await loop.sock_recv(ours, CHUNK_BYTES):
            yield chunk
    finally:
        ours.close()
        await asyncio.wait((working,))
        working.exception()  # where another error is raised, this one isn't told beside it
    working.result()


def _reading(end: socket.socket, work: Callable[[BinaryIO], T]) -> T:
    with end, io.BufferedReader(socket.SocketIO(end, "r"), CHUNK_BYTES) as source:
        return work(cast(BinaryIO, source))


def _writing(end: socket.socket, make: Callable[[], Iterable[bytes]]) -> None:
    with end, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for chunk in make():
            end.sendall(chunk)
