"""`otterctl graph`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from otter_ctl.cli import Session
from otter_ctl.cli.common import json_option, mesh_option, pass_session, set_option

if TYPE_CHECKING:
    from otter_ctl.graph.model import Picture

FORMATS = {"svg": ".svg", "mermaid": ".mmd"}
_BY_SUFFIX = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid"}


@click.command(
    epilog="""\b
Examples:
  otterctl graph topology.toml                      # writes NAME.svg
  otterctl graph topology.toml -o docs/lab.svg
  otterctl graph topology.toml --format mermaid     # text for a Markdown page
  otterctl graph -m lab -o now.svg                  # a mesh that runs, with its modules' states
"""
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@mesh_option
@set_option
@click.option(
    "--format", "kind", type=click.Choice(list(FORMATS)), help="Default: by -o's name, else svg."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to; - is stdout. Default: NAME.svg here, or stdout in a pipe and for mermaid.",
)
@click.option("--expand", is_flag=True, help="Draw each of client-1, client-2, … by itself.")
@json_option
@pass_session
def command(
    session: Session,
    file: Path | None,
    mesh: str | None,
    overrides: tuple[str, ...],
    kind: str | None,
    output: Path | None,
    expand: bool,
    as_json: bool,
) -> None:
    """Draw a topology before it runs, or a mesh that runs: hosts, links, modules, streams."""
    if file is not None and mesh is not None:
        raise click.UsageError("name a file or a mesh (-m), not both")
    if file is None and overrides:
        raise click.UsageError("--set changes a file: name one")
    picture = _of_mesh(session, mesh) if file is None else _of_file(file, overrides)
    if not expand:
        from otter_ctl.graph.fold import fold

        picture = fold(picture)
    if as_json:
        from otter_ctl.cli.common import print_json

        print_json(picture)
        return
    kind = kind or ("svg" if output is None else kind_of(output))
    if output is None and kind == "svg" and sys.stdout.isatty():
        output = Path(f"{picture.name}.svg")
    write(drawn(picture, kind), output)


def kind_of(output: Path) -> str:
    """The format that a file's name asks for."""
    if str(output) == "-":
        return "svg"
    if output.suffix not in _BY_SUFFIX:
        known = ", ".join(_BY_SUFFIX)
        raise click.UsageError(f"{output}: which format? end its name with one of {known}")
    return _BY_SUFFIX[output.suffix]


def drawn(picture: Picture, kind: str) -> str:
    """The picture as text of a format."""
    if kind == "mermaid":
        from otter_ctl.graph.mermaid import mermaid

        return mermaid(picture)
    from otter_ctl.graph.svg import svg

    return svg(picture)


def write(text: str, output: Path | None) -> None:
    """To a file, whose name is told, or to stdout."""
    if output is None or str(output) == "-":
        click.echo(text, nl=False)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    click.echo(f"wrote {output}", err=True)


def _of_file(file: Path, overrides: tuple[str, ...]) -> Picture:
    from otter_ctl.graph.build import of_topology
    from otter_ctl.topology import load

    return of_topology(load(file, overrides))


def _of_mesh(session: Session, mesh: str | None) -> Picture:
    from otter_agent import api
    from otter_ctl.cli.common import ask, pick_mesh

    if mesh is None and not session.agent.answers():
        raise click.UsageError("name a file to draw: no agent runs here whose mesh could be meant")

    from otter_ctl.graph.build import of_status
    from otter_ctl.meshes import Meshes

    async def question(client: Meshes) -> api.MeshStatus:
        return await client.mesh(await pick_mesh(client, mesh))

    return of_status(ask(session, question))
