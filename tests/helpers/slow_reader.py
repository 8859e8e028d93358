"""A module that reads slowly, as a process of its own, and how much memory it takes meanwhile.

    python slow_reader.py TRANSPORT NBYTES QUEUE COUNT PATH

Says where it listens, takes COUNT arrays at a tenth of a sender's speed or less (0: one, and no
more until a line comes), and says by how many bytes it grew at the most, at any moment (the
kernel's high-water mark).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from net import datagram, stream
from net.inbox import Edge, Inbox
from net.shared.listener import Door, SharedListener

BYTES_PER_S = 200e6
"""How fast it reads: a tenth of what the slowest of the transports carries of large arrays."""


def _told(what: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {what}")


@asynccontextmanager
async def listening(transport: str, queue: int, path: str) -> AsyncIterator[tuple[Inbox, str]]:
    """Its input, and where it listens."""
    if transport == "shm":
        box = Inbox("y", [Edge("a>y", queue, transport="shm")])
        async with SharedListener([Door(path, box, "a>y")]):
            yield box, path
    elif transport == "udp":
        async with datagram.listen("127.0.0.1", 0, ["y"], queue=queue) as endpoint:
            yield endpoint.inputs["y"], str(endpoint.port)
    else:
        async with stream.listen("127.0.0.1", 0, ["y"], queue=queue) as listener:
            yield listener.inputs["y"], str(listener.port)


async def main(transport: str, nbytes: int, queue: int, count: int, path: str) -> None:
    """All of it."""
    async with listening(transport, queue, path) as (inbox, where):
        before = _told("VmRSS")  # with all pages that it has seen of memory that it shares
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        print(where, flush=True)
        for _ in range(max(1, count)):
            message = await inbox.take()
            assert message.value.nbytes == nbytes
            assert message.value[-1] == 1
            del message
            await asyncio.sleep(nbytes / BYTES_PER_S)
        if not count:
            await asyncio.to_thread(sys.stdin.readline)  # messages come meanwhile
        print(_told("VmHWM") - before, flush=True)
        inbox.finish()


if __name__ == "__main__":
    name, *sizes, place = sys.argv[1:]
    asyncio.run(main(name, *map(int, sizes), place))
