"""Which images can go: chains of what is built on what."""

from __future__ import annotations

from otter_agent.images.labels import BASE, DIGEST, KIND
from otter_agent.images.unused import own_bytes, unused


def image(kind: str, name: str, base: str = "", size: int = 100) -> dict[str, object]:
    labels = {KIND: kind, DIGEST: name} | ({BASE: f"{base}:1"} if base else {})
    return {"Id": f"sha256:{name}", "RepoTags": [f"{name}:1"], "Labels": labels, "Size": size}


ROOT = image("root", "root", size=100)
PACKAGES = image("packages", "packages", "root", size=300)
BASE_IMAGE = image("base", "base", "packages", size=310)
ONE = image("module", "one", "base", size=315)
TWO = image("module", "two", "base", size=330)
OTHER = image("base", "other", "root", size=120)
ALL = [ONE, ROOT, TWO, OTHER, BASE_IMAGE, PACKAGES]


def names(found: list) -> list[str]:
    return [str(one["Id"]).removeprefix("sha256:") for one in found]


def test_what_a_mesh_or_container_uses_stays_with_all_that_it_is_built_on():
    assert names(unused(ALL, {"one"}, set())) == ["two", "other"]
    assert names(unused(ALL, set(), {"sha256:two"})) == ["one", "other"]


def test_all_goes_in_order_where_nothing_is_used():
    assert names(unused(ALL, set(), set())) == ["one", "two", "other", "base", "packages", "root"]
    assert unused([], set(), set()) == []


def test_each_holds_what_it_has_beyond_its_base():
    assert [own_bytes(one, ALL) for one in (ROOT, PACKAGES, BASE_IMAGE, ONE)] == [100, 200, 10, 5]
    assert own_bytes(ONE, [ONE]) == 315  # whose base isn't there
