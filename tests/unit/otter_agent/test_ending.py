"""`otter-agent sweep` on a machine of fakes: what fails is said in a line, and nothing is passed over."""

from __future__ import annotations

import argparse
import asyncio
import contextlib

import pytest
from helpers.world import HASTE, World, module, spec

from net.errors import DriverError
from otter_agent import ending
from otter_agent.__main__ import _sweep
from otter_agent.errors import CgroupError, ImageError
from otter_agent.ground.ground import Ground
from otter_agent.images.fake import FakeImages
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
    """What an agent left: a state with meshes, and drivers. `sweep(…)` gives exit code and words."""

    def __init__(self, tmp_path, monkeypatch, capsys):
        self.world = World(tmp_path)
        self.root, self._capsys = tmp_path, capsys
        self.runtimes = {"fake": self.world.runtime}
        self.stores = {"fake": self.world.images}
        self.state = State(self.world.layout.database)
        monkeypatch.setattr(ending, "opened", self._opened)

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
    assert left.sweep(images=True) == (1, f"otter-agent: {said}\n")
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

    monkeypatch.setattr("otter_agent.agent.sweep", fail)
    left.put("one", module())
    assert left.sweep() == (1, f"otter-agent: {error}\n")
    assert left.check()[0] == 1


def test_what_an_engine_that_hangs_has_no_part_in_is_ended(left, monkeypatch):
    monkeypatch.setattr("otter_agent.agent.FIRST_S", 0.01)
    left.runtimes["docker"] = Hanging()
    left.put("one", module())
    assert left.sweep(images=True) == (0, "")
    assert left.check() == (0, "")


def test_what_doesnt_go_is_told_with_its_reason(left, monkeypatch):
    monkeypatch.setattr(ending, "LIMIT_S", 0.5)
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

    monkeypatch.setattr(ending, "IMAGES_S", 0.01)
    left.stores = {"process": Slow()}
    code, said = left.sweep(images=True)
    assert (code, said.strip()) == (
        1, "otter-agent: what process has built is not all gone after 0.01 s"
    )  # fmt: skip
