"""Tables and colours for people. On a terminal coloured; in a pipe plain and never cut."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

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
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = None if sys.stdout.isatty() else 10_000
    table = Table(*header, box=box.SIMPLE_HEAD if width is None else None, pad_edge=False)
    for row in rows:
        cells = ["-" if cell is None or cell == "" else str(cell) for cell in row]
        table.add_row(*(Text(cell, style=STATE_STYLES.get(cell, "")) for cell in cells))
    Console(width=width, soft_wrap=width is not None).print(table)


def style_of(names: Sequence[str], name: str) -> str:
    """A colour for a module, the same in every line and every run."""
    return NAME_STYLES[names.index(name) % len(NAME_STYLES)]
