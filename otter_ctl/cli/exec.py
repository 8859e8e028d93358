"""`otterctl exec`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
from collections.abc import AsyncIterator

import click
import msgspec

from otter_agent import api
from otter_ctl.cli import Session, terminal
from otter_ctl.cli.agents import connect
from otter_ctl.cli.common import (
    complete_module,
    force_option,
    mesh_option,
    pass_session,
    pick_mesh,
    run,
)
from otter_ctl.cli.terminal import READ_BYTES, is_terminal, keys, raw, watched, window_size
from otter_ctl.duplex import Duplex
from otter_ctl.errors import AgentFault, RemoteError


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
Examples:
  otterctl exec asr                        a shell, in a terminal
  otterctl exec asr -- ls -l /work
  otterctl exec -w /tmp -e DEBUG=1 asr -- python3 -i
  echo 'print(1)' | otterctl exec asr -- python3 -
""",
)
@mesh_option
@click.option("-i", "--interactive", is_flag=True, help="Give it our input, even a terminal's.")
@click.option(
    "-t/-T", "--tty/--no-tty", "tty", default=None,
    help="Run it in a terminal; by default if our input and output are one.",
)  # fmt: skip
@click.option(
    "-e", "--env", "variables", multiple=True, metavar="NAME[=VALUE]",
    help="A variable, besides the module's; without a value, ours. Repeatable.",
)  # fmt: skip
@click.option("-w", "--workdir", default="", metavar="DIR", help="Its folder, inside the module.")
@click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="Who it runs as.")
@force_option
@click.argument("module", shell_complete=complete_module)
@click.argument("argv", nargs=-1, metavar="[-- CMD [ARG]...]", type=click.UNPROCESSED)
@pass_session
def command(
    session: Session,
    mesh: str | None,
    force: bool,
    interactive: bool,
    tty: bool | None,
    variables: tuple[str, ...],
    workdir: str,
    user: str,
    module: str,
    argv: tuple[str, ...],
) -> int:
    """Run a command inside a module (its namespaces, its budget); exits with its status.

    Without a command: its shell, bash or else sh. In a terminal all keys go to the command, Ctrl-C
    too, and the window's size follows ours.
    """
    words = argv[1:] if argv and argv[0] == "--" else argv
    if tty and not terminal.CAN:
        raise click.UsageError(_NO_TERMINAL)
    if tty is None:
        tty = terminal.CAN and is_terminal(sys.stdin) and is_terminal(sys.stdout)
    request = api.ExecRequest(
        argv=words,
        env=_variables(variables, tty=tty),
        cwd=workdir,
        user=user,
        terminal=_size() if tty else None,
    )

    async def execute() -> int:
        async with connect(session, force=force) as client:
            name = await pick_mesh(client, mesh)
            async with client.exec(name, module, request) as socket:
                return await _converse(socket, tty=tty, typed=tty or interactive)

    return run(execute())


_NO_TERMINAL = "this system has no terminals of Unix: leave -t out, or run otterctl in WSL2"


def _variables(given: tuple[str, ...], *, tty: bool) -> dict[str, str]:
    found = {}
    if tty:  # what programs everywhere know, with the colours that ours has
        full = "256color" in os.environ.get("TERM", "")
        found["TERM"] = "xterm-256color" if full else "xterm"
    for pair in given:
        name, is_set, value = pair.partition("=")
        if not name or "\0" in pair:
            raise click.UsageError(f"-e {pair}: NAME or NAME=VALUE is needed")
        if is_set:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def _size() -> api.TerminalSize:
    rows, columns = window_size()
    return api.TerminalSize(rows=rows, columns=columns)


async def _converse(socket: Duplex, *, tty: bool, typed: bool) -> int:
    """Carry input, output and the window's size until the command's end."""
    fd = sys.stdin.fileno() if tty and is_terminal(sys.stdin) else None
    changed = asyncio.Event()
    with contextlib.ExitStack() as stack:
        if fd is not None:
            stack.enter_context(raw(fd))
        if tty:
            stack.enter_context(watched(changed.set, fd))
        try:
            async with asyncio.TaskGroup() as group:
                others = [group.create_task(_feed(socket, typed=typed), name="stdin")]
                if tty:
                    others.append(group.create_task(_tell_size(socket, changed), name="window"))
                try:
                    return await _show(socket)
                finally:
                    for task in others:
                        task.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
    raise AssertionError("a block that returns or raises")


async def _show(socket: Duplex) -> int:
    async for message in socket:
        if isinstance(message, str) or not message:
            continue
        kind, data = message[0], message[1:]
        if kind == 0:
            return _ended(data)
        stream = sys.stdout if kind == 1 else sys.stderr
        stream.buffer.write(data)
        stream.buffer.flush()
    raise RemoteError("local", "the agent went away while the command ran")


def _ended(data: bytes) -> int:
    last = msgspec.json.decode(data)
    if "error" in last:
        problem = msgspec.convert(last["error"], api.Problem)
        raise AgentFault("local", problem)
    return int(last["exit"])


async def _tell_size(socket: Duplex, changed: asyncio.Event) -> None:
    told = window_size()
    while True:
        await changed.wait()
        changed.clear()
        if (now := window_size()) != told:
            told = now
            await socket.send(api.encode(_size()).decode())


async def _feed(socket: Duplex, *, typed: bool) -> None:
    """Our input to the command's; a terminal is left to others unless it was asked for."""
    if sys.stdin is not None and not sys.stdin.closed:
        source = _input(typed=typed)
        async for data in source:
            await socket.send(data)
    await socket.send(b"")


async def _input(*, typed: bool) -> AsyncIterator[bytes]:
    fd = sys.stdin.fileno()
    kind = os.fstat(fd).st_mode
    if is_terminal(sys.stdin):
        if typed:
            async for data in keys(fd) if terminal.CAN else terminal.read(fd):
                yield data
    elif not terminal.CAN:
        async for data in terminal.read(fd):
            yield data
    elif stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while data := await reader.read(READ_BYTES):
            yield data
    else:  # a file or /dev/null: never blocks for long, and can't be waited for
        while data := os.read(fd, READ_BYTES):
            yield data
