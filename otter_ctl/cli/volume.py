"""`otterctl volume`."""

from __future__ import annotations

import shlex

import click
from click.shell_completion import CompletionItem

from otter_ctl import caching
from otter_ctl.cli import Session
from otter_ctl.cli.common import json_option, pass_session, print_json
from otter_ctl.cli.elsewhere import ask_on, complain, complete_on, on_option
from otter_ctl.cli.kept import show_kept
from otter_ctl.cli.saying import say
from otter_ctl.client import AgentClient
from otter_ctl.errors import RemoteError


@click.group(
    name="volume",
    epilog="""\b
Examples:
  otterctl volume ls
  otterctl volume ls --on 'jetson-*'

In a topology:  mounts = { "/cache" = { volume = "models" } }
""",
)
def command() -> None:
    """List or remove named volumes: folders that outlive meshes."""


@command.command(
    name="ls",
    epilog="""\b
Examples:
  otterctl volume ls --json
  otterctl volume ls --on 'jetson-*'
""",
)
@on_option
@json_option
@pass_session
def list_volumes(session: Session, on: str | None, as_json: bool) -> None:
    """List them, with their sizes and who uses them."""
    answers = ask_on(session, on, caching.volumes)
    show_kept(answers.good, {"NAME": lambda volume: volume.name}, on=on, as_json=as_json)
    complain(answers)


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    async def names(client: AgentClient) -> list[str]:
        return [volume.name for volume in await caching.volumes(client) if not volume.used_by]

    return complete_on(ctx, names, incomplete)


@command.command(
    epilog="""\b
Examples:
  otterctl volume rm models scratch
  otterctl volume rm models --on jetson-1
"""
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete)
@on_option
@json_option
@pass_session
def rm(session: Session, names: tuple[str, ...], on: str | None, as_json: bool) -> None:
    """Remove volumes with all that is in them. One that a mesh uses is refused."""
    removed: dict[str, list[str]] = {}

    async def question(client: AgentClient) -> None:
        gone = removed.setdefault(client.machine, [])
        chosen = names
        if on is not None:  # not every machine has every one
            there = {volume.name for volume in await caching.volumes(client)}
            chosen = tuple(name for name in names if name in there)
        for name in chosen:
            await caching.remove_volume(client, name)
            gone.append(name)
            if not as_json:
                say(f"removed {name}" + (f" on {client.machine}" if on is not None else ""))

    answers = ask_on(session, on, question)
    if as_json and on is None:
        print_json({"removed": list(names)})
    elif as_json:
        print_json([{"machine": name, "removed": gone} for name, gone in sorted(removed.items())])
    complain(answers)
    missing = set(names).difference(*removed.values())
    if on is not None and missing:
        hint = f"otterctl volume ls --on {shlex.quote(on)}"
        raise RemoteError(on, f"no volume {', '.join(sorted(missing))}", hint=hint)
