"""Is a container still at its gate, and letting it through.

The kernel is the memory: a held container's `/proc/PID/exe` is the gate, so an agent that was
killed and started again needs no record. Must not know: Docker.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from pathlib import Path

from otter_agent.runtimes.gate import INSIDE

_POLL_S = 0.001
_RUNTIME_INIT = [b"runc", b"init"]


def is_held(pid: int) -> bool:
    """Whether the process has yet to become the module; a process that is gone is not held.

    The engine may report a container as running a moment before its first program is executed: then
    the process is still the OCI runtime's own (`runc init`), and none of the module has run either.
    """
    # In the order in which a process becomes them: a change between the two looks is seen.
    return _is_runtime_init(pid) or at_gate(pid)


def at_gate(pid: int) -> bool:
    """Whether the process is the gate."""
    return (_executable(pid) or "").startswith(INSIDE)


async def arrives(pid: int, within_s: float) -> bool:
    """Wait until a process that was just started is at the gate; False if it ended instead.

    Also returns False after `within_s`.
    """
    deadline = time.monotonic() + within_s
    while not at_gate(pid):
        if _executable(pid) is None or time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _executable(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None


def _is_runtime_init(pid: int) -> bool:
    """By its arguments: its executable is a nameless copy of runc, which reads as `/`."""
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return argv[:2] == _RUNTIME_INIT


async def let_through(fifo: Path, pid: int, within_s: float) -> bool:
    """Open the gate; returns once the process is no longer at it (it runs, or has ended).

    Returns False if it is still held after `within_s`.
    """
    deadline = time.monotonic() + within_s
    while is_held(pid):
        if time.monotonic() > deadline:
            return False
        try:
            end = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            if exc.errno != errno.ENXIO:  # nobody reads yet: the gate is about to
                raise
            await asyncio.sleep(_POLL_S)
            continue
        try:
            os.write(end, b"\n")
            await _closed_by_reader(end, deadline - time.monotonic())
        except BrokenPipeError:
            continue
        finally:
            os.close(end)
    return True


async def _closed_by_reader(end: int, within_s: float) -> None:
    """Wait until the gate's end closes, which execve does (close-on-exec), or death."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(end, gone.set)  # a FIFO's write end polls as an error once nobody reads
    try:
        async with asyncio.timeout(max(0.0, within_s)):
            await gone.wait()
    except TimeoutError:
        pass
    finally:
        loop.remove_reader(end)
