"""`otterctl image`."""

from __future__ import annotations

import time

import click

from net.units import format_size
from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.common import ask, json_option, pass_session, print_json
from otter_ctl.client import AgentClient


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

    images = ask(session, question)
    if as_json:
        print_json(images)
        return
    from otter_ctl.cli.tables import print_table

    print_table(
        ("NAME", "KIND", "SIZE", "MADE", "USED BY"),
        [
            (
                i.reference,
                i.kind,
                format_size(i.size_bytes),
                time.strftime("%Y-%m-%d %H:%M", time.localtime(i.created)),
                ", ".join(i.used_by),
            )
            for i in images
        ],
    )


@command.command(epilog="Example: otterctl image prune --json")
@json_option
@pass_session
def prune(session: Session, as_json: bool) -> None:
    """Remove those that no mesh uses, and bases that no image needs."""

    async def question(client: AgentClient) -> api.Pruned:
        return await client.prune()

    pruned = ask(session, question)
    if as_json:
        print_json(pruned)
        return
    for name in pruned.removed:
        click.echo(f"removed {name}")
    click.echo(f"{len(pruned.removed)} removed, {format_size(pruned.freed_bytes)} freed", err=True)
