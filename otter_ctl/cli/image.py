"""`otterctl image`."""

from __future__ import annotations

import time

import click

from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.common import ask_here, json_option, pass_session, print_json
from otter_ctl.cli.tables import print_table
from otter_ctl.client import AgentClient
from otter_ctl.fetching import about


@click.group(name="image", epilog="Example: otterctl image prune")
def command() -> None:
    """List or prune the images and environments that OTTER made."""


@command.command(name="ls", epilog="Example: otterctl image ls --json")
@json_option
@pass_session
def list_images(session: Session, as_json: bool) -> None:
    """List them, with who uses them."""

    async def question(client: AgentClient) -> list[api.ImageInfo]:
        return await client.images()

    images = ask_here(session, question)
    if as_json:
        print_json(images)
        return
    rows = [
        (i.reference, i.kind, about(i.size_bytes),
         time.strftime("%Y-%m-%d %H:%M", time.localtime(i.created)), ", ".join(i.used_by) or "-")
        for i in images
    ]  # fmt: skip
    print_table(("NAME", "KIND", "SIZE", "MADE", "USED BY"), rows)
    if not all(i.used_by for i in images):
        click.echo("what unused ones hold: otterctl image prune --dry-run", err=True)


@command.command(
    epilog="""\b
Examples:
  otterctl image prune --dry-run
  otterctl image prune --json
"""
)
@click.option("-n", "--dry-run", is_flag=True, help="Remove nothing: only say what would be.")
@json_option
@pass_session
def prune(session: Session, dry_run: bool, as_json: bool) -> None:
    """Remove those that no mesh uses, with the bases, packages and models that only they need.

    The sizes are what each holds alone, without what it is built on.
    """

    async def question(client: AgentClient) -> api.Pruned:
        return await client.prune(dry_run=dry_run)

    pruned = ask_here(session, question)
    if as_json:
        print_json(pruned)
        return
    would = "would remove" if dry_run else "removed"
    for item in pruned.items:
        click.echo(f"{would} {item.reference} ({item.kind}, {about(item.size_bytes)})")
    total = about(pruned.freed_bytes)
    done = f"would be removed, about {total} freed" if dry_run else f"removed, {total} freed"
    click.echo(f"{len(pruned.items)} {done}", err=True)
