"""A machine that is gone for long: what it had goes elsewhere when asked, and it never comes back.

Machines are fakes in one process; one is cut off by taking its socket's name away.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.otter import BIN

TOPOLOGY = """
name = "left"
[defaults.module]
runtime = "fake"
[hosts.desk]
machine = "fake1"
[hosts.free]
among = ["fake2", "fake3"]
[[links]]
between = ["desk", "free"]
delay = "5ms"
[modules.m]
host = "*"
command = ["sleep"]
"""

ALONE = """
name = "alone"
[defaults.module]
runtime = "fake"
[hosts.free]
among = ["fake2", "fake3"]
[modules.m]
host = "free"
command = ["sleep"]
"""


class World:
    """Three machines, and `otterctl` that knows of them."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="otter-f-"))
        self.site = self.folder / "m" / "site.toml"
        self.env = {**os.environ, "OTTER_ROOT": str(self.folder / "c"), "NO_COLOR": "1"}
        (self.folder / "mesh.toml").write_text(TOPOLOGY)
        command = [BIN / "otter-agent", "fake", "3", "--root", self.folder / "m"]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None
        self.child.stdout.readline()

    def run(self, verb: str, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [BIN / "otterctl", verb, *map(str, words), "--site", self.site], env=self.env,
            text=True, capture_output=True, check=False, cwd=self.folder, timeout=120,
        )  # fmt: skip
        assert done.returncode == code, f"{verb} {words}: {done.stdout}{done.stderr}"
        return done

    def where(self) -> dict[str, str]:
        status = json.loads(self.run("status", "--json").stdout)
        return {host["name"]: host["machine"] for host in status["hosts"]}

    def parts(self, machine: str) -> list[dict]:
        socket = self.folder / "m" / machine / "agent.sock"
        command = ["curl", "-s", "--unix-socket", socket, "http://a/v1/meshes"]
        listed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert isinstance(listed, list)
        return listed

    @contextmanager
    def cut(self, machine: str) -> Iterator[None]:
        socket = self.folder / "m" / machine / "agent.sock"
        socket.rename(socket.with_suffix(".away"))
        try:
            yield
        finally:
            socket.with_suffix(".away").rename(socket)

    def close(self) -> None:
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(30) == 0
        assert self.child.stdout is not None
        self.child.stdout.close()
        shutil.rmtree(self.folder)


@pytest.fixture
def world():
    made = World()
    try:
        yield made
    finally:
        made.close()


def test_what_may_be_elsewhere_goes_on_elsewhere(world):
    world.run("apply", "mesh.toml")
    assert world.where() == {"desk": "fake1", "free": "fake2"}
    with world.cut("fake2"):
        for verb in ("plan", "apply"):
            said = world.run(verb, "mesh.toml", code=1).stderr
            assert "last known there: host free, module m-free" in said
            assert "--without fake2" in said
        planned = json.loads(world.run("plan", "mesh.toml", "--without", "fake2", "--json").stdout)
        assert planned["machines"] == {"desk": "fake1", "free": "fake3"}
        assert world.run("apply", "mesh.toml", "--without", "fake2").stdout.count("2 modules ready")
        assert world.where() == {"desk": "fake1", "free": "fake3"}
        again = world.run("apply", "mesh.toml")
        assert "nothing to change" in again.stdout, again.stdout
        assert "it was left out of mesh left, and may still have a part of it" in again.stderr

    assert len(world.parts("fake2")) == 1, "it goes on, as nobody could tell it"
    assert "was left out of mesh left and still has a part of it" in world.run("status").stderr
    assert world.where() == {"desk": "fake1", "free": "fake3"}
    world.run("apply", "mesh.toml")
    assert world.parts("fake2") == []
    assert world.where() == {"desk": "fake1", "free": "fake3"}
    assert "nothing to change" in world.run("apply", "mesh.toml").stdout
    assert "left out" not in world.run("status").stderr


def test_a_plan_shows_the_others_and_an_apply_decides_nothing(world):
    world.run("apply", "mesh.toml")
    changed = ("--set", "modules.m.env.COLOUR=red")
    with world.cut("fake2"):
        planned = world.run("plan", "mesh.toml", code=1)
        assert "mesh left: nothing to change on the machines that answer" in planned.stdout
        assert "? machine fake2 gives no answer" in planned.stdout
        assert "last known there: host free, module m-free" in planned.stdout
        assert "asked of it: host free, module m-free" in planned.stdout

        planned = world.run("plan", "mesh.toml", *changed, "--json", "--detailed-exitcode", code=1)
        document = json.loads(planned.stdout)
        assert [change["name"] for change in document["changes"]] == ["m-desk"]
        (unknown,) = document["unknown"]
        assert (unknown["machine"], unknown["hosts"]) == ("fake2", ["free"])
        assert document["machines"] == {"desk": "fake1", "free": "fake2"}
        assert "--without fake2" in planned.stderr

        world.run("apply", "mesh.toml", *changed, code=1)
    with world.cut("fake1"):  # where a host has to be, and all that is known is on another
        planned = world.run("plan", "mesh.toml", code=1)
        assert "last known there: host desk, module m-desk" in planned.stdout
        assert "- " not in planned.stdout
    planned = json.loads(world.run("plan", "mesh.toml", *changed, "--json").stdout)
    assert [change["name"] for change in planned["changes"]] == ["m-desk", "m-free"]


def test_a_plan_of_a_mesh_that_isnt_there_shows_what_can_be_made(world):
    with world.cut("fake1"):
        planned = world.run("plan", "mesh.toml", code=1)
        assert "+ host free" in planned.stdout
        assert "+ host desk" not in planned.stdout
        assert "asked of it: host desk, module m-desk" in planned.stdout
        world.run("apply", "mesh.toml", code=1)
    assert [world.parts(f"fake{n}") for n in (1, 2, 3)] == [[], [], []]


def test_one_that_answers_is_emptied_and_what_was_left_is_destroyed_with_the_mesh(world):
    world.run("apply", "mesh.toml")
    world.run("apply", "mesh.toml", "--without", "fake2")
    assert world.where()["free"] == "fake3"
    assert world.parts("fake2") == []
    with world.cut("fake3"):
        world.run("apply", "mesh.toml", "--without", "fake3")
        said = world.run("destroy", "--yes", "--no-fetch", code=1).stderr
        assert "fake3" in said
        assert "stays what is there" in said
    world.run("destroy", "--yes", "--no-fetch")
    assert [world.parts(f"fake{n}") for n in (1, 2, 3)] == [[], [], []]


def test_a_mesh_that_is_on_it_alone_is_known_too(world):
    (world.folder / "alone.toml").write_text(ALONE)
    world.run("apply", "alone.toml")
    world.run("apply", "alone.toml", "--without", "fake2")
    assert [len(world.parts(f"fake{n}")) for n in (2, 3)] == [0, 1]
    with world.cut("fake3"):
        world.run("apply", "alone.toml", "--without", "fake3")
    assert [len(world.parts(f"fake{n}")) for n in (2, 3)] == [1, 1]
    assert "fake3: was left out of mesh alone and still has a part" in world.run("status").stderr
    world.run("apply", "alone.toml")
    assert [len(world.parts(f"fake{n}")) for n in (2, 3)] == [1, 0]
    with world.cut("fake1"):  # which never had anything
        world.run("apply", "alone.toml", "--without", "fake1")
        world.run("destroy", "--yes", "--no-fetch")


def test_what_has_to_be_there_is_refused_with_its_line(world):
    said = world.run("plan", "mesh.toml", "--without", "fake1", code=2).stderr
    assert "mesh.toml:5: host desk: may only be on machine fake1, which is left out" in said
    said = world.run("apply", "mesh.toml", "--without", "fake9", code=2).stderr
    assert "neither the topology nor the site file knows such a machine" in said
    assert "fake1, fake2, fake3" in said
