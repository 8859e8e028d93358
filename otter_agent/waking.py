"""What a message takes between two processes of this machine that rest in between.

    python -m otter_agent.waking       # prints seconds, of a machine that has little else to do

Two modules without any link: one sleeps until it sends, the other until something arrives. Most of
it is waking up, which differs between machines more than what their cores compute: how deep they
sleep, and whether a hypervisor has to be asked. Messages go by `net`'s TCP over loopback; the
median of one way. Must not know: meshes, plans.
"""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from otter_agent.once import Once

if TYPE_CHECKING:
    from net.inbox import Inbox

VERSION = 1
"""Of the measurement."""
SIZE_BYTES = 10_000
EVERY_S = 0.03
COUNT = 40
FIRST = 8
"""Of them, which aren't counted: caches and windows fill."""
LIMIT_S = 15.0
END_S = 1.0
BUSY_CORES = 0.5
"""Where others use more than so many, nothing is learnt of the machine."""
_HERE = "127.0.0.1"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def of_machine(file: Path) -> Once:
    """The figure of this machine, kept in a file."""
    return Once(file, VERSION, measured_apart, of=platform.release())


async def measured() -> float:
    """Seconds; takes about two.

    Raises:
        ValueError: The machine was busy meanwhile.
        OSError: The other process couldn't be started, or ended.
    """
    from net.stream import listen  # not of an agent, which has only the figure

    name = secrets.token_hex(8)  # who else is on this machine can't guess it
    async with listen(_HERE, 0, [name]) as listener:
        argv = [sys.executable, "-P", "-m", "otter_agent.waking", str(listener.port), name]
        sender = await asyncio.create_subprocess_exec(*argv, stdin=subprocess.DEVNULL, cwd="/")
        try:
            async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
                watching = group.create_task(_ended(sender), name="the process that sends")
                took, busy = await _heard(listener.inputs[name])
                watching.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            if sender.returncode is None:
                sender.kill()
            await sender.wait()
    if busy > BUSY_CORES:
        raise ValueError(f"{busy:.1f} of its cores were busy")
    return took


async def _ended(sender: asyncio.subprocess.Process) -> None:
    """It does so once all has come; fails where it has not."""
    status = await sender.wait()
    await asyncio.sleep(END_S)
    raise OSError(f"the process that sends ended with status {status}")


async def _heard(inbox: Inbox) -> tuple[float, float]:
    """The median of how long messages took, and how many cores were busy meanwhile.

    Raises:
        OSError: Some never came.
    """
    took: list[float] = []
    busy_s = since = 0.0
    async for message in inbox:
        took.append(time.monotonic() - struct.unpack_from("d", message.value)[0])
        if len(took) == FIRST:
            busy_s, since = _busy_s(), time.monotonic()
        if len(took) == COUNT:
            break
    if len(took) < COUNT:
        raise OSError(f"only {len(took)} of {COUNT} messages came")
    busy = (_busy_s() - busy_s) / (time.monotonic() - since)
    return statistics.median(took[FIRST:]), busy


async def _send(port: int, name: str) -> None:
    from net.stream import connect

    loop = asyncio.get_running_loop()
    alone = asyncio.timeout(LIMIT_S)  # who started it may be gone
    async with alone, connect(_HERE, port, input=name, sender="waking") as stream:
        following = loop.time()
        for _ in range(COUNT):
            following += EVERY_S
            await asyncio.sleep(following - loop.time())
            await stream.send(struct.pack("d", time.monotonic()) + bytes(SIZE_BYTES - 8))


def _busy_s() -> float:
    """Of all processors, since the machine is up: proc_stat(5), all but idle and iowait."""
    first = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return _TICK_S * sum(int(ticks) for at, ticks in enumerate(first[1:9]) if at not in (3, 4))


def measured_apart() -> float:
    """Measured by processes of their own: an agent has other things to do.

    Raises:
        OSError: It can't be, or the machine was busy.
        ValueError: It said something else.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "otter_agent.waking"],
            stdin=subprocess.DEVNULL, capture_output=True, cwd="/", timeout=2 * LIMIT_S, check=True,
        )  # fmt: skip
    except subprocess.SubprocessError as error:
        raise OSError(str(error)) from error
    return float(done.stdout)


def main(argv: list[str]) -> int:
    """Without arguments: measure, print; with a port and an input: be the one that sends."""
    if argv:
        asyncio.run(_send(int(argv[0]), argv[1]))
        return 0
    try:
        print(asyncio.run(measured()))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
