"""Where each key of a TOML file stands, from tree-sitter's syntax tree. Pure.

A path is a tuple of keys and array indexes, as one would index what tomllib gives:
`("links", 0, "rate")`. Headers, dotted keys, inline tables and arrays of tables all end up there.
Only used once something is wrong, so a sound file never pays for it. Must not know: what keys mean.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from itertools import islice

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

Path = tuple[str | int, ...]
Point = tuple[int, int]
"""Row and byte column, both from 0, as tree-sitter counts."""
_DEEPEST = 16
"""Parts of a path that are followed: no key of ours is deeper, and hostile ones have thousands."""


class Positions:
    """The positions of a file's keys, values in arrays, and table headers.

    Args:
        text: The file without byte order mark; must be sound TOML for complete answers, and
            gives the nearest known place otherwise.
    """

    def __init__(self, text: str) -> None:
        data = text.encode()
        self._lines = data.split(b"\n")
        self._points: dict[Path, Point] = {}
        self._lengths: dict[Path, int] = {}
        tree = Parser(Language(tree_sitter_toml.language())).parse(data)
        for node in tree.root_node.named_children:
            self._top(node)

    def find(self, path: Path) -> tuple[int, int]:
        """Line and column (characters), from 1, of `path` or else of what it is nearest in."""
        for length in range(min(len(path), _DEEPEST), 0, -1):
            point = self._points.get(path[:length])
            if point is not None:
                row, column = point
                before = self._lines[row][:column].decode(errors="replace")
                return row + 1, len(before) + 1
        return 1, 1

    def _top(self, node: Node) -> None:
        """A pair before any header, or a header with its pairs."""
        if node.type == "pair":
            self._pair((), node)
        elif node.type in ("table", "table_array_element"):
            head, *pairs = node.named_children
            base = self._header(node, head)
            for pair in pairs:
                if pair.type == "pair":
                    self._pair(base, pair)

    def _header(self, node: Node, head: Node) -> Path:
        """The path that a header opens, with the indexes of the arrays of tables on its way."""
        *parents, last = _keys(head)
        path: Path = ()
        for key in parents:
            path = (*path, key)
            self._points.setdefault(path, _point(node))
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        path = (*path, last)
        if node.type == "table_array_element":
            self._points.setdefault(path, _point(node))
            index = self._lengths.get(path, 0)
            self._lengths[path] = index + 1
            path = (*path, index)
        self._points[path] = _point(node)
        return path

    def _pair(self, base: Path, node: Node) -> None:
        """`a.b = value` below `base`."""
        named = [child for child in node.named_children if child.type != "ERROR"]
        if not named:
            return
        path = base
        for key in _keys(named[0]):
            path = (*path, key)
            self._points.setdefault(path, _point(node))
        if len(named) > 1:
            self._value(path, named[1])

    def _value(self, path: Path, node: Node) -> None:
        """What hangs below a value: inline tables and array elements."""
        if node.type == "inline_table":
            for pair in node.named_children:
                if pair.type == "pair":
                    self._pair(path, pair)
        elif node.type == "array":
            elements = (c for c in node.named_children if c.type not in ("comment", "ERROR"))
            for index, element in enumerate(elements):
                self._points[(*path, index)] = _point(element)
                self._value((*path, index), element)


def _point(node: Node) -> Point:
    row, column = node.start_point
    return row, column


def _keys(node: Node) -> list[str]:
    """The keys of a bare, quoted or dotted key, in order."""
    return [_unquote(leaf) for leaf in islice(_leaves(node), _DEEPEST)]


def _leaves(node: Node) -> Iterable[Node]:
    """Iterative: `a.b.c` nests to the left, as deep as it has dots."""
    found: list[Node] = []
    stack = [node]
    while stack:
        current = stack.pop()
        if current.type == "dotted_key":
            stack.extend(current.named_children)
        else:
            found.append(current)
    return reversed(found)


def _unquote(node: Node) -> str:
    text = (node.text or b"").decode(errors="replace")
    if node.type != "quoted_key":
        return text
    try:
        return next(iter(tomllib.loads(f"{text} = 0")))
    except tomllib.TOMLDecodeError:
        return text
