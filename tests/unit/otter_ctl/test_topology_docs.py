"""The key tables, the JSON Schema and the pages agree; every shipped topology can be planned."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from otter_ctl.planning.resolve import plan
from otter_ctl.planning.uploads import collect
from otter_ctl.topology import load
from otter_ctl.topology.keys import TOPOLOGY
from otter_ctl.topology.reader import Key, Table
from otter_ctl.topology.schema import json_schema, tables_of

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "topologies" / "README.md"


def all_keys(table: Table) -> Iterator[Key]:
    for key in table.keys.values():
        yield key
        for below in tables_of(key.kind.schema):
            yield from all_keys(below)


def test_every_key_is_documented_and_explained():
    page = PAGE.read_text()
    for key in all_keys(TOPOLOGY):
        assert re.search(rf"`(?:ready\.)?{key.name}`", page), key.name
        assert key.doc.endswith((".", "…")), key.name


def test_no_page_names_a_built_key_that_there_is_not():
    rows = re.findall(r"^\| (`.*?) \|", PAGE.read_text(), re.MULTILINE)
    written = {name for row in rows for name in re.findall(r"`(?:ready\.)?([a-z]+)`", row)}
    inside_defaults = {"link", "module"}  # told in one row; `host` is a module's key as well
    assert written == {key.name for key in all_keys(TOPOLOGY) if key.built} - inside_defaults


def test_the_pages_topology_loads(tmp_path):
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "first.toml").write_text(block)
    topology = load(tmp_path / "first.toml")
    assert plan(topology, current=None, runtime_default="process", blobs={}, run="r").spec.modules


def test_the_schema_has_what_is_built_and_nothing_else():
    schema = json.loads(json.dumps(json_schema()))
    link = schema["properties"]["links"]["items"]
    assert link["properties"]["reverse"]["properties"]["queue"]["type"] == "string"
    assert "trace" not in link["properties"]
    assert link["additionalProperties"] is False
    host = schema["properties"]["hosts"]["patternProperties"]["^[a-z0-9][a-z0-9_-]*$"]
    assert host["properties"]["cpu"]["minimum"] == 0.01
    assert schema["required"] == ["name", "hosts"]
    assert "Table" not in json.dumps(schema)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "topologies").glob("*.toml")), ids=lambda path: path.name
)
def test_shipped_topologies(path):
    topology = load(path)
    assert topology.name
    made = plan(topology, current=None, runtime_default="docker", blobs=collect(topology), run="r")
    assert len(made.spec.modules) == len(topology.modules)
