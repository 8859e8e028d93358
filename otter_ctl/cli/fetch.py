"""`otterctl fetch`."""

from __future__ import annotations

import click

from otter_ctl.cli import Session
from otter_ctl.cli.agents import connect
from otter_ctl.cli.common import (
    complete_module,
    json_option,
    mesh_option,
    pass_session,
    pick_mesh,
    print_json,
    run,
)
from otter_ctl.cli.transfers import ByteProgress, show_warnings, shown
from otter_ctl.fetching import Fetched, fetch
from otter_ctl.runs import RunFolder


@click.command(
    epilog="""\b
Examples:
  otterctl fetch
  otterctl --runs /data/runs fetch asr
"""
)
@click.argument("modules", nargs=-1, metavar="[MODULE]...", shell_complete=complete_module)
@mesh_option
@json_option
@pass_session
def command(session: Session, modules: tuple[str, ...], mesh: str | None, as_json: bool) -> None:
    """Bring logs and outputs into the run folder (`runs/MESH/TIME`); `destroy` does it as well."""

    async def bring() -> tuple[RunFolder, Fetched]:
        async with connect(session) as client:
            status = await client.mesh(await pick_mesh(client, mesh))
            folder = RunFolder.of(session.runs, status.spec)
            with ByteProgress(quiet=as_json) as progress:
                return folder, await fetch(client, status, folder, modules, progress)

    folder, fetched = run(bring())
    files = [shown(path.relative_to(folder.path)) for path in fetched.files]
    if as_json:
        warnings = fetched.warnings
        print_json({"folder": str(folder.path), "files": files, "warnings": warnings})
        return
    show_warnings(fetched.warnings)
    for name in files:
        click.echo(name)
    click.echo(f"{len(files)} files in {folder.path}", err=True)
