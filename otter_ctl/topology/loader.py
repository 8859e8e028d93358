"""`load`: a topology file -> `Topology`, or all of its problems, each with its line.

The one place where reading, checking and positions meet. Must not know: which keys there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from otter_ctl.errors import TopologyError, TopologyErrors
from otter_ctl.printable import printable
from otter_ctl.topology.assemble import Surroundings, assemble
from otter_ctl.topology.include import Sources, gather
from otter_ctl.topology.model import Topology
from otter_ctl.topology.names import dotted
from otter_ctl.topology.overrides import Override, apply_overrides, marked
from otter_ctl.topology.reader import PROBLEMS_LIMIT, EnoughProblems, Place, Problem
from otter_ctl.topology.reader import Path as KeyPath
from otter_ctl.topology.site import known_machines


def load(
    path: str | Path, overrides: Sequence[str] = (), *, site: str | Path | None = None
) -> Topology:
    """Read and check a topology file.

    Args:
        path: The file; relative paths in it are resolved against its folder, those in a file that
            it includes against that one's.
        overrides: ``KEY=VALUE`` texts laid over it, later ones win.
        site: The site file; None: the user's own, if there is one. Read only where the topology
            names a machine.

    Raises:
        TopologyErrors: With everything that is wrong; exactly this for any content whatever.
    """
    path = Path(path)
    sources = gather(path)
    root = Place([])
    changed: list[Override] = []
    topology = None
    with suppress(EnoughProblems):
        apply_overrides(sources.tables, overrides, root, changed)
        topology = _assembled(path, sources, root, changed, site)
    if root.problems or topology is None:
        raise TopologyErrors(_located(sources, root.problems, changed))
    return topology


def _assembled(
    path: Path,
    sources: Sources,
    root: Place,
    changed: list[Override],
    site: str | Path | None,
) -> Topology | None:
    paths = [override.path for override in changed]
    around = Surroundings(
        path=path.absolute(),
        files=tuple(layer.path.absolute() for layer in sources.layers),
        folder=lambda key: sources.folder(key, paths),
        machines=lambda: known_machines(site),
    )
    return assemble(sources.tables, root, around)


def _located(
    sources: Sources, problems: list[Problem], overrides: list[Override]
) -> list[TopologyError]:
    """The problems with their places, in the order of the files and their lines."""
    errors = []
    by: str | None
    for problem in dict.fromkeys(problems):
        refused = marked(problem.path)
        if refused is not None:
            path, key, line, column, by = sources.layers[-1].path, "", 1, 1, printable(refused)
        else:
            key, by = dotted(problem.path, sources.tables), _override_of(problem.path, overrides)
            path, line, column = sources.position(problem.path)
        errors.append(
            TopologyError(str(path), line, column, key, problem.reason, problem.hint, override=by)
        )
    order = {str(layer.path): -number for number, layer in enumerate(sources.layers)}
    errors.sort(key=lambda e: (e.override is not None, order[e.path], e.line, e.column))
    if len(problems) >= PROBLEMS_LIMIT:
        errors.append(_and_more(sources.layers[-1].path))
    return errors


def _and_more(path: Path) -> TopologyError:
    reason = f"these are the first {PROBLEMS_LIMIT} problems; no more were looked for"
    return TopologyError(str(path), 1, 1, "", reason)


def _override_of(path: KeyPath, overrides: list[Override]) -> str | None:
    """The last `--set` that brought the value at `path`."""
    for override in reversed(overrides):
        if path[: len(override.path)] == override.path:
            return printable(override.text)
    return None
