"""`otterctl cache`."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from otter_agent import api
from otter_ctl import caching
from otter_ctl.cli import Session
from otter_ctl.cli.common import (
    ask_here,
    complete_names,
    json_option,
    pass_session,
    with_agent,
)
from otter_ctl.cli.kept import show_kept, show_removed
from otter_ctl.client import AgentClient


@click.group(
    name="cache",
    epilog="""\b
Example:
  otterctl cache ls

In a topology:  weights = { "whisper-tiny.en" = "hub:openai/whisper-tiny.en" }
""",
)
def command() -> None:
    """List or empty what was fetched once: weights of models, packages to build from."""


@command.command(name="ls", epilog="Example: otterctl cache ls --json")
@json_option
@pass_session
def list_cache(session: Session, as_json: bool) -> None:
    """List it, with sizes and who uses it."""
    items = ask_here(with_agent(session), caching.items)
    columns = {"NAME": lambda item: item.name, "WHAT": lambda item: item.title}
    show_kept(items, columns, as_json=as_json)


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    async def names(client: AgentClient) -> list[str]:
        return [item.name for item in await caching.items(client) if not item.used_by]

    return complete_names(ctx, names, incomplete)


@command.command(
    epilog="""\b
Examples:
  otterctl cache rm --unused --dry-run
  otterctl cache rm 'wheels/*'
"""
)
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=_complete)
@click.option("--unused", is_flag=True, help="All that no mesh uses.")
@click.option("-n", "--dry-run", is_flag=True, help="Remove nothing: only say what would be.")
@json_option
@pass_session
def rm(
    session: Session, names: tuple[str, ...], unused: bool, dry_run: bool, as_json: bool
) -> None:
    """Remove some of it, by names or globs. What a mesh uses is refused.

    It is fetched again when something needs it: packages when an image or environment is built.
    """
    if bool(names) == unused:
        raise click.UsageError("name some of it (otterctl cache ls), or say --unused")

    async def question(client: AgentClient) -> api.Pruned:
        return await caching.remove(client, names, dry_run=dry_run)

    show_removed(ask_here(with_agent(session), question), as_json=as_json)
