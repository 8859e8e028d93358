"""The pipes of one command that runs inside a process module: asyncio here, descriptors there."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from otter_agent.runtimes.base import ExecOutput

CHUNK = 64 * 1024
DRAIN_S = 0.5
"""After the command's end, how long to read on what a child of it keeps open."""

Start = Callable[[Sequence[int]], Awaitable[int]]
"""Runs a command with these descriptors as 0, 1, 2; closes them; returns its exit status."""


async def run_command(start: Start, stdin: AsyncIterator[bytes] | None, output: ExecOutput) -> int:
    """Run a command to its end and carry its input and output.

    Cancellation: `start` is cancelled; whether the command dies of it is up to that.

    Args:
        start: Runs the command.
        stdin: What to write to it; None: it reads the end at once.
        output: Takes what it prints; a slow taker slows the command down.
    """
    with contextlib.ExitStack() as theirs:
        (in_r, in_w), (out_r, out_w), (err_r, err_w) = os.pipe(), os.pipe(), os.pipe()
        theirs.callback(_close, in_r, out_w, err_w)
        try:
            async with (
                _Reader(out_r) as out,
                _Reader(err_r) as err,
                _Writer(in_w) as to_stdin,
                asyncio.TaskGroup() as group,
            ):
                feed = group.create_task(_feed(stdin, to_stdin))
                readers = [
                    group.create_task(_pass_on(1, out, output)),
                    group.create_task(_pass_on(2, err, output)),
                ]
                theirs.pop_all()  # `start` closes them
                status = await start((in_r, out_w, err_w))
                await asyncio.wait(readers, timeout=DRAIN_S)
                for task in (feed, *readers):
                    task.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None  # one cause, the rest was cancelled for it
    return status


class _Reader:
    """A stream that reads a pipe, and closes it at the end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def __aenter__(self) -> asyncio.StreamReader:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(CHUNK, loop)
        pipe = os.fdopen(self._fd, "rb", 0)
        self._transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader, loop=loop), pipe
        )
        return reader

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()


class _Writer:
    """A stream that writes a pipe, and closes it at the end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def __aenter__(self) -> asyncio.StreamWriter:
        loop = asyncio.get_running_loop()
        self._transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(self._fd, "wb", 0)
        )
        return asyncio.StreamWriter(self._transport, protocol, None, loop)

    async def __aexit__(self, *_: object) -> None:
        if not self._transport.is_closing():  # else it ends when the reader does
            self._transport.abort()


async def _pass_on(number: int, reader: asyncio.StreamReader, output: ExecOutput) -> None:
    while data := await reader.read(CHUNK):
        await output(number, data)


async def _feed(stdin: AsyncIterator[bytes] | None, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it reads no more
        if stdin is not None:
            async for data in stdin:
                writer.write(data)
                await writer.drain()
    writer.transport.close()


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)
