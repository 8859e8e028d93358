"""The user's terminal while a program elsewhere runs in it: raw, watched, and always given back.

That takes termios, which Windows hasn't (`CAN`): there commands get no terminal, and their input is
read by a thread. Must not know: modules, agents.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator

from otter_ctl.cli.interrupts import ENDS, heard

try:
    import termios
    import tty
except ImportError:
    CAN = False
else:
    CAN = True

READ_BYTES = 1 << 16
_LEFT = b"\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1006l\x1b[?2004l\x1b[?25h\x1b[0m\r"
"""Leaves the alternate screen, mouse reports and bracketed paste, shows the cursor, ends colours.

Source: xterm, "Control Sequences", DEC private modes."""


def is_terminal(stream: object) -> bool:
    """Whether this is an open terminal."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.isatty(stream.fileno())  # type: ignore[attr-defined]
    return False


def window_size() -> tuple[int, int]:
    """Rows and columns of the terminal that we have; 24 by 80 where there is none."""
    for stream in (sys.stdout, sys.stdin, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            size = os.get_terminal_size(stream.fileno())
            if size.lines and size.columns:
                return size.lines, size.columns
    return 24, 80


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """Every key goes to the reader as it is, Ctrl-C too. Given back however the block ends."""
    before = termios.tcgetattr(fd)
    # A program in the background that changes its terminal is stopped: not at the very end.
    stopped = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        tty.setraw(fd, termios.TCSANOW)
        try:
            yield
        except BaseException:
            _leave_screen()  # what ran there had no chance to
            raise
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)
        signal.signal(signal.SIGTTOU, stopped)


def _leave_screen() -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.buffer.write(_LEFT)
        sys.stdout.buffer.flush()


@contextlib.contextmanager
def watched(resized: Callable[[], None], fd: int | None) -> Iterator[None]:
    """Call `resized` when the window changes; end as if by Ctrl-C when asked to end.

    Args:
        resized: Called on the event loop.
        fd: A terminal in raw mode, to be made raw again after the shell had it; None: there is
            none.
    """
    task = asyncio.current_task()
    assert task is not None

    def continued() -> None:
        if fd is not None:
            tty.setraw(fd, termios.TCSANOW)
        resized()

    ends = dict.fromkeys(ENDS, task.cancel)
    with heard({"SIGWINCH": resized, "SIGCONT": continued, **ends}):
        yield


async def keys(fd: int) -> AsyncIterator[bytes]:
    """What is typed, as it is typed. The descriptor stays blocking: others share it."""
    loop = asyncio.get_running_loop()
    while True:
        ready = asyncio.Event()
        loop.add_reader(fd, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(fd)
        try:
            data = os.read(fd, READ_BYTES)
        except OSError:  # the terminal is gone
            return
        if not data:
            return
        yield data


async def read(fd: int) -> AsyncIterator[bytes]:
    """What comes from a descriptor that no event loop can wait for: a thread reads it.

    The thread may go on reading, as nothing can stop it; it keeps no process from ending.
    """
    loop = asyncio.get_running_loop()
    came: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(1)

    def work() -> None:
        data = b"-"
        while data:
            room.acquire()
            try:
                data = os.read(fd, READ_BYTES)
            except OSError:
                data = b""
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(came.put_nowait, data)

    threading.Thread(target=work, name="stdin", daemon=True).start()
    while data := await came.get():
        yield data
        room.release()
