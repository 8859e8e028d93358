"""Streams to an agent in a container of this computer's engine, where no socket leads out of it.

    AgentClient ─► socket pair ─ threads ─ `docker exec -i` ─► pipe ─► the agent's socket

Docker Desktop's containers live in a virtual machine, whose Unix sockets macOS and Windows can't
open. Whoever may use the engine may use the agent in it. Threads, as asyncio's subprocesses outlive
no loop. Must not know: HTTP, agents' requests, SSH.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import threading
from contextlib import suppress

from otter_ctl.connection import Open, Stream

_PYTHON = "/opt/otter/bin/python"
_PIECE_BYTES = 1 << 16
_READ_BYTES = 1 << 18
_BEGIN_S = 30.0
"""For an engine to start a program in a container; then it counts as one that doesn't answer."""
_READY = b"+"
# Who lets go does so of both directions: what was sent is with the agent, and nobody hears more.
_PIPE = f"""
import os, socket, sys, threading
there = socket.socket(socket.AF_UNIX)
try:
    there.connect(sys.argv[1])
except OSError as error:
    sys.exit(f"no agent answers at {{sys.argv[1]}}: {{error.strerror}}")
os.write(1, {_READY!r})
def up():
    while data := os.read(0, {_PIECE_BYTES}):
        there.sendall(data)
    os._exit(0)
threading.Thread(target=up, daemon=True).start()
while data := there.recv({_PIECE_BYTES}):
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]
os._exit(0)
"""


def enclosed(container: str, path: str) -> Open:
    """Streams to a Unix socket in a container.

    Args:
        container: Its name or id.
        path: Of the socket, in there.
    """

    async def open_() -> Stream:
        process = await asyncio.to_thread(_started, container, path)
        near, far = socket.socketpair()
        threading.Thread(target=_carry, args=(process, far), daemon=True).start()
        reader, writer = await asyncio.open_connection(sock=near, limit=_READ_BYTES)

        async def close() -> None:
            writer.close()
            await writer.wait_closed()

        return Stream(reader, writer, writer.transport.abort, close)

    return open_


def _started(container: str, path: str) -> subprocess.Popen[bytes]:
    """The way in, once the agent has taken the connection; blocking. Raises OSError."""
    docker = shutil.which("docker")
    if docker is None:
        raise ConnectionRefusedError(None, "there is no `docker` here to ask its engine with")
    process = subprocess.Popen(
        [docker, "exec", "-i", container, _PYTHON, "-I", "-S", "-c", _PIPE, path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    clock = threading.Timer(_BEGIN_S, process.kill)
    clock.start()
    try:
        if process.stdout.read(1) == _READY:
            return process
        said = process.stderr.read().decode(errors="replace").strip().splitlines()
    finally:
        clock.cancel()
    _end(process)
    raise ConnectionRefusedError(None, said[-1] if said else "docker exec gives no answer")


def _carry(process: subprocess.Popen[bytes], far: socket.socket) -> None:
    """Both ways, until either side lets go; then all of it is closed."""
    up = threading.Thread(target=_to_agent, args=(process, far), daemon=True)
    up.start()
    assert process.stdout is not None
    with suppress(OSError):
        while data := os.read(process.stdout.fileno(), _PIECE_BYTES):
            far.sendall(data)
    with suppress(OSError):
        far.shutdown(socket.SHUT_RDWR)
    process.kill()
    up.join()
    far.close()
    _end(process)


def _to_agent(process: subprocess.Popen[bytes], far: socket.socket) -> None:
    assert process.stdin is not None
    with suppress(OSError):
        while data := far.recv(_PIECE_BYTES):
            view = memoryview(data)
            while view:
                view = view[process.stdin.write(view) or 0 :]
    with suppress(OSError):
        process.stdin.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
