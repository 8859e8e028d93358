"""`otter-agent sweep` on a machine of fakes: what fails is said in a line, nothing passed over."""

from __future__ import annotations

import argparse
import asyncio
import contextlib

import pytest
from helpers.world import HASTE, World, module, spec
from msgspec.structs import replace

from net.errors import DriverError
from otter_agent import sweeping
from otter_agent.__main__ import _sweep
from otter_agent.errors import CgroupError, ContainerError, ImageError
from otter_agent.ground.ground import Ground
from otter_agent.images.docker import DockerImages
from otter_agent.images.fake import FakeImages
from otter_agent.images.wheelhouse import Wheelhouse
from otter_agent.machine import Config, Machine
from otter_agent.network import Network
from otter_agent.runtimes.fake import FakeRuntime
from otter_agent.state import State


class Hanging(FakeRuntime):
    """An engine that takes requests and never answers."""

    async def list(self):
        await asyncio.Event().wait()


class Refusing(FakeImages):
    """A store that can't remove what it has built."""

    async def prune(self, keep, *, dry_run=False):
        raise ImageError("docker", "prune", "images", "in use by another's container")


class Left:
    """What an agent left: a state with meshes, and drivers. `sweep()`: exit code and words."""

    def __init__(self, tmp_path, monkeypatch, capsys):
        self.world = World(tmp_path)
        self.root, self._capsys = tmp_path, capsys
        self.runtimes = {"fake": self.world.runtime}
        self.stores = {"fake": self.world.images}
        self.state = State(self.world.layout.database)
        monkeypatch.setattr(sweeping, "opened", self._opened)

    def put(self, name, *modules):
        self.state.put_mesh(spec(*modules, name=name), 0, 1.0)

    @contextlib.contextmanager
    def _opened(self, config):
        yield Machine(
            ground=Ground(places=self.world.places),
            config=Config(idle_exit_s=config.idle_exit_s, patience=HASTE),
            agent_id="a1", network=Network("a1"), cgroups=None, runtimes=self.runtimes,
            stores=self.stores, problems={"network": "none here"},
        ), self.state  # fmt: skip

    def sweep(self, *, images=False):
        given = argparse.Namespace(root=self.root, docker=None, check=False, images=images)
        code = _sweep(given)
        return code, self._capsys.readouterr().err

    def check(self):
        given = argparse.Namespace(root=self.root, docker=None, check=True, images=False)
        return _sweep(given), self._capsys.readouterr().err


@pytest.fixture
def left(tmp_path, monkeypatch, capsys):
    one = Left(tmp_path, monkeypatch, capsys)
    yield one
    one.state.close()


def test_all_is_ended_in_silence(left):
    left.put("one", module("a"))
    left.put("two", module("b"))
    assert "meshes are left here: one, two" in left.check()[1]
    assert left.sweep(images=True) == (0, "")
    assert left.check() == (0, "")


def test_images_that_cant_be_removed_are_told_in_a_line_and_keep_no_other(left):
    pruned = []

    class Willing(FakeImages):
        async def prune(self, keep, *, dry_run=False):
            pruned.append(keep)
            return await super().prune(keep, dry_run=dry_run)

    left.stores = {"docker": Refusing(), "process": Willing()}
    left.put("one", module())
    said = "images: docker could not prune: in use by another's container"
    code, told = left.sweep(images=True)
    assert code == 1
    assert told.startswith(f"otter-agent: {said}; ")
    assert len(told.splitlines()) == 1
    assert pruned == [frozenset()]
    assert left.check() == (0, "")


@pytest.mark.parametrize(
    "error",
    [
        CgroupError("cgroups", "remove", "one", "there still are 7, 8"),
        OSError("No space left on device"),
    ],
)
def test_what_its_agent_fails_of_is_told_in_a_line(left, monkeypatch, error: DriverError):
    def fail(*_):
        raise error

    monkeypatch.setattr("otter_agent.agent.remove_leftovers", fail)
    left.put("one", module())
    assert left.sweep() == (1, f"otter-agent: {error}\n")
    assert left.check()[0] == 1


def test_what_an_engine_that_hangs_has_no_part_in_is_ended(left, monkeypatch):
    monkeypatch.setattr("otter_agent.agent.FIRST_S", 0.01)
    left.runtimes["docker"] = Hanging()
    left.put("one", module())
    assert left.sweep(images=True) == (0, "")
    assert left.check() == (0, "")


class Away(FakeRuntime):
    """An engine that isn't started; `back` once it is."""

    back = False

    async def list(self):
        if not self.back:
            raise ContainerError("docker", "list", "containers", "no Docker engine answers")
        return await super().list()


def of_docker(name="c"):
    return replace(module(name), runtime="docker")


@pytest.mark.parametrize("engine", [Away, Hanging])
def test_meshes_with_containers_wait_for_their_engine(left, monkeypatch, engine):
    """Nobody would look for what it has once the agent's id is forgotten."""
    monkeypatch.setattr(sweeping, "FIRST_S", 0.01)
    left.runtimes["docker"] = engine()
    left.put("mixed", module("a"), of_docker())
    left.put("other", module("b"))
    code, said = left.sweep()
    assert code == 1
    assert said.startswith("otter-agent: what meshes have there can't be removed now: ")
    assert "docker could not list" in said
    assert "meshes are left here: mixed, other" in left.check()[1]
    assert not any(one.destroying for one in left.state.meshes().values())

    left.runtimes["docker"] = Away()
    left.runtimes["docker"].back = True
    assert left.sweep() == (0, "")
    assert left.check() == (0, "")


def test_an_engine_that_goes_meanwhile_is_noticed(left):
    class Going(FakeRuntime):
        async def list(self):
            if self.calls["list"]:
                raise ContainerError("docker", "list", "containers", "no Docker engine answers")
            self.calls["list"] += 1
            return []

    left.runtimes["docker"] = Going()
    left.put("one", of_docker())
    assert left.sweep()[0] == 1
    assert "meshes are left here: one" in left.check()[1]


@pytest.mark.parametrize("made", [True, False])
def test_images_of_an_engine_that_is_away_are_told_where_there_may_be_any(left, tmp_path, made):
    url = f"unix://{tmp_path}/none.sock"
    store = DockerImages(url, left.world.layout, Wheelhouse(left.world.layout.wheels), "a1")
    if made:
        (left.world.layout.lib / "builds").mkdir()
    left.runtimes["docker"], left.stores["docker"] = Away(), store
    left.put("one", module())
    code, said = left.sweep(images=True)
    assert code == made
    assert ("what docker has built can't be removed now" in said) is made
    assert left.check() == (0, "")


def test_what_doesnt_go_is_told_with_its_reason(left, monkeypatch):
    monkeypatch.setattr(sweeping, "LIMIT_S", 0.5)
    left.world.runtime.faults.fail["remove"] = set(range(1000))
    left.put("one", module())
    code, said = left.sweep()
    assert code == 1
    assert said.startswith("otter-agent: not all could be removed: one (")
    assert "could not remove" in said
    assert len(said.splitlines()) == 1
    assert "meshes are left here: one" in left.check()[1]


def test_images_that_take_too_long_are_told(left, monkeypatch):
    class Slow(FakeImages):
        async def prune(self, keep, *, dry_run=False):
            await asyncio.Event().wait()

    monkeypatch.setattr(sweeping, "IMAGES_S", 0.01)
    left.stores = {"process": Slow()}
    code, said = left.sweep(images=True)
    assert code == 1
    assert "what process has built is not all gone after 0.01 s" in said
