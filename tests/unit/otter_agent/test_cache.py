"""What of a cache is chosen by names and globs, and that what is used stays."""

from __future__ import annotations

import json

import pytest
from helpers.world import World

from otter_agent import api
from otter_agent.cache import choose, remove
from otter_agent.errors import AgentError
from otter_agent.images.shelf import FACTS


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


def held(world: World, name: str, *, whole: bool = True) -> None:
    """As if it had been fetched."""
    folder = world.layout.weights / name
    (folder / "data").mkdir(parents=True)
    if whole:
        facts = {"title": name, "size_bytes": 1, "created": 0.0}
        (folder / FACTS).write_text(json.dumps(facts))


@pytest.mark.slow
async def test_what_a_mesh_begins_to_use_meanwhile_stays(tmp_path) -> None:
    world = World(tmp_path)
    held(world, "hub/a")
    held(world, "hub/b")
    said = iter([{}])  # when it is asked for; then the mesh has come

    async with world.agent() as agent:
        gone = await remove(
            agent.machine, lambda: next(said, {"hub/a": ["mesh/m"]}),
            api.CacheRemoval(names=("hub/*",)),
        )  # fmt: skip
    assert gone.removed == ("hub/b",)
    assert [path.name for path in (world.layout.weights / "hub").iterdir()] == ["a"]


async def test_with_all_that_is_unused_goes_what_was_left_half(tmp_path) -> None:
    world = World(tmp_path)
    held(world, "hub/half", whole=False)
    left = world.layout.wheels / f"{'0' * 24}.tmp-killed"
    left.mkdir(parents=True)
    async with world.agent() as agent:
        gone = await remove(agent.machine, dict, api.CacheRemoval())
    assert gone.removed == ("hub/half",)
    assert not left.exists()
    assert not (world.layout.weights / "hub" / "half").exists()
