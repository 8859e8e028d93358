"""`otterctl volume`."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from otter_ctl import caching
from otter_ctl.cli import Session
from otter_ctl.cli.common import (
    ask_here,
    complete_names,
    json_option,
    pass_session,
    print_json,
    with_agent,
)
from otter_ctl.cli.kept import show_kept
from otter_ctl.cli.saying import say
from otter_ctl.client import AgentClient


@click.group(
    name="volume",
    epilog="""\b
Example:
  otterctl volume ls

In a topology:  mounts = { "/cache" = { volume = "models" } }
""",
)
def command() -> None:
    """List or remove named volumes: folders that outlive meshes."""


@command.command(name="ls", epilog="Example: otterctl volume ls --json")
@json_option
@pass_session
def list_volumes(session: Session, as_json: bool) -> None:
    """List them, with their sizes and who uses them."""
    volumes = ask_here(with_agent(session), caching.volumes)
    show_kept(volumes, {"NAME": lambda volume: volume.name}, as_json=as_json)


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    async def names(client: AgentClient) -> list[str]:
        return [volume.name for volume in await caching.volumes(client) if not volume.used_by]

    return complete_names(ctx, names, incomplete)


@command.command(epilog="Example: otterctl volume rm models scratch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete)
@json_option
@pass_session
def rm(session: Session, names: tuple[str, ...], as_json: bool) -> None:
    """Remove volumes with all that is in them. One that a mesh uses is refused."""

    async def question(client: AgentClient) -> None:
        for name in names:
            await caching.remove_volume(client, name)
            if not as_json:
                say(f"removed {name}")

    ask_here(with_agent(session), question)
    if as_json:
        print_json({"removed": list(names)})
