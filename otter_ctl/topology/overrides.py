"""`--set links.radio.rate=5mbit`: values laid over a file's tables before they are read. Pure.

Hosts and modules are addressed by their names, links and streams too (`phone-edge`,
`asr.text>vqa.question`). They must exist: a typo must not make a new host. Must not know: kinds.
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from otter_ctl.topology.globs import is_glob
from otter_ctl.topology.names import NAMED
from otter_ctl.topology.reader import Bad, Path, Place, did_you_mean, shown
from otter_ctl.topology.source import KEY_LIMIT, long_key

_PART = re.compile(r"""\s*(?:"([^"\\]*)"|'([^']*)'|([^.="'\s]+))\s*""")
_LIMIT = 128 << 10
"""Bytes of one: as much as a shell can give, MAX_ARG_STRLEN of execve(2)."""
_ENTITIES = ("hosts", "modules")


@dataclass(frozen=True, slots=True)
class Override:
    """One `--set`: its text as given and the path that it changed."""

    text: str
    path: Path


def apply_overrides(
    tables: dict[str, Any], texts: Sequence[str], place: Place, done: list[Override]
) -> None:
    """Change `tables` in place; what can't be applied is reported under the text itself.

    Args:
        tables: Of the file, and what it includes.
        texts: As given, in their order.
        place: Problems go there.
        done: Those that were applied go there.
    """
    for text in texts:
        where = place.child(_marker(text))
        try:
            keys, value = _split(text)
            path = _address(tables, keys, place)
            _store(tables, path, value)
            done.append(Override(text, path))
        except Bad as bad:
            where.report(bad.reason, bad.hint)


def _marker(text: str) -> str:
    """The path of a problem with the text itself: no TOML key can be called this."""
    return f"--set\0{text}"


def marked(path: Path) -> str | None:
    """The text of a `--set` that could not be applied, if `path` is that of such a problem."""
    first = path[0] if path else ""
    return first[6:] if isinstance(first, str) and first.startswith("--set\0") else None


def _split(text: str) -> tuple[list[str], Any]:
    """Keys and value of `a.b=value`; what isn't a TOML value is a string."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Bad("isn't UTF-8") from None
    if size > _LIMIT or long_key(text) is not None:
        raise Bad(f"has over {_LIMIT} bytes or {KEY_LIMIT} dots")
    keys: list[str] = []
    position = 0
    while True:
        match = _PART.match(text, position)
        if match is None:
            raise Bad("must be KEY=VALUE, such as links.radio.rate=5mbit")
        keys.append(next(group for group in match.groups() if group is not None))
        position = match.end()
        if text[position : position + 1] == "=":
            break
        if text[position : position + 1] != ".":
            raise Bad("must be KEY=VALUE, such as links.radio.rate=5mbit")
        position += 1
        if len(keys) > KEY_LIMIT:
            raise Bad(f"has over {KEY_LIMIT} dots")
    return keys, _value(text[position + 1 :].strip(), is_text=_is_variable(keys))


def _is_variable(keys: list[str]) -> bool:
    """Variables are strings: `--set modules.m.env.PORT=8080` needs no quotes."""
    of_one = keys[:1] == ["modules"] or keys[:2] == ["defaults", "module"]
    return len(keys) == 4 and of_one and keys[2] == "env"


def _value(text: str, *, is_text: bool) -> Any:
    try:
        tables = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = tables.get("value")
    if len(tables) != 1 or (is_text and not isinstance(value, str)):
        return text
    return value


def _address(tables: dict[str, Any], keys: list[str], place: Place) -> Path:
    """Keys -> path: links and streams by name become indexes; entities must exist."""
    top = keys[0]
    if top == "include":
        raise Bad("`include` can't be set", "files are read before anything is laid over them")
    if top in NAMED and len(keys) > 1:
        return _element(tables, keys, place)
    if (top == "events" or isinstance(tables.get(top), list)) and len(keys) > 1:
        hint = "--set reaches what has a name: hosts, modules, cells, links, streams"
        raise Bad(f"{top} have no names to set one of them by", hint)
    if top in _ENTITIES and len(keys) > 1:
        known = tables.get(top)
        if isinstance(known, dict) and keys[1] not in known:
            raise _unknown(top, keys[1], known, place)
    return tuple(keys)


def _unknown(top: str, name: str, known: Collection[str], place: Place) -> Bad:
    """There is no such table; maybe one that makes several of that name."""
    reason = f"there is no {top[:-1]} {shown(name)}"
    for table in known:
        if name.startswith(f"{table}-") or (is_glob(table) and fnmatch.fnmatchcase(name, table)):
            several = f"the table {shown(table)} makes several"
            return Bad(f"{reason} in the file", f"{several}: what is set there holds for all")
    return Bad(f"{reason}{did_you_mean(name, known, place)}")


def _element(tables: dict[str, Any], keys: list[str], place: Place) -> Path:
    """`links.radio.rate`, and `streams.a.x>b.y.queue`, whose name itself has dots."""
    elements = tables.get(keys[0])
    names = [NAMED[keys[0]](e) for e in elements] if isinstance(elements, list) else []
    for length in range(len(keys) - 1, 0, -1):
        name = ".".join(keys[1 : length + 1])
        if name in names:
            if names.count(name) > 1:
                raise Bad(f"there are two {keys[0]} called {shown(name)}")
            return (keys[0], names.index(name), *keys[length + 1 :])
    meant = ".".join(keys[1:-1] or keys[1:])
    raise _unknown(keys[0], meant, [name for name in names if name], place)


def _store(tables: dict[str, Any], path: Path, value: Any) -> None:
    """Set the value, making tables on the way."""
    if len(path) == 2 and isinstance(path[1], int):
        if not isinstance(value, dict):
            raise Bad("must name a key of it, such as links.radio.rate=5mbit")
        tables[str(path[0])][path[1]] = value
        return
    current: Any = tables
    for key in path[:-1]:
        if isinstance(key, int):
            current = current[key]
        elif isinstance(current, dict):
            current = current.setdefault(key, {})
        if not isinstance(current, dict | list):
            raise Bad(f"{shown(str(key))} is not a table")
    if not isinstance(current, dict):
        raise Bad("is not a table's key")
    current[path[-1]] = value
