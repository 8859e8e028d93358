"""`otterctl ls`."""

from __future__ import annotations

import click

from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.agents import anybody
from otter_ctl.cli.common import ask, json_option, pass_session, print_json, site_option
from otter_ctl.meshes import Meshes


@click.command(epilog="Example: otterctl ls --json")
@site_option
@json_option
@pass_session
def command(session: Session, as_json: bool) -> None:
    """List meshes: everybody's, with who made them."""

    async def question(client: Meshes) -> list[api.MeshSummary]:
        return await client.meshes()

    meshes = ask(session, question) if anybody(session) else []
    if as_json:
        print_json(meshes)
        return
    if not meshes:
        click.echo("no meshes; make one: otterctl apply FILE", err=True)
        return
    from otter_ctl.cli.tables import print_table

    print_table(
        ("MESH", "STATE", "OWNER", "HOSTS", "MODULES", "READY", "RUN", "OVERCOMMIT"),
        [
            (m.mesh, m.state, m.owner, m.hosts, m.modules, m.ready, m.run, m.overcommit)
            for m in meshes
        ],
    )
