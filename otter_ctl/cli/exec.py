"""`otterctl exec`."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator

import click
import msgspec

from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.common import complete_module, mesh_option, pass_session, pick_mesh, run
from otter_ctl.client import AgentClient
from otter_ctl.duplex import Duplex
from otter_ctl.errors import AgentFault, RemoteError

CHUNK_BYTES = 1 << 16


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="""\b
Examples:
  otterctl exec asr -- ls -l /work
  echo 'print(1)' | otterctl exec asr -- python3 -
""",
)
@mesh_option
@click.argument("module", shell_complete=complete_module)
@click.argument("argv", nargs=-1, required=True, metavar="-- CMD [ARG]...", type=click.UNPROCESSED)
@pass_session
def command(session: Session, mesh: str | None, module: str, argv: tuple[str, ...]) -> int:
    """Run a command inside a module (its namespaces, its budget); exits with its status."""
    words = argv[1:] if argv[0] == "--" else argv
    if not words:
        raise click.UsageError("no command given: otterctl exec MODULE -- CMD")

    async def execute() -> int:
        async with AgentClient(session.agent.socket) as client:
            name = await pick_mesh(client, mesh)
            async with client.exec(name, module, words) as socket:
                return await _converse(socket)

    return run(execute())


async def _converse(socket: Duplex) -> int:
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(_feed(socket), name="stdin")
        try:
            async for message in socket:
                if isinstance(message, str) or not message:
                    continue
                kind, data = message[0], message[1:]
                if kind == 0:
                    return _ended(data)
                stream = sys.stdout if kind == 1 else sys.stderr
                stream.buffer.write(data)
                stream.buffer.flush()
        finally:
            feeding.cancel()
    raise RemoteError("local", "the agent went away while the command ran")


def _ended(data: bytes) -> int:
    last = msgspec.json.decode(data)
    if "error" in last:
        problem = msgspec.convert(last["error"], api.Problem)
        raise AgentFault("local", problem)
    return int(last["exit"])


async def _feed(socket: Duplex) -> None:
    """Our stdin to the command's; a terminal isn't read (there is no -t yet)."""
    if sys.stdin is not None and not sys.stdin.closed and not sys.stdin.isatty():
        async for data in _stdin():
            await socket.send(data)
    await socket.send(b"")


async def _stdin() -> AsyncIterator[bytes]:
    kind = os.fstat(sys.stdin.fileno()).st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while data := await reader.read(CHUNK_BYTES):
            yield data
    else:  # a file or /dev/null: never blocks for long, and can't be waited for
        while data := os.read(sys.stdin.fileno(), CHUNK_BYTES):
            yield data
