"""`otterctl logs`."""

from __future__ import annotations

import re
import sys
from fnmatch import fnmatchcase

import click

from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.agents import connect
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
from otter_ctl.cli.times import Moment, utc


class Pattern(click.ParamType["re.Pattern[str]"]):
    """A regular expression of Python's."""

    name = "regex"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> re.Pattern[str]:
        """Compile it."""
        try:
            return re.compile(str(value))
        except (re.error, RecursionError, OverflowError) as error:
            self.fail(f"{value!r} is no regular expression: {error}", param, ctx)


@click.command(
    epilog="""\b
Examples:
  otterctl logs -f
  otterctl logs speech_to_text --tail 20
  otterctl logs 'client-*' --since 10m --grep 'error|lost' --timestamps
"""
)
@click.argument("modules", nargs=-1, metavar="[MODULE]...", shell_complete=complete_module)
@mesh_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed next.")
@click.option(
    "-n", "--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines each."
)
@click.option(
    "--since", type=Moment(), metavar="TIME",
    help="Only from then on: 10m (ago), 2026-11-22T20:43:22 (our zone), or seconds since 1970.",
)  # fmt: skip
@click.option("--until", type=Moment(), metavar="TIME", help="Only up to then.")
@click.option(
    "--grep", type=Pattern(), metavar="REGEX",
    help="Only lines with a match, of those that the other options leave; (?i) ignores case.",
)  # fmt: skip
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was begun, in UTC.")
@click.option("--no-color", is_flag=True, help="No colours. [env: NO_COLOR]")
@json_option
@pass_session
def command(
    session: Session,
    modules: tuple[str, ...],
    mesh: str | None,
    follow: bool,
    tail: int | None,
    since: float | None,
    until: float | None,
    grep: re.Pattern[str] | None,
    timestamps: bool,
    no_color: bool,
    as_json: bool,
) -> None:
    """Show what modules print (none named: all), merged by time, each line with its module's name.

    Names may be globs. Of a process module the last 64 MiB are kept, of a container the last 96 MB.
    """
    if follow and until is not None:
        raise click.UsageError("-f goes on for ever, --until ends: pick one of them")

    async def show() -> None:
        async with connect(session) as client:
            name = await pick_mesh(client, mesh)
            writer = _Writer(
                [m.name for m in (await client.mesh(name)).modules],
                modules, timestamps=timestamps, colour=not no_color, as_json=as_json,
            )  # fmt: skip
            lines = client.logs(name, modules, tail=tail, follow=follow, since=since, until=until)
            async for line in lines:
                # Here, not by the agent: some expressions take for ever on some lines.
                if grep is None or grep.search(line.text):
                    writer.write(line)

    run(show())


class _Writer:
    """Prints lines.

    Args:
        names: All modules of the mesh: each keeps its colour.
        patterns: Those that are shown; none: all.
        timestamps: Show times.
        colour: Use colours, if stdout is a terminal.
        as_json: NDJSON instead.
    """

    def __init__(
        self,
        names: list[str],
        patterns: tuple[str, ...],
        *,
        timestamps: bool,
        colour: bool,
        as_json: bool,
    ) -> None:
        shown = [n for n in names if not patterns or any(fnmatchcase(n, p) for p in patterns)]
        self._names = names
        self._width = max(map(len, shown), default=0)
        self._timestamps, self._colour, self._as_json = timestamps, colour, as_json

    def write(self, line: api.LogLine) -> None:
        """Print one line, at once."""
        if self._as_json:
            print_json_line(line)
            return
        label = f"{printable(line.module):<{self._width}} |"
        if self._colour:
            known = line.module in self._names
            label = click.style(label, fg=style_of(self._names, line.module) if known else "white")
        stamp = f" {utc(line.time)}" if self._timestamps and line.time is not None else ""
        click.echo(f"{label}{stamp} {printable(line.text)}")
        sys.stdout.flush()


def printable(text: str) -> str:
    """Without what would move a terminal's cursor or change its title: logs are foreign text."""
    return "".join(c if c.isprintable() or c == "\t" else "�" for c in text)
