"""What of a cache is chosen by names and globs, and that what is used stays."""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_agent.cache import choose
from otter_agent.errors import AgentError


def item(name: str, *users: str) -> api.CacheItem:
    kind = "wheels" if name.startswith("wheels/") else "weights"
    return api.CacheItem(
        name=name, kind=kind, title=f"t-{name}", size_bytes=1, created=0.0, used_by=users
    )


THERE = [item("hub/a", "mesh/m"), item("hub/b"), item("folder/c"), item("wheels/d")]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ((), ["hub/b", "folder/c", "wheels/d"]),
        (("hub/b",), ["hub/b"]),
        (("*/d", "folder/*"), ["folder/c", "wheels/d"]),
    ],
)
def test_names_and_globs_choose(names: tuple[str, ...], chosen: list[str]) -> None:
    assert [found.name for found in choose(THERE, names)] == chosen


@pytest.mark.parametrize("names", [("hub/a",), ("hub/*",), ("hub/b", "*")])
def test_what_is_used_is_refused_with_all_that_was_named(names: tuple[str, ...]) -> None:
    with pytest.raises(AgentError, match=r"hub/a \(t-hub/a\) is used by mesh/m") as caught:
        choose(THERE, names)
    assert caught.value.code == "in-use"


@pytest.mark.parametrize("names", [("hub/x",), ("hub/b", "HUB/*"), ("x" * 200,)])
def test_a_name_that_is_none_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(AgentError, match="nothing is called") as caught:
        choose(THERE, names)
    assert caught.value.code == "not-found"
