"""Runs the commands of a build: output to the build log line by line, failures as `ImageError`.

Also the locks that make one content once, between tasks and between processes. Must not know:
what is built.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import re
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from otter_agent.errors import ImageError
from otter_agent.images.base import BuildLog

TAIL_LINES = 20
"""How much of a failing step's output an error carries."""

T = TypeVar("T")

_POLL_S = 0.05
_DISK_FULL = re.compile(r"no space left on device|errno 28|disk quota exceeded", re.IGNORECASE)
_DISK_HINT = "free some space there, e.g. with 'otterctl image prune'"
# A step must not outlive its agent: it would go on writing into a folder that the next agent makes
# anew. So each runs under this, which ends the whole group (pip has children, too) when the agent
# dies. Source: prctl(2), PR_SET_PDEATHSIG.
_TIED = """
import ctypes, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(137)
try:
    child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
except OSError as exc:
    sys.exit(f"{sys.argv[2]} did not start: {exc}")
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(status if status >= 0 else 128 - status)
"""


@dataclass(frozen=True, slots=True)
class Step:
    """Names a step in errors: `target: driver could not op: why`."""

    driver: str
    op: str
    target: str

    def failed(self, why: str, *, hint: str = "", tail: Sequence[str] = ()) -> ImageError:
        """The error of this step, with the last lines of its output."""
        error = ImageError(self.driver, self.op, self.target, why, hint=hint)
        error.tail = tuple(tail)
        return error

    @contextlib.contextmanager
    def translating(self, where: Path) -> Iterator[None]:
        """Turn an `OSError` of the block into an `ImageError` that says what to do."""
        try:
            yield
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self.failed(f"the disk that holds {where} is full", hint=_DISK_HINT) from exc
            raise self.failed(str(exc)) from exc


async def run(
    argv: Sequence[str],
    *,
    step: Step,
    log: BuildLog,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    hint: str = "",
    lock_fd: int | None = None,
) -> None:
    """Run one command to its end.

    Args:
        argv: Program and arguments.
        step: What the error says, should it fail.
        log: Gets each line of stdout and stderr, carriage returns counted as line ends.
        env: Variables on top of the agent's own.
        cwd: Where to run; None: where the agent does.
        hint: What to try if it fails.
        lock_fd: A lock that stays held until the command's process is gone, even if ours dies.

    Raises:
        ImageError: It could not start, or ended with another status than 0.

    Cancellation: the command and all processes of its group are killed first.
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    command = [sys.executable, "-ISc", _TIED, str(os.getpid()), *argv]
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
            pass_fds=() if lock_fd is None else (lock_fd,),
        )
    except OSError as exc:
        raise step.failed(f"{argv[0]} did not start: {exc}", tail=tail) from exc
    try:
        assert process.stdout is not None
        async for line in _lines(process.stdout):
            tail.append(line)
            log(line)
        status = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if status != 0:
        raise _explain(step, argv, status, tail, hint)


def _explain(
    step: Step, argv: Sequence[str], status: int, tail: Sequence[str], hint: str
) -> ImageError:
    full = next((line for line in tail if _DISK_FULL.search(line)), None)
    if full is not None:
        return step.failed(f"the disk is full ({full.strip()})", hint=_DISK_HINT, tail=tail)
    ended = f"was killed by signal {status - 128}" if status > 128 else f"ended with {status}"
    errors = [line.strip() for line in tail if re.match(r"\s*(\w+\.)*\w*error\b", line, re.I)]
    last = errors[-1] if errors else next((t.strip() for t in reversed(tail) if t.strip()), "")
    return step.failed(f"{Path(argv[0]).name} {ended}{': ' if last else ''}{last}"[:500],
                       hint=hint, tail=tail)  # fmt: skip


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines of any length (StreamReader.readline refuses those over its limit)."""
    rest = b""
    while block := await reader.read(65536):
        *whole, rest = re.split(rb"\r\n|\n|\r", rest + block)
        for line in whole:
            yield line.decode(errors="replace")
        if len(rest) > 1_000_000:
            yield rest.decode(errors="replace")
            rest = b""
    if rest:
        yield rest.decode(errors="replace")


@contextlib.asynccontextmanager
async def locked(
    file: Path, *, shared: bool = False, waiting: BuildLog | None = None
) -> AsyncIterator[int]:
    """Hold `file` as a lock (flock), yield its descriptor.

    Two holders exclude each other also within one process. Waiting polls: a thread blocked in
    flock could starve the one that the holder needs.

    Args:
        file: Made if absent, with its folder; never removed here.
        shared: Only exclude those who don't share.
        waiting: Told once if the lock isn't free at once.
    """
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    file.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _try_lock(fd, mode):
            if waiting is not None:
                waiting(f"waiting for another build ({file.stem})")
                waiting = None
            await asyncio.sleep(_POLL_S)
        yield fd
    finally:
        os.close(fd)


def _try_lock(fd: int, mode: int) -> bool:
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def to_end(call: Callable[..., T], *args: Any) -> T:
    """Run blocking `call` in a thread; if cancelled, wait for its end before passing that on.

    Else a folder could be made anew while a thread still writes to it.
    """
    done = asyncio.get_running_loop().run_in_executor(None, partial(call, *args))
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait([done])
        raise
