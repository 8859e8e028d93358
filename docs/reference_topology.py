"""The reference of the topology file, from its key tables and one example per key."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reference_profiles import profile_tables

from otter_ctl.topology import keys_placing, keys_when, properties, values
from otter_ctl.topology.keys import FORMAT, TOPOLOGY
from otter_ctl.topology.reader import Key, Table
from otter_ctl.topology.schema import tables_of

INTRODUCTION = f"""\
<!-- Made by `make docs` from otter_ctl/topology/keys.py: change that, not this. -->

# Keys of the topology file

Every key of format {FORMAT}. How things work together is told in [topology.md](../topology.md); an
editor completes and checks all of this with the schema that `otterctl schema` prints. An unknown
key is an error. A key in **bold** must be written.

## Quantities

| | units | example |
|---|---|---|
| time | ns us ms s min h | `"20ms"` |
| rate | bit kbit mbit gbit tbit: bit/s, in powers of 1000 | `"5mbit"` |
| size | B kB MB GB TB (powers of 1000), KiB MiB GiB TiB (of 1024); integers are bytes | `"1GiB"` |
| throughput | a size per second; `/s` may be left out | `"90MB/s"` |
| share | a percentage, or a number from 0 to 1 | `"0.5%"` |

A *name* has a-z, 0-9, `_` and `-`, begins with a letter or digit, and has at most 63 characters;
hosts and modules share one list of names. A *path* is relative to the file it stands in.
"""

KINDS = (
    (values.DURATION, "time"), (values.WAIT, "time, from 1ms"), (values.RATE, "rate"),
    (values.OWN_RATE, "rate"), (values.RATIO, "share"), (values.SHARE, "share, from 0.1%"),
    (values.MEMORY, "size, from 4MiB"), (values.THROUGHPUT, "throughput"),
    (values.QUEUE, "time, size, or packets"), (values.PORT, "port"), (values.CORES, "cores"),
    (values.PATH, "path"), (values.RELATIVE, "relative path"), (values.IMAGE, "image reference"),
    (values.COMMAND, "array of strings"), (values.ENV, "table of strings"),
    (values.FILES, "table of paths"), (values.PAIR, "two hosts or globs"),
    (values.REFERENCE, "host or glob"), (values.WAY, "link, or direction"),
    (properties.SLOT, "time, or two"), (properties.TABLE, "array of numbers"),
    (properties.GILBERT, "array of 2 to 4 shares"), (properties.MARKOV, "array of 5 shares"),
    (properties.SIZE, "size"),
    (values.TEXTS, "table of strings"), (values.NUMBERS, "table of numbers"),
    (values.STREAM_END, "module.port"), (keys_when.STREAM, "stream"), (keys_when.BYTES, "size"),
    (keys_placing.SIZE, "size"), (values.ANYTHING, "as the bound"),
)  # fmt: skip
"""What kinds are called whose schema doesn't say it."""

Shown = dict[str, Table]


def topology_page(examples: Path) -> str:
    """The page, in Markdown.

    Raises:
        SystemExit: A key has no example, or an example no key.
    """
    written = tomllib.loads(examples.read_text(encoding="utf-8"))
    tables = {table.title: table for table in _all(TOPOLOGY)}
    used: set[tuple[str, str]] = set()
    parts = [INTRODUCTION]
    for title, table in tables.items():
        if not title.startswith("defaults."):
            parts += [f"## {_heading(title)}\n", *_rows(title, table, written, used), ""]
        if title == "defaults":
            parts += [_keys_of_defaults(inner) for name, inner in tables.items() if "." in name]
    unused = {(t, k) for t, keys in written.items() for k in keys} - used
    if unused:
        raise SystemExit(f"{examples}: examples of no key: {sorted(unused)}")
    return "\n".join([*parts, profile_tables()]).rstrip() + "\n" + _later(tables)


def _all(table: Table) -> Iterator[Table]:
    """A table and those inside it, each title once, depth first."""
    seen: set[str] = set()
    todo = [table]
    while todo:
        one = todo.pop(0)
        if one.title in seen:
            continue
        seen.add(one.title)
        yield one
        inner = [t for key in one.keys.values() if key.built for t in tables_of(key.kind.schema)]
        todo = inner + todo if one is not table else [*_by_use(inner)]


def _by_use(tables: Sequence[Table]) -> list[Table]:
    """What every file has first, what few have last."""
    first = ["hosts", "links", "modules", "streams", "events", "defaults", "network", "machines"]
    rank = {title: n for n, title in enumerate(first)}
    return sorted(tables, key=lambda table: rank.get(table.title, len(rank)))


def _keys_of_defaults(table: Table) -> str:
    keys = ", ".join(f"`{key.name}`" for key in table.keys.values() if key.built)
    return f"`[{table.title}]` takes {keys}.\n"


def _heading(title: str) -> str:
    names = {
        "": "Top level", "hosts": "`[hosts.NAME]`", "modules": "`[modules.NAME]`",
        "machines": "`[machines.NAME]`", "links": "`[[links]]`", "streams": "`[[streams]]`",
        "events": "`[[events]]`",
        "network": "`[network]`", "defaults": "`[defaults]`",
        "mounts": '`mounts`, by the path inside: `{ "/data" = { … } }`',
    }  # fmt: skip
    return names.get(title, f"`{title}`, a table")


def _rows(
    title: str, table: Table, examples: dict[str, Any], used: set[tuple[str, str]]
) -> Iterator[str]:
    yield "| key | value | default | example | meaning |"
    yield "|---|---|---|---|---|"
    for key in table.keys.values():
        if not key.built:
            continue
        whose = _owner(title, key.name, examples)
        used.add((whose, key.name))
        example = examples[whose][key.name]
        name = f"**`{key.name}`**" if key.required else f"`{key.name}`"
        default = "" if key.default is None else f"`{toml(key.default)}`"
        cells = (name, _value(key), default, f"`{toml(example)}`", key.doc)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _owner(title: str, key: str, examples: Mapping[str, Any]) -> str:
    """The table whose example a key shows: `reverse` shows those of `links`."""
    for whose in (title, {"reverse": "links", "set": "links"}.get(title, title)):
        if key in examples.get(whose, {}):
            return whose
    raise SystemExit(f"docs/reference/examples.toml: no example of `{key}` in [{title}]")


def _value(key: Key) -> str:
    """What the value may be."""
    for kind, name in KINDS:
        if key.kind is kind:
            return name
    return _of_schema(key.kind.schema)


def _of_schema(schema: Mapping[str, Any]) -> str:
    if "table" in schema:
        return "table"
    if "anyOf" in schema:
        return " or ".join(_of_schema(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if "const" in schema:
        return f"`{toml(schema['const'])}`"
    kind = schema.get("type")
    if kind == "array":
        inner = schema["items"]
        return "tables" if "table" in inner else f"array of {_plural(_of_schema(inner))}"
    if kind == "object":
        return "tables"
    if kind in ("integer", "number"):
        least, most = _number(schema["minimum"]), _number(schema["maximum"])
        return f"`{least}`" if least == most else f"{kind}, {least} to {most}"
    if kind == "boolean":
        return "`true` or `false`"
    return "name" if str(schema.get("pattern", "")).startswith("^[a-z0-9][a-z0-9_-]*") else "string"


def _plural(word: str) -> str:
    return f"{word}s" if word in ("string", "name", "table") else word


def _number(number: float) -> str:
    if number == 2**63 - 1:
        return "2^63 - 1"
    return str(number) if isinstance(number, int) else f"{number:g}"


def toml(value: Any) -> str:
    """A value as a topology file has it, on one line."""
    if isinstance(value, dict):
        inside = ", ".join(f"{_key(k)} = {toml(v)}" for k, v in value.items())
        return f"{{ {inside} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() else json.dumps(name)


def _later(tables: Mapping[str, Table]) -> str:
    """Keys that the format has and this version refuses."""
    found = {
        f"`{table.title}.{key.name}`".replace("`.", "`")
        for table in tables.values()
        for key in table.keys.values()
        if not key.built and "." not in table.title and table.title not in ("reverse", "set")
    }
    if not found:
        return ""
    return f"\n## Not built yet\n\nRefused by name, never ignored: {', '.join(sorted(found))}.\n"
