"""`otterctl validate`."""

from __future__ import annotations

from pathlib import Path

import click

from otter_ctl.cli.common import json_option, print_json, set_option
from otter_ctl.errors import TopologyErrors
from otter_ctl.topology import load

EXIT_BAD = 2


@click.command(
    epilog="""\b
Examples:
  otterctl validate topology.toml
  otterctl validate topologies/*.toml --json
"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@set_option
@json_option
def command(files: tuple[Path, ...], overrides: tuple[str, ...], as_json: bool) -> int:
    """Check topology files: every problem with its line. Contacts nobody."""
    problems: list[dict[str, object]] = []
    for path in files:
        try:
            topology = load(path, overrides)
        except TopologyErrors as errors:
            for error in errors:
                problems.append(
                    {
                        "file": error.path,
                        "line": error.line,
                        "column": error.column,
                        "key": error.key,
                        "reason": error.reason,
                        "hint": error.hint,
                    }
                )
                if not as_json:
                    click.echo(str(error), err=True)
        else:
            if not as_json:
                click.echo(
                    f"{path}: ok ({len(topology.hosts)} hosts, {len(topology.links)} links, "
                    f"{len(topology.modules)} modules, {len(topology.streams)} streams)"
                )
    if as_json:
        print_json({"files": [str(p) for p in files], "problems": problems})
    return EXIT_BAD if problems else 0
