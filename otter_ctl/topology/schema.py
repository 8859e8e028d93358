"""The JSON Schema of topology files, for editors; made from the key tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otter_ctl.topology.keys import FORMAT, TOPOLOGY
from otter_ctl.topology.reader import Table


def json_schema() -> dict[str, Any]:
    """The schema of format 1; keys that are not built yet are left out, so editors flag them."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"OTTER topology, format {FORMAT}",
        **_table(TOPOLOGY),
    }


def _table(table: Table) -> dict[str, Any]:
    built = [key for key in table.keys.values() if key.built]
    return {
        "type": "object",
        "properties": {
            key.name: {**_expand(key.kind.schema), "description": key.doc} for key in built
        },
        "required": [key.name for key in built if key.required],
        "additionalProperties": False,
    }


def _expand(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Kinds refer to tables as `{"table": Table}`; put their schema there."""
    if "table" in schema:
        return _table(schema["table"])
    return {k: _expand(v) if isinstance(v, Mapping) else v for k, v in schema.items()}
