"""`otterctl cache`."""

from __future__ import annotations

import shlex
from fnmatch import fnmatchcase

import click
from click.shell_completion import CompletionItem

from otter_agent import api
from otter_ctl import caching
from otter_ctl.cli import Session
from otter_ctl.cli.common import json_option, pass_session
from otter_ctl.cli.elsewhere import ask_on, complain, complete_on, on_option
from otter_ctl.cli.kept import show_kept, show_removed
from otter_ctl.client import AgentClient
from otter_ctl.errors import RemoteError


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


@command.command(
    name="ls",
    epilog="""\b
Examples:
  otterctl cache ls --json
  otterctl cache ls --on jetson-1
""",
)
@on_option
@json_option
@pass_session
def list_cache(session: Session, on: str | None, as_json: bool) -> None:
    """List it, with sizes and who uses it."""
    answers = ask_on(session, on, caching.items)
    columns = {"NAME": lambda item: item.name, "WHAT": lambda item: item.title}
    show_kept(answers.good, columns, on=on, as_json=as_json)
    complain(answers)


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    async def names(client: AgentClient) -> list[str]:
        return [item.name for item in await caching.items(client) if not item.used_by]

    return complete_on(ctx, names, incomplete)


@command.command(
    epilog="""\b
Examples:
  otterctl cache rm --unused --dry-run
  otterctl cache rm 'wheels/*'
  otterctl cache rm --unused --on 'jetson-*'
"""
)
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=_complete)
@click.option("--unused", is_flag=True, help="All that no mesh uses.")
@click.option("-n", "--dry-run", is_flag=True, help="Remove nothing: only say what would be.")
@on_option
@json_option
@pass_session
def rm(
    session: Session,
    names: tuple[str, ...],
    unused: bool,
    dry_run: bool,
    on: str | None,
    as_json: bool,
) -> None:
    """Remove some of it, by names or globs. What a mesh uses is refused.

    It is fetched again when something needs it: packages when an image or environment is built.
    """
    if bool(names) == unused:
        raise click.UsageError("name some of it (otterctl cache ls), or say --unused")

    missing = set(names)

    async def question(client: AgentClient) -> api.Pruned:
        chosen = names
        if on is not None and names:  # not every machine has all of it
            there = [item.name for item in await caching.items(client)]
            chosen = tuple(n for n in names if any(fnmatchcase(x, n) for x in there))
            missing.difference_update(chosen)
            if not chosen:
                return api.Pruned(removed=(), freed_bytes=0, dry_run=dry_run)
        return await caching.remove(client, chosen, dry_run=dry_run)

    answers = ask_on(session, on, question)
    show_removed(answers.good, dry_run=dry_run, on=on, as_json=as_json)
    complain(answers)
    if on is not None and missing:
        nothing = f"nothing is called {', '.join(sorted(missing))}"
        raise RemoteError(on, nothing, hint=f"otterctl cache ls --on {shlex.quote(on)}")
