"""The site file: where the user's machines are. Read only where a topology names one.

Must not know: topologies, how a machine is reached.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from otter_ctl.errors import TopologyError, TopologyErrors
from otter_ctl.sites import site_paths
from otter_ctl.topology import kinds, source
from otter_ctl.topology.keys import SITE
from otter_ctl.topology.machines import read_machines
from otter_ctl.topology.model import Machine
from otter_ctl.topology.names import dotted
from otter_ctl.topology.reader import EnoughProblems, Fields, Place, Problem


def known_machines(path: str | Path | None) -> dict[str, Machine]:
    """The machines of a site file; None: OTTER_SITE's, or the user's own and those of a lab.

    Raises:
        TopologyErrors: It is wrong, or was asked for and isn't there.
    """
    found: dict[str, Machine] = {}
    for one in (path,) if path else site_paths():
        found |= read_site(Path(one))
    return found


def read_site(path: Path) -> dict[str, Machine]:
    """The machines of a site file.

    Raises:
        TopologyErrors: With everything that is wrong with it.
    """
    return _read(path, source.read(path))


@lru_cache(maxsize=4)
def _read(path: Path, text: str) -> dict[str, Machine]:
    """A verb may need it twice, and one of a thousand machines takes a tenth of a second."""
    tables = source.parse(path, text)
    root = Place([])
    fields = Fields(root)
    with suppress(EnoughProblems):
        fields = root.read(kinds.table(SITE), tables)
    if root.problems:
        raise TopologyErrors(_located(path, text, tables, root.problems))
    return read_machines(fields["machines"], path.parent)


def _located(
    path: Path, text: str, tables: dict[str, Any], problems: list[Problem]
) -> list[TopologyError]:
    from otter_ctl.topology.positions import Positions

    positions = Positions(text)
    return [
        TopologyError(str(path), *positions.find(p.path), dotted(p.path, tables), p.reason, p.hint)
        for p in dict.fromkeys(problems)
    ]
