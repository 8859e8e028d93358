"""Words for people in which machines, agents or modules have a part: no terminal obeys them.

A name, a reason, a log's line may hold escapes that move the cursor, set the title, or fill the
clipboard. What is printed goes through here, but for what is ours alone; commands in modules
(`exec`) write straight to the terminal, as people want of them.
"""

from __future__ import annotations

import click

from otter_ctl.printable import printable_lines


def say(
    text: str,
    *,
    err: bool = False,
    fg: str | None = None,
    bold: bool | None = None,
    dim: bool | None = None,
) -> None:
    """Print it, with escapes for what can't be seen, in some style."""
    seen = printable_lines(text)
    plain = fg is None and bold is None and dim is None
    click.echo(seen if plain else click.style(seen, fg=fg, bold=bold, dim=dim), err=err)
