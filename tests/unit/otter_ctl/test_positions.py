"""Every way to write a key in TOML leads to its line and column."""

from __future__ import annotations

import tomllib

import pytest

from otter_ctl.topology.positions import Positions

TEXT = '''\
top = 1
a.b."c d".'e.f' = 2
"quoted \\u00e9" = 3
inline = { x = { y = 1 }, "z.z" = [1, { k = 2 }] }
list = [
  # a comment
  "one",
  [ 2, 3 ],
]
text = """
[not.a.table]
key = 1
"""
[super.sub]
k = 1
[super]
k = 2
[[things]]
name = "first"
[things.part]
p = 1
[[things.more]]
m = 1
[[things.more]]
m = 2
[[things]]
name = "second"
[[things.more]]
m = 3
 [ spaced . "header" ]
  é = 1
'''

EXPECTED = {
    ("top",): (1, 1),
    ("a",): (2, 1),
    ("a", "b", "c d", "e.f"): (2, 1),
    ("quoted é",): (3, 1),
    ("inline",): (4, 1),
    ("inline", "x"): (4, 12),
    ("inline", "x", "y"): (4, 18),
    ("inline", "z.z", 1, "k"): (4, 41),
    ("list", 0): (7, 3),
    ("list", 1): (8, 3),
    ("list", 1, 1): (8, 8),
    ("text",): (10, 1),
    ("super", "sub"): (14, 1),
    ("super", "sub", "k"): (15, 1),
    ("super",): (16, 1),
    ("super", "k"): (17, 1),
    ("things",): (18, 1),
    ("things", 0): (18, 1),
    ("things", 0, "name"): (19, 1),
    ("things", 0, "part"): (20, 1),
    ("things", 0, "part", "p"): (21, 1),
    ("things", 0, "more", 0): (22, 1),
    ("things", 0, "more", 1, "m"): (25, 1),
    ("things", 1): (26, 1),
    ("things", 1, "name"): (27, 1),
    ("things", 1, "more", 0, "m"): (29, 1),
    ("spaced", "header"): (30, 2),
    ("spaced", "header", "é"): (31, 3),
}


def paths(value, path=()):
    """Every path into what tomllib gives."""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, below in items:
        yield (*path, key)
        yield from paths(below, (*path, key))


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_positions(ends):
    text = TEXT.replace("\n", ends)
    positions = Positions(text.replace("é = 1", '"é" = 1'))  # bare keys are ASCII
    for path, place in EXPECTED.items():
        assert positions.find(path) == place, path


def test_every_path_that_tomllib_knows_has_a_place_of_its_own():
    text = TEXT.replace("é = 1", '"é" = 1')
    positions = Positions(text)
    for path in paths(tomllib.loads(text)):
        assert path in positions._points, path


def test_what_is_not_written_is_where_its_table_is():
    positions = Positions("x = 1\n[a.b]\nk = { l = 1 }\n")
    assert positions.find(("a", "b", "missing")) == (2, 1)
    assert positions.find(("a", "b", "k", "missing", 3)) == (3, 1)
    assert positions.find(("missing",)) == (1, 1)
    assert positions.find(()) == (1, 1)


def test_columns_count_characters():
    assert Positions('x = { "é€" = 1, y = 2 }').find(("x", "y")) == (1, 17)


@pytest.mark.parametrize("text", ["", "=", "[", "[[a]", "x = [1,", "a.b.c.", '"""', "x = {", "\r"])
def test_broken_toml_is_no_reason_to_fail(text):
    assert Positions(text).find(("x", 0, "y"))[0] >= 1


def test_a_key_of_very_many_dots():
    keys = ["k"] * 5000
    assert Positions(".".join(keys) + " = 1").find(tuple(keys)) == (1, 1)
