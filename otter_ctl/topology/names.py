"""How links and streams are called: in messages, by `--set`, and as each other's names. Pure.

Works on tables as tomllib gives them, broken ones too. Must not know: kinds, positions.
"""

from __future__ import annotations

import re
from typing import Any

from otter_ctl.printable import printable
from otter_ctl.topology.reader import Path

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def link_name(link: object) -> str | None:
    """The name that a `[[links]]` table goes by: its own or `A-B`; None if it has neither."""
    if not isinstance(link, dict):
        return None
    if isinstance(link.get("name"), str):
        return str(link["name"])
    between = link.get("between")
    ends: list[object]
    ends = between if isinstance(between, list) else [link.get("from"), link.get("to")]
    words = [end for end in ends if isinstance(end, str)]
    return "-".join(words) if len(words) == len(ends) == 2 else None


def stream_name(stream: object) -> str | None:
    """The name that a `[[streams]]` table goes by: `FROM>TO`."""
    if not isinstance(stream, dict):
        return None
    ends = stream.get("from"), stream.get("to")
    return ">".join(map(str, ends)) if all(isinstance(end, str) for end in ends) else None


NAMED = {"links": link_name, "streams": stream_name}
"""Arrays of tables whose elements are called by a name rather than counted."""
ADDED = frozenset({*NAMED, "events"})
"""Arrays of tables to which a file that includes others adds its own."""


def dotted(path: Path, tables: dict[str, Any]) -> str:
    """A path for people: `links.radio.rate`, `modules.asr.command[1]`."""
    shown = ""
    for depth, part in enumerate(path):
        if isinstance(part, str):
            shown += f".{_key(part)}" if shown else _key(part)
            continue
        name = _element_name(path[:depth], part, tables)
        shown += f"[{part}]" if name is None else f".{_key(name)}"
    return shown


def _element_name(parent: Path, index: int, tables: dict[str, Any]) -> str | None:
    if len(parent) != 1 or parent[0] not in NAMED:
        return None
    elements = tables.get(str(parent[0]))
    if not isinstance(elements, list) or index >= len(elements):
        return None
    return NAMED[str(parent[0])](elements[index])


def _key(part: str) -> str:
    """A key as TOML would need it written, printable and bounded."""
    if _BARE.match(part) and len(part) <= 80:
        return part
    return f'"{printable(part, 48)}"'


def short(word: str) -> str:
    """A name for people, of bounded length: what globs join may be long."""
    return word if len(word) <= 80 else f"{word[:79]}…"
