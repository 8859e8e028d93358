"""The relay's process: `python -m otter_agent.network.outside --mesh NAME SOCKET`.

The agent starts it and tells it what to do over a Unix socket, a line of JSON each way; it lives
on when the agent is killed, and the next one finds it by that socket. It ends when told so (an
empty line), and when its socket has been removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
from pathlib import Path

import msgspec

from otter_agent import api
from otter_agent.beside import is_there
from otter_agent.network.outside.config import Config, Report
from otter_agent.network.outside.relay import Relay

_LONGEST_LINE = 1 << 24
_LOOK_S = 5.0
"""How often it looks whether its socket is still there."""


def main() -> None:
    """Run until told to end."""
    path = Path(sys.argv[-1])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # The agent made it, so that nobody finds a relay that doesn't listen yet.
    with socket.socket(fileno=0) as listener:
        inode = path.stat().st_ino
        asyncio.run(_serve(listener, path, inode))


async def _serve(listener: socket.socket, path: Path, inode: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    relay = Relay(loop)
    async with asyncio.TaskGroup() as group:

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            group.create_task(_talk(relay, reader, writer, stop), name="agent")

        server = await asyncio.start_unix_server(begin, sock=listener, limit=_LONGEST_LINE)
        while not stop.is_set() and is_there(path, inode):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await stop.wait()
        stop.set()
        relay.close()
        server.close()


async def _talk(
    relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: asyncio.Event
) -> None:
    """Serve one agent until it hangs up or the relay ends."""
    async with asyncio.TaskGroup() as group:
        ending = group.create_task(stop.wait(), name="end")
        talking = group.create_task(_answer(relay, reader, writer, stop), name="talk")
        await asyncio.wait((ending, talking), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        talking.cancel()
    writer.close()


async def _answer(
    relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: asyncio.Event
) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while line := await reader.readuntil():
            if not line.strip():
                relay.close()
                stop.set()
                return
            try:
                report = relay.apply(api.decode(line, Config))
            except msgspec.DecodeError as error:
                why = f"the relay doesn't understand its agent: {error}"
                report = Report(pid=os.getpid(), problems=(why,))
            writer.write(api.encode(report) + b"\n")
            await writer.drain()


if __name__ == "__main__":
    main()
