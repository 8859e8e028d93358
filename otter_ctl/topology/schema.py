"""The JSON Schema of topology files, for editors; made from the key tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from otter_ctl.topology.keys import FORMAT, SITE, TOPOLOGY
from otter_ctl.topology.profiles import profiles
from otter_ctl.topology.reader import Key, Table


def json_schema() -> dict[str, Any]:
    """The schema of format 1; keys that are not built yet are left out, so editors flag them."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"OTTER topology, format {FORMAT}",
        **_whole_topology(),
    }


def _whole_topology() -> dict[str, Any]:
    """Of a file that includes others nothing is demanded: they may have it."""
    table = _table(TOPOLOGY)
    required = table.pop("required")
    return {**table, "anyOf": [{"required": required}, {"required": ["include"]}]}


def site_schema() -> dict[str, Any]:
    """The schema of site files."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"OTTER site file, format {FORMAT}",
        **_table(SITE),
    }


def tables_of(schema: Mapping[str, Any]) -> Iterator[Table]:
    """The tables that a kind's schema refers to, directly."""
    for name, value in schema.items():
        if name == "table":
            yield value
        elif isinstance(value, Mapping):
            yield from tables_of(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, Mapping):
                    yield from tables_of(item)


def _table(table: Table) -> dict[str, Any]:
    built = [key for key in table.keys.values() if key.built]
    return {
        "type": "object",
        "properties": {key.name: _key(key) | _names(table, key) for key in built},
        "required": [key.name for key in built if key.required],
        "additionalProperties": False,
    }


def _names(table: Table, key: Key) -> dict[str, Any]:
    """A profile's name is one of those there are: editors offer them."""
    if key.name != "profile":
        return {}
    return {"enum": list(profiles("hosts" if "cpu" in table.keys else "links"))}


def _key(key: Key) -> dict[str, Any]:
    schema = {**_expand(key.kind.schema), "description": key.doc}
    return schema if key.default is None else {**schema, "default": key.default}


def _expand(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Kinds refer to tables as `{"table": Table}`; put their schema there."""
    if "table" in schema:
        more = {name: value for name, value in schema.items() if name != "table"}
        return {**_table(schema["table"]), **more}
    return {name: _value(value) for name, value in schema.items()}


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _expand(value)
    return [_value(item) for item in value] if isinstance(value, list) else value
