"""What is done once a benchmark has ended, however it ended: also by an error, or killed.

A process of its own waits for the end of a pipe whose other end nobody but the benchmark holds, and
then does it. Commands that a benchmark runs are `tied` to it, so that none goes on meanwhile.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn


@contextmanager
def afterwards(clean: Callable[[], None]) -> Iterator[None]:
    """Call `clean` after the block, in a process that outlives this one.

    What it raises is told on stderr. Of blocks within each other the inner one's comes first.
    """
    reading, writing = os.pipe()
    guard = os.fork()
    if not guard:
        os.close(writing)
        _guard(reading, clean)
    os.close(reading)
    try:
        yield
    finally:
        os.close(writing)
        _, status = os.waitpid(guard, 0)
        if status:
            print("not all that was made for it could be removed", file=sys.stderr, flush=True)


def _guard(reading: int, clean: Callable[[], None]) -> NoReturn:
    """Wait, clean, end; with nothing of what else the process is in the middle of."""
    status = 1
    try:
        os.setsid()  # Ctrl-C in a terminal isn't for it
        while os.read(reading, 1):
            pass
        clean()
        status = 0
    except BaseException:  # noqa: BLE001 - this process must not go on with the benchmark's work
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder, with nothing of it left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="otter-bench-"))
    with afterwards(lambda: shutil.rmtree(folder, ignore_errors=True)):
        yield folder


_STILL_THERE = '[ "$PPID" = "$0" ] && exec "$@"'
"""Who was killed before the kernel was asked to tell of it, nobody tells of."""


def tied(command: Sequence[str]) -> list[str]:
    """A command that is ended (SIGTERM) when the process that calls this has been killed."""
    program = shutil.which("setpriv")  # util-linux
    if program is None:
        return list(command)
    told = [program, "--pdeathsig", "TERM"]
    return [*told, "sh", "-c", _STILL_THERE, str(os.getpid()), *command]
