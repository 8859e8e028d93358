"""`load`: a topology file -> `Topology`, or all of its problems, each with its line.

The one place where reading, checking and positions meet. Must not know: which keys there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from otter_ctl.errors import TopologyError, TopologyErrors
from otter_ctl.topology import source
from otter_ctl.topology.assemble import assemble
from otter_ctl.topology.model import Topology
from otter_ctl.topology.names import dotted
from otter_ctl.topology.overrides import Override, apply_overrides, marked
from otter_ctl.topology.reader import Path as KeyPath
from otter_ctl.topology.reader import Place, Problem


def load(path: str | Path, overrides: Sequence[str] = ()) -> Topology:
    """Read and check a topology file.

    Args:
        path: The file; relative paths in it are resolved against its folder.
        overrides: ``KEY=VALUE`` texts laid over it, later ones win.

    Raises:
        TopologyErrors: With everything that is wrong; exactly this for any content whatever.
    """
    path = Path(path)
    text = source.read(path)
    tables = source.parse(path, text)
    root = Place([])
    changed = apply_overrides(tables, list(overrides), root)
    topology = assemble(tables, root, path)
    if root.problems or topology is None:
        raise TopologyErrors(_located(path, text, tables, root.problems, changed))
    return topology


def _located(
    path: Path,
    text: str,
    tables: dict[str, Any],
    problems: list[Problem],
    overrides: list[Override],
) -> list[TopologyError]:
    """The problems with their places in the file, in its order."""
    from otter_ctl.topology.positions import Positions  # a sound file needs no parser twice

    positions = Positions(text)
    errors = []
    by: str | None
    for problem in dict.fromkeys(problems):
        refused = marked(problem.path)
        if refused is not None:
            key, line, column, by = "", 1, 1, _printable(refused)
        else:
            key, by = dotted(problem.path, tables), _override_of(problem.path, overrides)
            line, column = positions.find(problem.path)
        errors.append(
            TopologyError(str(path), line, column, key, problem.reason, problem.hint, override=by)
        )
    return sorted(errors, key=lambda e: (e.override is not None, e.line, e.column))


def _override_of(path: KeyPath, overrides: list[Override]) -> str | None:
    """The last `--set` that brought the value at `path`."""
    for override in reversed(overrides):
        if path[: len(override.path)] == override.path:
            return _printable(override.text)
    return None


def _printable(text: str) -> str:
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:200])
    return shown if len(text) <= 200 else f"{shown}…"
