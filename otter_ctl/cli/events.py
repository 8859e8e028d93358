"""`otterctl events`."""

from __future__ import annotations

import click

from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.agents import connect
from otter_ctl.cli.common import json_option, mesh_option, pass_session, print_json_line, run
from otter_ctl.cli.times import local
from otter_ctl.meshes import Meshes
from otter_ctl.printable import printable_lines


@click.command(
    epilog="""\b
Examples:
  otterctl events
  otterctl events -f --json | jq 'select(.kind == "module")'
"""
)
@mesh_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens next.")
@json_option
@pass_session
def command(session: Session, mesh: str | None, follow: bool, as_json: bool) -> None:
    """Show what happened to a mesh (without -m: to all of them), oldest first.

    With -f and -m it ends when that mesh has been destroyed.
    """

    async def show() -> None:
        shown = 0
        async with (
            connect(session) as client,
            client.events(mesh=mesh, since=0, follow=follow) as events,
        ):
            async for event in events:
                shown += 1
                print_json_line(event) if as_json else click.echo(_text(event))
                if follow and mesh is not None and await _is_gone(client, event, mesh):
                    return
            if mesh is not None and not shown:
                await client.mesh(mesh)  # there is nothing of that name, as it says

    run(show())


async def _is_gone(client: Meshes, event: api.Event, mesh: str) -> bool:
    """Whether that was the last of a mesh: another of its name may be there by now."""
    if (event.kind, event.state) != ("mesh", "destroyed"):
        return False
    found = await client.find_mesh(mesh)
    return found is None or found.state == "destroying"


def _text(event: api.Event) -> str:
    moment = local(event.time, "%H:%M:%S")
    what = " ".join(filter(None, (event.state, event.text)))
    subject = event.subject if event.subject != event.mesh else ""
    text = f"{moment} {event.mesh} {event.kind} {subject}: {what}".replace(" :", ":")
    return printable_lines(text)
