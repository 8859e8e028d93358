"""Which directions are meant by names, globs and `A>B`."""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_ctl.errors import UnknownNameError
from otter_ctl.shaping import chosen

WAYS = [
    api.LinkStatus(name=name, from_=a, to=b, driver="none", asked={}, applied={})
    for name, a, b in (
        ("radio", "a", "b"), ("radio", "b", "a"), ("wire", "b", "c"), ("wire", "c", "b"),
        ("wireless", "a", "c"),
    )
]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "direction", "meant"),
    [
        ((), "", [0, 1, 2, 3, 4]),
        (("wire",), "", [2, 3]),
        (("wire*",), "", [2, 3, 4]),
        (("wireless", "radio"), "", [0, 1, 4]),
        ((), "a>b", [0]),
        (("radio",), "b>a", [1]),
        (("radio:b>a",), "", [1]),
        (("radio:b>a", "wire"), "b>*", [1, 2]),
        (("w*",), "*>c", [2, 4]),
        (("*:*>b",), "", [0, 3]),
        ((), "a>*", [0, 4]),
    ],
)
def test_directions_that_are_meant(
    names: tuple[str, ...], direction: str, meant: list[int]
) -> None:
    assert chosen(WAYS, names, direction, "m") == [WAYS[i] for i in meant]


@pytest.mark.parametrize(
    ("names", "direction", "words"),
    [
        (("rado",), "", "link rado: not in mesh m; there are: radio, wire, wireless"),
        (("r*", "x*"), "", "link x*: not in mesh m"),
        (("radio",), "a", "link radio: has no direction a; there are: a>b, b>a"),
        (("radio:a>c",), "", "link radio: has no direction a>c; there are: a>b, b>a"),
        (("radio",), "a>c", "link radio: has no direction a>c; there are: a>b, b>a"),
        ((), "c>a", "mesh m: has no direction c>a; there are: a>b, b>a, b>c, c>b, a>c"),
    ],
)
def test_what_there_is_not(names: tuple[str, ...], direction: str, words: str) -> None:
    with pytest.raises(UnknownNameError) as refused:
        chosen(WAYS, names, direction, "m")
    assert str(refused.value).startswith(words)


def test_a_mesh_without_links() -> None:
    with pytest.raises(UnknownNameError, match="has no links"):
        chosen([], (), "", "m")
