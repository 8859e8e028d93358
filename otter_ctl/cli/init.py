"""`otterctl init`."""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from net.errors import OtterError

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@click.command(
    epilog="""\b
Example:
  otterctl init hello && cd hello && otterctl apply topology.toml
"""
)
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to make it; default: a new folder of that name here.",
)
def command(name: str, into: Path | None) -> None:
    """Make a folder with a topology and a module that run at once."""
    if not NAME.fullmatch(name):
        raise click.BadParameter(
            f"{name[:60]!r}: use a-z, 0-9, - and _, starting with a letter or digit, at most 40",
            param_hint="NAME",
        )
    target = into or Path(name)
    if target.exists() and any(target.iterdir()):
        raise OtterError(f"{target}: exists and is not empty", hint="pick another name or --into")
    written = _copy(resources.files("otter_ctl") / "templates" / "init", target, name)
    for path in written:
        click.echo(path)
    click.echo(f"\nnext: cd {target} && otterctl apply topology.toml && otterctl logs", err=True)


def _copy(source: Traversable, target: Path, name: str) -> list[Path]:
    """Copy a template tree, with NAME put in; returns the files."""
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for item in sorted(source.iterdir(), key=lambda i: i.name):
        if item.name == "__pycache__":
            continue
        if item.is_dir():
            written += _copy(item, target / item.name, name)
        else:
            path = target / item.name
            text = item.read_text(encoding="utf-8").replace("@NAME@", name)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written
