"""What the verbs share: picking a mesh, options, JSON output, completion of names."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, TypeVar

import click
import msgspec
from click.shell_completion import CompletionItem

from net.errors import OtterError
from net.units import duration
from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.agents import connect
from otter_ctl.client import AgentClient
from otter_ctl.errors import RemoteError
from otter_ctl.meshes import Meshes
from otter_ctl.printable import printable

T = TypeVar("T")
COMPLETE_WITHIN_S = 0.3
"""An agent that hangs must not hang the shell with it."""
pass_session = click.make_pass_decorator(Session)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a verb's coroutine. Ctrl-C cancels it, so that it can clean up, and then raises.

    Raises:
        KeyboardInterrupt: It was interrupted, by Ctrl-C or by a signal that cancels it.
    """
    result: list[T] = []

    async def kept() -> None:
        result.append(await work)

    # When it ends asyncio makes the repr of the task, with its result: 0.3 s for a large plan.
    try:
        asyncio.run(kept())
    except asyncio.CancelledError:  # by a handler of the verb's own: no traceback for the user
        raise KeyboardInterrupt from None
    return result[0]


def ask(session: Session, question: Callable[[Meshes], Awaitable[T]]) -> T:
    """One question to all who know of meshes."""

    async def asked() -> T:
        async with connect(session) as client:
            return await question(client)

    return run(asked())


def ask_here(session: Session, question: Callable[[AgentClient], Awaitable[T]]) -> T:
    """One question to this machine's agent only."""

    async def asked() -> T:
        async with AgentClient(session.agent.socket) as client:
            return await question(client)

    return run(asked())


def with_agent(session: Session) -> Session:
    """With this machine's agent started if one was here: what it keeps outlives its meshes.

    With the last of them it ended: volumes, images and environments are still there.
    """
    if not session.agent.answers() and session.agent.ran_before:
        session.agent.start()
    return session


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(msgspec.json.format(api.encode(value), indent=2).decode())


def print_json_line(value: Any) -> None:
    """One line of NDJSON on stdout, at once."""
    click.echo(api.encode(value).decode())
    sys.stdout.flush()


async def pick_mesh(client: Meshes, name: str | None) -> str:
    """The mesh that `-m` names, or the only one there is."""
    return name if name is not None else only_mesh(await client.meshes())


def only_mesh(meshes: Iterable[api.MeshSummary]) -> str:
    """The name of the only mesh there is, of whichever runs."""
    names = list(dict.fromkeys(mesh.mesh for mesh in meshes))
    if len(names) == 1:
        return names[0]
    if not names:
        raise RemoteError("local", "there is no mesh", hint="make one: otterctl apply FILE")
    there = printable(", ".join(names), 1000)
    raise click.UsageError(f"there are several meshes ({there}): pick one with -m NAME")


def _complete(
    session: Session, question: Callable[[AgentClient], Awaitable[list[str]]]
) -> list[str]:
    """The answer, if there is one soon: who presses a key waits for nothing, and reads no error."""

    async def soon(client: AgentClient) -> list[str]:
        async with asyncio.timeout(COMPLETE_WITHIN_S):
            return await question(client)

    if not session.agent.answers():
        return []
    try:
        return ask_here(session, soon)
    except (OtterError, click.UsageError, TimeoutError):
        return []


def session_of(ctx: click.Context) -> Session:
    """The session of a command, also of one that is only being completed."""
    found = ctx.find_object(Session)
    if found is not None:
        return found
    from pathlib import Path

    from otter_ctl.local import LocalAgent

    options = ctx.find_root().params  # while completing, no command runs that would set a session
    return Session(LocalAgent(options.get("root"), options.get("docker")), Path("runs"))


def complete_names(
    ctx: click.Context,
    question: Callable[[AgentClient], Awaitable[list[str]]],
    incomplete: str,
) -> list[CompletionItem]:
    """What the agent answers, as far as it starts with what was typed; nothing without an agent."""
    found = _complete(session_of(ctx), question)
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def complete_mesh(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of meshes that start with what was typed."""

    async def names(client: AgentClient) -> list[str]:
        return [mesh.mesh for mesh in await client.meshes()]

    found = _complete(session_of(ctx), names)
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def complete_module(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of modules that start with what was typed."""

    async def names(client: AgentClient) -> list[str]:
        modules = await client.modules(await pick_mesh(client, ctx.params.get("mesh")))
        return [module.name for module in modules]

    found = _complete(session_of(ctx), names)
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def complete_link(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of links that start with what was typed."""

    async def names(client: AgentClient) -> list[str]:
        links = await client.links(await pick_mesh(client, ctx.params.get("mesh")))
        return list(dict.fromkeys(link.name for link in links))

    return complete_names(ctx, names, incomplete)


def complete_cell(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of cells that start with what was typed."""

    async def names(client: AgentClient) -> list[str]:
        mesh = await client.mesh(await pick_mesh(client, ctx.params.get("mesh")))
        return [cell.name for cell in mesh.cells]

    return complete_names(ctx, names, incomplete)


def complete_host(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of hosts that start with what was typed."""

    async def names(client: AgentClient) -> list[str]:
        mesh = await client.mesh(await pick_mesh(client, ctx.params.get("mesh")))
        return [host.name for host in mesh.hosts]

    return complete_names(ctx, names, incomplete)


_mesh_option = click.option(
    "-m",
    "--mesh",
    metavar="NAME",
    shell_complete=complete_mesh,
    help="Which mesh; not needed while there is only one.",
)
force_option = click.option(
    "--force", is_flag=True, help="Act on a mesh that belongs to somebody else, too."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the file, e.g. --set links.radio.rate=5mbit. Repeatable.",
)

without_option = click.option(
    "--without",
    multiple=True,
    metavar="MACHINE",
    help="Leave a machine out, also one that gives no answer: what may be elsewhere goes there. "
    "Repeatable.",
)


def _choose_site(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """In the environment, for the verb alone: whoever calls `run` has the same one afterwards.

    The outermost context puts it back, as a verb whose words are wrong closes none of its own; not
    where a shell completes words, which it does once all contexts are closed.
    """
    if value is not None:
        from otter_ctl.sites import VARIABLE

        if not ctx.resilient_parsing:
            back = partial(_set_variable, VARIABLE, os.environ.get(VARIABLE))
            ctx.find_root().call_on_close(back)
        _set_variable(VARIABLE, value)


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


_site_option = click.option(
    "--site",
    metavar="FILE",
    callback=_choose_site,
    expose_value=False,
    help="Where your machines are, if not in ~/.config/otter/site.toml. [env: OTTER_SITE]",
)


def site_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every verb takes that may ask other machines; once, whoever else brings it."""
    there = {parameter.name for parameter in getattr(command, "__click_params__", ())}
    return command if "site" in there else _site_option(command)


def time_option(
    flag: str,
    name: str,
    *,
    help: str,  # noqa: A002 - click's word
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option that takes a time with its unit; the verb gets seconds."""
    return click.option(flag, name, metavar="TIME", callback=_seconds, help=help)


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return duration(value)
    except OtterError as error:
        raise click.BadParameter(str(error)) from error


def set_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every verb that reads a topology takes: `--set` and `--site`."""
    return _set_option(site_option(command))


def mesh_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every verb that acts on a mesh takes: `--mesh` and `--site`."""
    return _mesh_option(site_option(command))
