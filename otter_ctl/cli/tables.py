"""Tables and colours for people. On a terminal coloured; in a pipe plain and never cut."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import click

from otter_ctl.printable import printable_lines

STATE_STYLES = {
    "ready": "green",
    "done": "green",
    "running": "cyan",
    "starting": "cyan",
    "pending": "cyan",
    "restarting": "yellow",
    "failed": "bold red",
    "degraded": "bold red",
    "stopped": "dim",
    "converging": "cyan",
    "destroying": "yellow",
}
NAME_STYLES = (
    "cyan",
    "green",
    "magenta",
    "yellow",
    "blue",
    "bright_cyan",
    "bright_green",
    "bright_magenta",
    "bright_yellow",
    "bright_blue",
)


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns; words that are states get their colour."""
    texts = [
        ["-" if cell is None or cell == "" else printable_lines(str(cell)) for cell in row]
        for row in rows
    ]
    if sys.stdout.isatty():
        _print_for_people(header, texts)
    else:
        _print_plain([header, *texts])


def _print_for_people(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich import box  # 60 ms that scripts shouldn't wait for
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell, style=STATE_STYLES.get(cell, "")) for cell in row))
    Console().print(table)


def _print_plain(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def style_of(names: Sequence[str], name: str) -> str:
    """A colour for a module, the same in every line and every run."""
    return NAME_STYLES[names.index(name) % len(NAME_STYLES)]
