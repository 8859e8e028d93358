"""The key tables, the JSON Schema and the pages agree; every shipped topology can be planned."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from otter_ctl.planning.resolve import plan
from otter_ctl.planning.uploads import collect
from otter_ctl.topology import load
from otter_ctl.topology.keys import TOPOLOGY
from otter_ctl.topology.profiles import profiles
from otter_ctl.topology.reader import Key, Table
from otter_ctl.topology.schema import json_schema, site_schema, tables_of

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "topologies" / "README.md"


def all_keys(table: Table) -> Iterator[Key]:
    for key in table.keys.values():
        yield key
        for below in tables_of(key.kind.schema):
            yield from all_keys(below)


def test_every_key_is_explained():
    for key in all_keys(TOPOLOGY):
        assert key.doc.endswith((".", "…")), key.name


def test_every_profile_is_named_in_the_docs():
    page = (ROOT / "docs" / "topology.md").read_text()
    names = [*profiles("hosts"), *profiles("links")]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_pages_topology_loads(tmp_path):
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "first.toml").write_text(block)
    topology = load(tmp_path / "first.toml")
    assert plan(topology, current=None, runtime_default="process", blobs={}, run="r").spec.modules


def test_the_schema_has_what_is_built_and_nothing_else():
    schema = json.loads(json.dumps(json_schema()))
    link = schema["properties"]["links"]["items"]
    assert link["properties"]["reverse"]["properties"]["queue"]["type"] == "string"
    when = schema["properties"]["events"]["items"]["properties"]["when"]
    assert "done" in when["properties"]["state"]["enum"]
    assert link["additionalProperties"] is False
    host = schema["properties"]["hosts"]["patternProperties"]["^[a-z0-9][a-z0-9_-]*$"]
    assert host["properties"]["cpu"]["minimum"] == 0.01
    assert host["properties"]["gateway"]["default"] is False
    assert schema["anyOf"] == [{"required": ["name", "hosts"]}, {"required": ["include"]}]
    assert "raspberry-pi-5" in host["properties"]["profile"]["enum"]
    assert "4g" in link["properties"]["profile"]["enum"]
    assert "Table" not in json.dumps(schema)


@pytest.mark.slow
def test_the_schema_is_one_and_describes_every_key():
    for schema in (json_schema(), site_schema()):
        jsonschema.Draft202012Validator.check_schema(schema)
    for key in all_keys(TOPOLOGY):
        assert not key.built or f'"description": "{key.doc}"' in json.dumps(
            json_schema(), ensure_ascii=False
        )


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ('name = "m"\n[hosts.a]\ncpuu = 1\n', ["hosts", "a"]),
        ('name = "m"\n[hosts.a]\ncpu = "x"\n', ["hosts", "a", "cpu"]),
        ('name = "m"\n[hosts.a]\n[[links]]\nbetween = ["a"]\n', ["links", 0, "between"]),
        ('name = "m"\n[hosts.a]\n[modules.m.mounts."/d"]\nfrm = "x"\n', ["modules", "m"]),
    ],
)
def test_editors_find_slips(wrong, path):
    errors = list(jsonschema.Draft202012Validator(json_schema()).iter_errors(tomllib.loads(wrong)))
    assert [list(error.absolute_path)[: len(path)] for error in errors] == [path]


@pytest.mark.slow
def test_editors_take_what_the_loader_takes(full, wide):
    for text in (full, wide, 'include = ["base.toml"]\nseed = 1\n'):
        jsonschema.validate(tomllib.loads(text), json_schema())


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted((ROOT / "topologies").rglob("*.toml")), ids=lambda path: path.name
)
def test_shipped_topologies(path):
    topology = load(path)
    jsonschema.validate(tomllib.loads(path.read_text()), json_schema())
    made = plan(topology, current=None, runtime_default="docker", blobs=collect(topology), run="r")
    assert len(made.spec.modules) == len(topology.modules)
