"""`otterctl destroy`."""

from __future__ import annotations

import sys

import click

from otter_ctl.cli import Session
from otter_ctl.cli.common import json_option, mesh_option, pass_session, pick_mesh, print_json, run
from otter_ctl.cli.progress import Progress
from otter_ctl.cli.transfers import bring_all
from otter_ctl.client import AgentClient
from otter_ctl.deploy import destroy
from otter_ctl.runs import RunFolder


@click.command(
    epilog="""\b
Examples:
  otterctl destroy
  otterctl destroy -m lab --yes --no-fetch
"""
)
@mesh_option
@click.option("-y", "--yes", is_flag=True, help="Don't ask (it only asks on a terminal).")
@click.option("--no-fetch", is_flag=True, help="Leave logs and outputs behind, to be removed.")
@click.option("--discard", is_flag=True, help="Go on though not everything could be fetched.")
@json_option
@pass_session
def command(
    session: Session, mesh: str | None, yes: bool, no_fetch: bool, discard: bool, as_json: bool
) -> None:
    """Fetch logs and outputs into the run folder, then remove everything else of a mesh."""

    async def work() -> tuple[str, RunFolder | None]:
        async with AgentClient(session.agent.socket) as client:
            name = await pick_mesh(client, mesh)
            status = await client.find_mesh(name)
            if status is None:
                return name, None
            if not yes and sys.stdin.isatty():
                question = f"destroy mesh {name} with its {len(status.modules)} modules?"
                click.confirm(question, abort=True, err=True)
            folder = RunFolder.of(session.runs, status.spec)
            if not no_fetch and status.state != "destroying":
                await bring_all(client, status, folder, discard=discard, quiet=as_json)
            with Progress([m.name for m in status.modules], quiet=as_json) as progress:
                await destroy(client, name, progress)
            return name, folder

    if not session.agent.answers() and session.agent.ran_before:
        session.agent.start()  # one that was killed may have left a mesh: only an agent removes it
    if session.agent.answers() or mesh is None:
        name, folder = run(work())
    else:
        name, folder = mesh, None
    if as_json:
        print_json({"mesh": name, "folder": str(folder.path) if folder else None})
    elif folder is None:
        click.echo(f"mesh {name}: there is none")
    else:
        click.echo(f"mesh {name}: destroyed; run folder {folder.path}")
