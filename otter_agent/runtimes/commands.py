"""The pipes or the terminal of one command in a process module: asyncio here, descriptors there."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from otter_agent.runtimes.base import ExecOutput
from otter_agent.runtimes.setting import Terminal

CHUNK = 64 * 1024
DRAIN_S = 0.5
"""After the command's end, how long to read on what a child of it keeps open."""
HELD_BYTES = 128 * 1024
"""More than a pipe or a terminal holds of what a command that has ended had printed."""

END_OF_FILE = b"\x04"
"""What Ctrl-D types: a terminal has no end of its own."""

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
                readers = {
                    group.create_task(_pass_on(1, out, output)): out,
                    group.create_task(_pass_on(2, err, output)): err,
                }
                theirs.pop_all()  # `start` closes them
                status = await start((in_r, out_w, err_w))
                await _drain(readers)
                for task in (feed, *readers):
                    task.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None  # one cause, the rest was cancelled for it
    return status


async def run_in_terminal(
    start: Start, stdin: AsyncIterator[bytes] | None, output: ExecOutput, terminal: Terminal
) -> int:
    """As `run_command`, in a terminal: all that it prints is output 1.

    When the terminal is let go, because of cancellation or because this process was killed, the
    kernel sends SIGHUP to what runs in it.
    """
    with contextlib.ExitStack() as theirs:
        ours, slave = os.openpty()
        resize(ours, *terminal.size)
        stdio = (slave, os.dup(slave), os.dup(slave))
        theirs.callback(_close, *stdio)
        try:
            async with (
                _Writer(os.dup(ours)) as keys,
                _Reader(ours) as screen,
                asyncio.TaskGroup() as group,
            ):
                others = [
                    group.create_task(_type(stdin, keys)),
                    group.create_task(_follow_size(keys, terminal)),
                ]
                shown = group.create_task(_pass_on(1, screen, output))
                theirs.pop_all()  # `start` closes them
                status = await start(stdio)
                await _drain({shown: screen})
                for task in (shown, *others):
                    task.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
    return status


def resize(terminal: int, rows: int, columns: int) -> None:
    """Give a terminal a size; the kernel sends SIGWINCH to what runs in its foreground.

    Source: the man page ioctl_tty(2), TIOCSWINSZ.
    """
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def _follow_size(writer: asyncio.StreamWriter, terminal: Terminal) -> None:
    file = writer.get_extra_info("pipe")
    async for rows, columns in terminal.sizes():
        resize(file.fileno(), rows, columns)


async def _type(stdin: AsyncIterator[bytes] | None, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more
        if stdin is not None:
            async for data in stdin:
                writer.write(data)
                await writer.drain()
            writer.write(END_OF_FILE)
            await writer.drain()


class _Printed(asyncio.StreamReader):
    """What comes of a pipe or a terminal, counted.

    Attributes:
        came: Bytes that were read.
        passed: Bytes that were taken by whoever reads this.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(CHUNK, asyncio.get_running_loop())
        self._fd = fd
        self.came = self.passed = 0

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        """As asyncio has it, whose pipes give bytes."""
        self.came += len(data)
        super().feed_data(data)

    def set_exception(self, exc: Exception) -> None:
        """A terminal that nobody has open any more has ended: what came before is still read."""
        if isinstance(exc, OSError) and exc.errno == errno.EIO:
            self.feed_eof()
        else:
            super().set_exception(exc)

    def has_more(self) -> bool:
        """Whether something waits to be taken, here or in the kernel."""
        if self.passed < self.came or self.at_eof():
            return self.passed < self.came
        waiting = fcntl.ioctl(self._fd, termios.FIONREAD, b"\0" * 4)
        return any(waiting)


class _Reader:
    """A stream that reads a pipe, and closes it at the end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def __aenter__(self) -> _Printed:
        loop = asyncio.get_running_loop()
        reader = _Printed(self._fd)
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


async def _pass_on(number: int, reader: _Printed, output: ExecOutput) -> None:
    while data := await reader.read(CHUNK):
        await output(number, data)
        reader.passed += len(data)


async def _drain(readers: dict[asyncio.Task[None], _Printed]) -> None:
    """To the end of what a command had printed when it ended, however slow its taker is.

    What a child of it keeps open has no end: of that, what comes soon.
    """
    most = {task: printed.came + HELD_BYTES for task, printed in readers.items()}
    left = set(readers)
    while left:
        _, left = await asyncio.wait(left, timeout=DRAIN_S)
        left = {t for t in left if readers[t].has_more() and readers[t].passed < most[t]}


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
