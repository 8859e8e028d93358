"""`otterctl logs`."""

from __future__ import annotations

import sys

import click

from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.common import (
    complete_module,
    json_option,
    mesh_option,
    pass_session,
    pick_mesh,
    print_json_line,
    run,
)
from otter_ctl.cli.tables import style_of
from otter_ctl.client import AgentClient


@click.command(
    epilog="""\b
Examples:
  otterctl logs -f
  otterctl logs speech_to_text --tail 20
"""
)
@click.argument("modules", nargs=-1, metavar="[MODULE]...", shell_complete=complete_module)
@mesh_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed next.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines each.")
@json_option
@pass_session
def command(
    session: Session,
    modules: tuple[str, ...],
    mesh: str | None,
    follow: bool,
    tail: int | None,
    as_json: bool,
) -> None:
    """Show what modules print (none named: all), merged, each line with its module's name."""

    async def show() -> None:
        async with AgentClient(session.agent.socket) as client:
            name = await pick_mesh(client, mesh)
            names = [m.name for m in (await client.mesh(name)).modules]
            width = max((len(n) for n in (modules or names)), default=0)
            async for line in client.logs(name, modules, tail=tail, follow=follow):
                print_json_line(line) if as_json else _print(line, names, width)

    run(show())


def _print(line: api.LogLine, names: list[str], width: int) -> None:
    colour = style_of(names, line.module) if line.module in names else "white"
    click.echo(click.style(f"{line.module:<{width}} |", fg=colour) + f" {_printable(line.text)}")
    sys.stdout.flush()


def _printable(text: str) -> str:
    """Without what would move a terminal's cursor or change its title: logs are foreign text."""
    return "".join(c if c.isprintable() or c == "\t" else "�" for c in text)
