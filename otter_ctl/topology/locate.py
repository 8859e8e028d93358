"""`module asr`, as planning says what it couldn't plan -> the file and line where that stands.

Only used once something is wrong. Must not know: what planning does.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from otter_ctl.errors import PlanError, TopologyErrors
from otter_ctl.printable import printable

if TYPE_CHECKING:
    from otter_ctl.topology.include import Sources
    from otter_ctl.topology.model import Topology
    from otter_ctl.topology.reader import Path as KeyPath

_TABLES = {"host": "hosts", "module": "modules", "cell": "cells", "machine": "machines"}
_ARRAYS = {"link": "links", "stream": "streams", "event": "events"}


def locate(error: PlanError, topology: Topology) -> PlanError:
    """Give the error the place of what it is about, if a file of the topology has it."""
    from otter_ctl.topology.include import gather

    if error.at:
        return error
    with suppress(TopologyErrors, OSError):  # it was read a moment ago; somebody may have moved it
        sources = gather(topology.path)
        path = _path(error.where, topology, sources)
        if path is not None:
            file, line, _ = sources.position(path)
            error.locate(f"{_shown(str(file))}:{line}")
    return error


def _shown(file: str) -> str:
    import os

    near = os.path.relpath(file)
    return printable(file if near.startswith("..") else near, 4096)


def _path(where: str, topology: Topology, sources: Sources) -> KeyPath | None:
    """Keys and indexes of what is named; None: it isn't in the files."""
    kind, _, name = where.partition(" ")
    name = name.partition(" on ")[0]
    if kind == "placement":
        return ("placement",)
    table = _TABLES.get(kind)
    if table is not None:
        written = _written(table, name, topology)
        return (table, written) if written in sources.tables.get(table, {}) else None
    array = _ARRAYS.get(kind)
    if array is not None:
        return _element(array, name, topology, sources)
    path = tuple(where.split("."))  # `modules.asr.build`
    return path if len(path) > 1 and path[0] in _TABLES.values() else None


def _written(table: str, name: str, topology: Topology) -> str:
    """The table that made a host or a module of this name."""
    if table == "hosts":
        return next((h.made_from or name for h in topology.hosts if h.name == name), name)
    if table == "modules":
        return next((m.made_from or name for m in topology.modules if m.name == name), name)
    return name


def _element(array: str, name: str, topology: Topology, sources: Sources) -> KeyPath | None:
    from otter_ctl.topology.names import NAMED

    named = NAMED.get(array)
    if named is None:
        return None
    if array == "links":
        name = next((x.made_from or name for x in topology.links if x.name == name), name)
    elements = sources.tables.get(array)
    for number, element in enumerate(elements if isinstance(elements, list) else ()):
        if named(element) == name:
            return (array, number)
    return None
