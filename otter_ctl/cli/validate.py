"""`otterctl validate`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from otter_ctl.cli import EXIT_USAGE
from otter_ctl.cli.common import json_option, print_json, set_option
from otter_ctl.errors import TopologyError, TopologyErrors
from otter_ctl.printable import printable
from otter_ctl.runs import FACTS
from otter_ctl.topology import Topology, load
from otter_ctl.topology.include import gather

_DEEPEST = 32
_SKIPPED = frozenset({"node_modules", "__pycache__"})


@click.command(
    epilog="""\b
Examples:
  otterctl validate topology.toml
  otterctl validate topologies/             # every *.toml below
  otterctl validate topologies/*.toml --json
"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@set_option
@json_option
def command(files: tuple[Path, ...], overrides: tuple[str, ...], as_json: bool) -> int:
    """Check topology files: every problem with its line. Contacts nobody.

    Of a folder all *.toml files below it are checked, but for those of run folders; what another
    of them includes is checked as a part of that one.
    """
    checked = [(path, *_check(path, overrides)) for path in _expanded(files)]
    parts = _parts(checked)
    problems: list[TopologyError] = []
    for path, topology, errors in checked:
        whole = parts.get(os.path.realpath(path))
        if topology is None and whole is not None and path not in files:
            if not as_json:
                click.echo(f"{_shown(path)}: part of {_shown(whole)}")
            continue
        problems += errors
        if not as_json:
            _tell(path, topology, errors)
    if as_json:
        print_json(
            {
                "files": [str(path) for path, _, _ in checked],
                "problems": [_document(error) for error in problems],
            }
        )
    return EXIT_USAGE if problems else 0


def _check(
    path: Path, overrides: tuple[str, ...]
) -> tuple[Topology | None, tuple[TopologyError, ...]]:
    try:
        return load(path, overrides), ()
    except TopologyErrors as errors:
        return None, errors.errors


def _expanded(files: tuple[Path, ...]) -> Iterator[Path]:
    """The files, and those of the folders, each once, in order.

    Raises:
        TopologyErrors: A folder has none, or can't be read.
    """
    seen: set[Path] = set()
    for path in files:
        found = list(_below(path, _DEEPEST)) if path.is_dir() else [path]
        if not found:
            raise _failure(path, "holds no *.toml file")
        for file in found:
            if file not in seen:
                seen.add(file)
                yield file


def _below(folder: Path, deepest: int) -> Iterator[Path]:
    """All *.toml files, by name; hidden folders and links to folders are left alone.

    So are run folders: their copies of topologies lie elsewhere than the paths in them think.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as exc:
        raise _failure(folder, f"can't be read: {exc.strerror or exc}") from exc
    for entry in entries:
        hidden = entry.name.startswith(".") or entry.name in _SKIPPED
        if entry.is_dir(follow_symlinks=False):
            if not hidden and deepest > 0 and not (folder / entry.name / FACTS).is_file():
                yield from _below(folder / entry.name, deepest - 1)
        elif entry.name.endswith(".toml") and not hidden and not _is_folder(entry):
            yield folder / entry.name  # what can't be read is told with its reason


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _failure(folder: Path, reason: str) -> TopologyErrors:
    return TopologyErrors([TopologyError(str(folder), 0, 0, "", reason)])


def _parts(
    checked: list[tuple[Path, Topology | None, tuple[TopologyError, ...]]],
) -> dict[str, Path]:
    """Files that others include -> one that does."""
    return {
        os.path.realpath(part): path
        for path, topology, _ in checked
        for part in (_included(path) if topology is None else topology.files[:-1])
    }


def _included(path: Path) -> tuple[Path, ...]:
    """What a file that isn't sound includes: its problems are told by the whole."""
    try:
        return tuple(layer.path for layer in gather(path).layers[:-1])
    except TopologyErrors:
        return ()


def _shown(path: Path) -> str:
    return printable(str(path), 4096)


def _tell(path: Path, topology: Topology | None, errors: tuple[TopologyError, ...]) -> None:
    for error in errors:
        click.echo(str(error), err=True)
    if topology is not None:
        click.echo(
            f"{_shown(path)}: ok ({len(topology.hosts)} hosts, {len(topology.links)} links, "
            f"{len(topology.modules)} modules, {len(topology.streams)} streams)"
        )


def _document(error: TopologyError) -> dict[str, object]:
    return {
        "file": error.path,
        "line": error.line,
        "column": error.column,
        "set": error.override,
        "key": error.key,
        "reason": error.reason,
        "hint": error.hint,
    }
