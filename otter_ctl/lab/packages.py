"""Lets a lab's machines reach this computer's package indexes, and nothing else beyond it.

    python -m otter_ctl.lab.packages FOLDER

A proxy at this computer's address in the management network: `CONNECT HOST:PORT` to the hosts that
pip is configured to use here is carried on, all else is refused. Names are resolved here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from otter_ctl.lab import cgroups, processes

PORT = 3128
_ALWAYS = {("pypi.org", 443), ("files.pythonhosted.org", 443), ("download.pytorch.org", 443)}
_HEAD_BYTES = 8192
_HEAD_S = 10.0
_CHUNK_BYTES = 1 << 16
_AT_ONCE = 256


def indexes(configured: str) -> set[tuple[str, int]]:
    """Hosts and ports of all https addresses in what `pip config list` prints."""
    found = set(_ALWAYS)
    for url in re.findall(r"https://[^\s'\"]+", configured):
        with contextlib.suppress(ValueError):
            parts = urlsplit(url)
            if parts.hostname:
                found.add((parts.hostname, parts.port or 443))
    return found


def target(head: bytes) -> tuple[str, int] | None:
    """Where a request wants to; None: it isn't a CONNECT."""
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split()
    if len(words) != 3 or words[0] != "CONNECT":
        return None
    host, _, port = words[1].rpartition(":")
    if not host or not port.isdecimal() or len(port) > 5:
        return None
    return host.lower().strip("[]"), int(port)


class Proxy:
    """Serves until it is cancelled.

    Args:
        address: Where it listens.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._allowed: asyncio.Task[set[tuple[str, int]]]

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            self._allowed = group.create_task(asyncio.to_thread(_configured))

            def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                group.create_task(self._one(reader, writer))

            server = await asyncio.start_server(take, self._address, PORT, limit=_HEAD_BYTES)
            async with server:
                sys.stdout.write(processes.READY.decode())
                sys.stdout.flush()
                await server.serve_forever()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._room:
            try:
                async with asyncio.timeout(_HEAD_S):
                    wanted = target(await reader.readuntil(b"\r\n\r\n"))
                    if wanted is None or wanted not in await asyncio.shield(self._allowed):
                        writer.write(b"HTTP/1.1 403 Not a package index\r\n\r\n")
                        await writer.drain()
                        return
                    there = await asyncio.open_connection(*wanted)
                await _both(reader, writer, *there)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
                return  # whoever asked sees the connection end
            finally:
                writer.close()


async def _both(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    far_reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
) -> None:
    try:
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(_carry(reader, far_writer))
            group.create_task(_carry(far_reader, writer))
    finally:
        far_writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def _configured() -> set[tuple[str, int]]:
    argv = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return indexes(done.stdout)


def main(folder: Path) -> None:
    """Note itself, serve."""
    processes.note_own_pid(folder)
    cgroups.enter(os.environ["OTTER_LAB_GROUP"] + "/switch")
    processes.release_lock()
    asyncio.run(Proxy((folder / "asked").read_text()).run())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
