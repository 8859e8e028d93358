"""`otter-agent fake`: many machines in memory, driven by whole commands; no root needed."""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from helpers.otter import BIN

MACHINES = 20
"""More than those whose parts name all others: a directory does."""
TOPOLOGY = "\n".join(
    [
        'name = "many"', "[defaults.module]", 'runtime = "fake"',
        *(f'[hosts.h{n}]\nmachine = "fake{n}"' for n in range(1, MACHINES + 1)),
        *(f'[[links]]\nbetween = ["h1", "h{n}"]\ndelay = "5ms"' for n in range(2, MACHINES + 1)),
        '[modules.m]\nhost = "h*"\ncommand = ["sleep"]', "",
    ]
)  # fmt: skip


class World:
    """The machines, and `otterctl` that knows of them."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="otter-f-"))
        self.site = self.folder / "m" / "site.toml"
        self.env = {**os.environ, "OTTER_ROOT": str(self.folder / "c"), "NO_COLOR": "1"}
        (self.folder / "topology.toml").write_text(TOPOLOGY)
        command = [BIN / "otter-agent", "fake", str(MACHINES), "--root", self.folder / "m"]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None
        self.said = self.child.stdout.readline()

    def __call__(self, *words: object, code: int = 0) -> str:
        return self.done(*words, code=code).stdout

    def done(self, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        verb, *others = map(str, words)
        done = subprocess.run(
            [BIN / "otterctl", verb, *others, "--site", self.site], env=self.env, text=True,
            capture_output=True, check=False, cwd=self.folder, timeout=120,
        )  # fmt: skip
        assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
        return done

    def status(self) -> dict:
        return json.loads(self("status", "--json"))

    def ask(self, machine: str, path: str, *more: str) -> Any:
        socket = self.folder / "m" / machine / "agent.sock"
        command = ["curl", "-s", "--unix-socket", socket, *more, f"http://a{path}"]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    def close(self) -> None:
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(30) == 0
        assert self.child.stdout is not None
        self.child.stdout.close()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def machines():
    made = World()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def world(machines):
    """With no mesh after the test."""
    yield machines
    machines("destroy", "--all", "--yes", "--no-fetch")


def test_it_says_where_its_machines_are(machines):
    assert machines.said == f"{MACHINES} fake machines: otterctl VERB --site {machines.site}\n"
    assert machines.site.read_text().count("[machines.") == MACHINES
    lines = json.loads(machines("machine", "ls", "--json"))
    assert [line["reachable"] for line in lines] == [True] * MACHINES, "each by its socket"


@pytest.mark.parametrize("on", ["fake1", "fake[12]"])
def test_what_is_not_kept_there_is_looked_for_there(machines, on):
    for verb in ("cache", "volume"):
        told = machines.done(verb, "rm", "x", "--on", on, code=1).stderr
        assert f"otterctl {verb} ls --on {shlex.quote(on)}" in told


def test_a_mesh_on_twenty_machines_is_one_mesh(world):
    planned = world("plan", "topology.toml")
    assert f"{1 + MACHINES + MACHINES - 1 + MACHINES} to create" in planned
    assert f"{MACHINES} modules ready" in world("apply", "topology.toml")
    status = world.status()
    assert {m["name"]: m["machine"] for m in status["hosts"]} == {
        f"h{n}": f"fake{n}" for n in range(1, MACHINES + 1)
    }
    assert {m["state"] for m in status["modules"]} == {"ready"}
    assert "nothing to change" in world("apply", "topology.toml")
    assert "nothing to change" in world("plan", "topology.toml")


def test_parts_name_their_directory_alone(world):
    """Else what is sent and kept grew by the square of the machines."""
    world("apply", "topology.toml")
    parts = [world.ask(f"fake{n}", "/v1/meshes/many")["spec"] for n in range(1, MACHINES + 1)]
    assert len({part["directory"] for part in parts}) == 1
    assert not any(part.get("names") for part in parts)
    # But for those whose agents talk: each with the one whose clock is the mesh's.
    clock = parts[0]["clock"]
    for part in parts:
        known = {other["machine"] for other in part.get("away", ())}
        assert known == {clock} or part["machine"] == clock
    listed = world.ask("fake7", "/v1/meshes/many/directory")
    assert len(listed["names"]) == 2 * MACHINES
    assert {away["machine"] for away in listed["machines"]} == {
        f"fake{n}" for n in range(1, MACHINES + 1)
    }


def test_a_check_says_what_has_changed_and_what_is_lacking(world):
    """So that of many machines each is asked once before any is brought anything."""
    world("apply", "topology.toml")
    status = world.ask("fake7", "/v1/meshes/many")
    assert status["timeline"] == "running"
    spec, generation = status["spec"], status["generation"]

    def check(query: str, **other: object) -> list[dict]:
        body = json.dumps({**spec, **other})
        return world.ask("fake7", f"/v1/meshes/many/check{query}", "-d", body)

    assert check("") == check(f"?generation={generation}") == []
    assert [problem["code"] for problem in check("?generation=0")] == ["changed"]
    lacking = check(f"?generation={generation}", directory="0" * 64)
    assert [(p["code"], p["missing"]) for p in lacking] == [("missing-blobs", ["0" * 64])]
    assert check("", directory="0" * 64) == []


@pytest.mark.parametrize("ended", ["some", "the first"])
def test_of_machines_in_several_processes_all_end_together(tmp_path, ended):
    command = [BIN / "otter-agent", "fake", "100", "--root", tmp_path / "m"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("100 fake machines")
        pids = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        parts = [os.pidfd_open(int(pid)) for pid in pids]
        if ended == "some":
            signal.pidfd_send_signal(parts[0], signal.SIGKILL)
            said = child.communicate(timeout=60)[1]
            assert child.returncode == 1
            assert said == "otter-agent: a process with some of the machines ended\n"
        else:
            child.kill()
        for part in parts:
            assert select.select([part], [], [], 60)[0], "it lives on"
            os.close(part)


def test_a_machine_that_is_silent_hides_nothing(world):
    world("apply", "topology.toml")
    address = {m["name"]: m["address"] for m in world.status()["modules"]}
    socket = world.folder / "m" / "fake3" / "agent.sock"
    socket.rename(socket.with_suffix(".away"))
    try:
        status = world.status()
    finally:
        socket.with_suffix(".away").rename(socket)
    (lost,) = (m for m in status["modules"] if m["state"] != "ready")
    assert (lost["name"], lost["host"]) == ("m-h3", "h3")
    assert lost["reason"] == "machine fake3 gives no answer"
    assert lost["address"] == address["m-h3"]
    assert [m["name"] for m in status["machines"] if not m["reachable"]] == ["fake3"]


@pytest.mark.parametrize("count", ["0", "4001"])
def test_so_many_can_not_be_had(count, tmp_path):
    command = [BIN / "otter-agent", "fake", count, "--root", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1 to 4000" in done.stderr
