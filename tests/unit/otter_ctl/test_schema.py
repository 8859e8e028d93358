"""What editors say of a value is what the loader says, but for what needs more than its form."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otter_ctl.topology import values
from otter_ctl.topology.keys import SITE, TOPOLOGY
from otter_ctl.topology.reader import EnoughProblems, Key, Kind, Place, Table
from otter_ctl.topology.schema import _expand, tables_of

WRITTEN = [
    "nan", "inf", "-inf", "0", "1", "3", "-1", "0.5", "1.5", "1e999", "9" * 30, "70000", "5000000",
    "true", "false", "2020-01-01", "10:00:00",
    '""', '"x"', '"X y"', '"a-*"', '"a.b"', '"a-*.b"', '"\\u0000"', f'"{"n" * 300}"',
    '"@"', '"-oX"',
    '"20ms"', '"0"', '"0.5%"', '"1GiB"', '"10B"', '"50MB/s"', '"5mbit"', '"100 packets"', '"-5ms"',
    '"5 parsec"', '"20 ms"', '"1e3ms"', '"5MBIT"', '"5"', '"4GB"', '"4gb"', '"8M"',
    '"/srv/x"', '"/dev/video0"', '"/dev/../x"', '"../x"', '"a/"', '"127.0.0.1"', '"10.0.0.0/8"',
    '"8.8.8.8/8"', '"no"', '"tcp"', '"index"', '"docker"', '"amd64"', '"sparc"', '"TOKEN"', '"1X"',
    '"me@host"', '"4g"', '"raspberry-pi-5"', '"localhost"',
    "[]", '["a"]', '["a", "b"]', '["a", "a-*"]', '["a", "B"]', '["a", "b", "c"]', '["/dev/x"]',
    '["TOKEN"]', "[1]", '["../x"]', '[""]', '["x", ""]', str(["a"] * 1001),
    "{}", "{ a = 1 }", '{ A = "x" }', '{ A = "" }', '{ "a-b" = "x" }', '{ "in" = "data" }',
    "{ tcp = 80 }", "{ sdk = true }", "{ sdk = false }", "{ port = 80 }", "[{ port = 80 }]",
    "{ port = 0 }", '{ "/d" = { from = "/srv" } }', '{ "d" = { from = "/srv" } }',
    '{ "/work" = { from = "/srv" } }', '{ "/d" = { volume = "v" } }', '{ read = "x" }',
    "{ read = 0 }", "{ read = 5 }", "{ share = 0.5 }", "{ share = 2 }", '{ memory = "8MiB" }',
]  # fmt: skip
VALUES = {written: tomllib.loads(f"value = {written}")["value"] for written in WRITTEN}
BEYOND_FORM = re.compile(
    r"is taken|host bits|over the limit of 1|at least 1|at least 0\.1%|between a /8|"
    r"a finite number|at least 4MiB|"
    r"too large|plain path|not free|without `\.\.`|at least one table|must be of a-z|NUL"
)
"""Reasons that a schema can't know, or only at a price: NaN, sums of units, parts of paths."""


def keys(table: Table) -> Iterator[Key]:
    for key in table.keys.values():
        if key.built:
            yield key
        for below in tables_of(key.kind.schema):
            yield from keys(below)


KINDS: dict[str, Kind] = {}
"""Of all keys, each once: by the name of the first that has it."""
for key in (*keys(TOPOLOGY), *keys(SITE)):
    if not any(key.kind is kind for kind in KINDS.values()):
        KINDS[f"{len(KINDS)} {key.name}"] = key.kind


def reasons(kind: Kind, value: object) -> list[str]:
    root = Place([])
    with suppress(EnoughProblems):
        root.read(kind, value)
    return [problem.reason for problem in root.problems]


@pytest.mark.parametrize("name", KINDS)
def test_the_schema_judges_a_value_as_the_loader_does(name):
    kind = KINDS[name]
    editor = jsonschema.Draft202012Validator(
        _expand(kind.schema), format_checker=jsonschema.FormatChecker(formats=["ipv4"])
    )
    for written, value in VALUES.items():
        found = reasons(kind, value)
        if not found:
            assert editor.is_valid(value), written
        elif editor.is_valid(value):
            assert all(map(BEYOND_FORM.search, found)), (written, found)


NUMBERS = st.from_regex(r"[0-9]{1,6}(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
UNITS = st.sampled_from(
    ["ns", "us", "µs", "ms", "s", "min", "h", "bit", "kbit", "Mbit", "GBIT", "tbit", "B", "kB",
     "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB", "%", "", "/s", "MB/s",
     "packets", "packet", "m", "mib"]
)  # fmt: skip
QUANTITIES = [
    values.DURATION, values.WAIT, values.RATE, values.RATIO, values.MEMORY, values.THROUGHPUT,
    values.QUEUE,
]  # fmt: skip


@pytest.mark.slow
@given(NUMBERS, st.sampled_from(["", " "]), UNITS)
def test_quantities(number, between, unit):
    text = f"{number}{between}{unit}"
    for kind in QUANTITIES:
        found = reasons(kind, text)
        valid = jsonschema.Draft202012Validator(_expand(kind.schema)).is_valid(text)
        if not found:
            assert valid, text
        elif valid:
            limits = ("over the limit", "at least", "too large", "unit is missing", "unknown unit")
            assert any(limit in found[0] for limit in limits) or "queue's" in found[0], found


def test_units_that_do_not_fit_are_seen():
    wrong = [
        (values.DURATION, "5mbit"), (values.DURATION, "5"), (values.RATE, "5ms"),
        (values.RATE, "5"), (values.MEMORY, "5%"), (values.QUEUE, "5%"),
    ]  # fmt: skip
    for kind, text in wrong:
        assert not jsonschema.Draft202012Validator(_expand(kind.schema)).is_valid(text)
