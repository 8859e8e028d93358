"""A file and all that it includes -> one set of tables, each value traceable to where it stands.

    tables merge key by key, and what includes wins; links and streams are appended, the included
    ones first; any other array is replaced. A file that is included twice counts once.

Must not know: which keys there are (but `include` itself).
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otter_ctl.errors import TopologyError, TopologyErrors
from otter_ctl.topology import source
from otter_ctl.topology.names import ADDED
from otter_ctl.topology.reader import Path as KeyPath
from otter_ctl.topology.reader import shown, type_name

if TYPE_CHECKING:  # a sound file needs no syntax tree
    from otter_ctl.topology.positions import Positions

DEPTH_LIMIT = 16
FILES_LIMIT = 256


@dataclass(slots=True)
class Layer:
    """One file.

    Attributes:
        path: As it is told to people.
        real: Absolute, without links: what it is recognised by.
        firsts: Where its elements begin in each array that was appended to.
    """

    path: Path
    real: str
    text: str
    tables: dict[str, Any]
    firsts: dict[str, int] = field(default_factory=dict)

    def depth(self, path: KeyPath) -> int:
        """How many keys of `path` lead somewhere in this file."""
        current: Any = self.tables
        for depth, key in enumerate(path):
            try:
                current = current[key]
            except (LookupError, TypeError):
                return depth
        return len(path)


class Sources:
    """All files of a topology.

    Attributes:
        layers: What others rest on first; the topology itself is the last.
        tables: Merged.
    """

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.tables = layers[0].tables
        self._positions: dict[str, Positions] = {}
        if len(layers) > 1:
            self.tables = {}
            for layer in layers:
                _merge(self.tables, layer)

    def locate(self, path: KeyPath) -> tuple[Layer, KeyPath]:
        """The file in which the value at a path of `tables` stands, and its path there."""
        if len(path) > 1 and path[0] in ADDED and isinstance(path[1], int):
            name, index = str(path[0]), path[1]
            for layer in reversed(self.layers):
                if name in layer.tables and layer.firsts.get(name, 0) <= index:
                    return layer, (name, index - layer.firsts.get(name, 0), *path[2:])
        best = max(reversed(range(len(self.layers))), key=lambda i: self.layers[i].depth(path))
        return self.layers[best], path

    def folder(self, path: KeyPath, overridden: Collection[KeyPath] = ()) -> Path:
        """The folder that a relative path at a path of `tables` starts from."""
        if len(self.layers) == 1 or any(path[: len(o)] == o for o in overridden):
            layer = self.layers[-1]
        else:
            layer, _ = self.locate(path)
        return Path(layer.path.absolute().parent)

    def position(self, path: KeyPath) -> tuple[Path, int, int]:
        """File, line and column of the value at a path of `tables`."""
        layer, local = self.locate(path)
        if layer.real not in self._positions:
            self._positions[layer.real] = _positions(layer)
        return layer.path, *self._positions[layer.real].find(local)


def gather(path: Path) -> Sources:
    """Read a file and what it includes, and that includes.

    Raises:
        TopologyErrors: One can't be read, isn't TOML, includes itself; names the line.
    """
    done: dict[str, Layer] = {}
    _gather(path, [], done)
    return Sources(list(done.values()))


def _gather(path: Path, chain: list[Layer], done: dict[str, Layer]) -> None:
    """Depth first: what is included lies below what includes it."""
    text = source.read(path)
    layer = Layer(path, os.path.realpath(path), text, _parsed(path, text))
    chain.append(layer)
    for index, below in enumerate(_included(layer)):
        real = os.path.realpath(below)
        place = (layer, index)
        if any(real == above.real for above in chain):
            raise _failure(*place, f"includes itself: {_shown_chain(chain, below)}")
        if len(chain) > DEPTH_LIMIT:
            raise _failure(
                *place, f"is over {DEPTH_LIMIT} files deep: {_shown_chain(chain, below)}"
            )
        if len(done) >= FILES_LIMIT:
            raise _failure(*place, f"makes more than {FILES_LIMIT} files")
        if real in done:
            continue
        if not os.path.isfile(below):
            name = shown(layer.tables["include"][index])
            there = os.path.exists(below)
            raise _failure(*place, f"{name} is no file" if there else f"there is no file {name}")
        _gather(below, chain, done)
    chain.pop()
    done[layer.real] = layer


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return source.parse(path, text)
    except TopologyErrors as first:
        from otter_ctl.topology.salvage import with_the_rest  # a sound file needs no syntax tree

        raise with_the_rest(path, text, first) from first


def _included(layer: Layer) -> list[Path]:
    """The files that a file names, relative to itself."""
    written = layer.tables.get("include", [])
    if not isinstance(written, list):
        reason = f"must be an array of files, not {type_name(written)}"
        raise _failure(layer, None, reason, 'write ["base.toml"]')
    if len(written) > FILES_LIMIT:
        raise _failure(layer, None, f"makes more than {FILES_LIMIT} files")
    found = []
    for index, item in enumerate(written):
        if not isinstance(item, str) or not item or "\0" in item or len(item) > 4096:
            raise _failure(layer, index, "must be the path of a file")
        found.append(Path(os.path.normpath(layer.path.parent / item)))
    return found


def _shown_chain(chain: list[Layer], last: Path) -> str:
    """`a.toml > b.toml > a.toml`; the middle of a long one is left out."""
    names = [layer.path.name for layer in chain] + [last.name]
    if len(names) > 8:
        names = [*names[:4], "…", *names[-3:]]
    return " > ".join(shown(name)[1:-1] for name in names)


def _positions(layer: Layer) -> Positions:
    from otter_ctl.topology.positions import Positions

    return Positions(layer.text)


def _failure(layer: Layer, index: int | None, reason: str, hint: str = "") -> TopologyErrors:
    path: KeyPath = ("include",) if index is None else ("include", index)
    line, column = _positions(layer).find(path)
    key = "include" if index is None else f"include[{index}]"
    return TopologyErrors([TopologyError(str(layer.path), line, column, key, reason, hint)])


def _merge(into: dict[str, Any], layer: Layer) -> None:
    """Lay a file over what is below it; never changes the file's own tables."""
    for key, value in layer.tables.items():
        below = into.get(key)
        if key in ADDED and isinstance(value, list) and isinstance(below, list):
            layer.firsts[key] = len(below)
            into[key] = below + [_copy(item) for item in value]
        else:
            into[key] = _over(below, value)


def _over(below: Any, value: Any) -> Any:
    if not isinstance(value, dict) or not isinstance(below, dict):
        return _copy(value)
    merged = dict(below)
    for key, item in value.items():
        merged[key] = _over(below.get(key), item)
    return merged


def _copy(value: Any) -> Any:
    """Overrides change tables and elements in place."""
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
