"""A file that isn't TOML: all of its syntax errors, and what is wrong in the tables that are sound.

    text ──headers──► sections ──each read by itself──► errors of the broken ones
                                └─ the others, in their lines ──► their keys' and values' problems

A parser stops at the first error. Here each table is read by itself, so that one slip hides no
other. What spans tables isn't looked at: half of it may be missing. Must not know: which keys
there are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from otter_ctl.errors import TopologyError, TopologyErrors
from otter_ctl.topology import kinds, source
from otter_ctl.topology.keys import TOPOLOGY
from otter_ctl.topology.names import dotted
from otter_ctl.topology.positions import Positions
from otter_ctl.topology.reader import EnoughProblems, Place, is_missing

_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_HEADER = re.compile(
    rf"^[ \t]*\[\[?[ \t]*([A-Za-z0-9_-]+(?:[ \t]*\.[ \t]*{_KEY})*)[ \t]*\]\]?[ \t]*(?:#.*)?\r?$",
    re.MULTILINE,
)
_LONG_STRINGS = ('"""', "'''")
"""May hold lines that look like headers: such a file keeps its first error only."""
_LIMIT = 100
"""Broken tables that are told."""
_SIZE_LIMIT = 1 << 18
"""Characters: a larger file that isn't TOML is hardly one that somebody is writing."""


@dataclass(frozen=True, slots=True)
class _Section:
    """A header with all up to the next one; what stands above the first has no header.

    Attributes:
        line: Of its first, from 1.
    """

    header: str
    line: int
    text: str

    def below(self, other: _Section) -> bool:
        """Whether its table is part of the other's, as `[links.reverse]` is of `[[links]]`."""
        return bool(other.header) and self.header.startswith(other.header + ".")

    @property
    def blank(self) -> str:
        """As many lines without anything."""
        return "\n" * self.text.count("\n")


def with_the_rest(path: Path, text: str, first: TopologyErrors) -> TopologyErrors:
    """All that can be told of a text whose parser stopped at its `first` error."""
    if len(text) > _SIZE_LIMIT or any(quotes in text for quotes in _LONG_STRINGS):
        return first
    sections = list(_sections(text))
    broken = {n: errors for n, s in enumerate(sections) if (errors := _errors(path, s))}
    if not broken:
        return first  # each table is sound: it is about two of them
    found = [error for errors in broken.values() for error in errors][:_LIMIT]
    if first.errors[0].line < found[0].line:
        found = [*first.errors, *found]
    found += _problems(path, _sound(sections, broken.keys()))
    once = {str(error): error for error in found}.values()
    return TopologyErrors(sorted(once, key=lambda error: (error.line, error.column)))


def _sections(text: str) -> Iterator[_Section]:
    heads = list(_HEADER.finditer(text))
    starts = [0, *(head.start() for head in heads), len(text)]
    names = ["", *(re.sub(r"[ \t]", "", head[1]) for head in heads)]
    line = 1
    for name, begin, end in zip(names, starts[:-1], starts[1:], strict=True):
        piece = text[begin:end]
        yield _Section(name, line, piece)
        line += piece.count("\n")


def _errors(path: Path, section: _Section) -> list[TopologyError]:
    """Why a section by itself isn't TOML, in the lines of the file; nothing: it is."""
    try:
        source.parse(path, section.text)
    except TopologyErrors as errors:
        return [
            TopologyError(e.path, e.line + section.line - 1, e.column, e.key, e.reason, e.hint)
            for e in errors
        ]
    return []


def _sound(sections: Sequence[_Section], broken: Collection[int]) -> str:
    """The text without what is broken and what belongs to that; all lines stay where they are."""
    kept = []
    gone: _Section | None = None
    for number, section in enumerate(sections):
        if number in broken:
            gone = section
        elif gone is not None and not section.below(gone):
            gone = None
        kept.append(section.text if gone is None else section.blank)
    return "".join(kept)


def _problems(path: Path, text: str) -> list[TopologyError]:
    """What is wrong with the keys and values that are there."""
    try:
        tables = source.parse(path, text)
    except TopologyErrors as errors:
        return list(errors)
    root = Place([])
    with suppress(EnoughProblems):
        root.read(kinds.table(TOPOLOGY), tables)
    positions = Positions(text)
    return [
        TopologyError(
            str(path), *positions.find(p.path), dotted(p.path, tables), p.reason, p.hint
        )
        for p in dict.fromkeys(root.problems)
        if not is_missing(p)
    ]  # fmt: skip
