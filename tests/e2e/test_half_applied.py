"""A machine that fails in the middle of an apply, and one that joins a mesh that runs."""

from __future__ import annotations

import os
import shutil

import pytest
from helpers.breaking import breaking
from helpers.machines import SSHD, machines
from helpers.otter import wait_for

MESH = """
name = "spread"
[defaults.module]
runtime = "process"
[hosts.phone]
machine = "m1"
[hosts.edge]
machine = "m2"
[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "5ms"
[modules.near]
host = "phone"
command = ["sleep", "infinity"]
[modules.far]
host = "edge"
command = ["sleep", "infinity"]
[[events]]
at = "1h"
link = "radio"
set = { delay = "10ms" }
"""
MORE = """
[hosts.cloud]
machine = "m3"
[[links]]
name = "fibre"
between = ["edge", "cloud"]
[modules.third]
host = "cloud"
command = ["sleep", "infinity"]
"""
PUT = b"PUT /v1/meshes/spread?"


@pytest.fixture(scope="module")
def trio(require):
    """Three machines; the way to m3's agent can be made to break."""
    require("netns", os.geteuid() == 0 and shutil.which("ip"), "not root")
    require("ssh", SSHD, "no sshd (.ci/debian tests)")
    with machines(3) as world:
        between = world.folder / "between.sock"
        with breaking(between, world["m3"].socket) as world.breaking:
            site = world.folder / "site.toml"
            site.write_text(site.read_text().replace(str(world["m3"].socket), str(between)))
            yield world


@pytest.fixture
def world(trio):
    """The three, with no mesh before and nothing left after the test."""
    yield trio
    trio.breaking.at = b""
    trio("destroy", "--all", "--yes", "--no-fetch")
    assert trio.leftovers() == []


def meshes(world) -> dict[str, list[str]]:
    return {m.name: [mesh["mesh"] for mesh in m.ask("GET", "/v1/meshes")] for m in world.all}


def pids(world) -> dict[str, int]:
    return {m["name"]: m["pid"] for m in world.json("status")["modules"]}


def test_all_go_back_to_nothing_where_one_breaks_off(world):
    world.breaking.at = PUT
    refused = world("apply", world.topology(MESH + MORE), code=1).stderr
    assert world.breaking.broke
    assert "m3" in refused
    assert "m1, m2" in refused
    assert "went back" in refused
    wait_for(lambda: meshes(world) == {"m1": [], "m2": [], "m3": []}, "nothing stays")


def test_all_go_back_to_what_they_had(world):
    world("apply", world.topology(MESH + MORE))
    before, generation = pids(world), world.json("timeline", "show")["epoch"]
    changed = (MESH + MORE).replace('delay = "5ms"', 'delay = "9ms"')
    changed = changed.replace('name = "fibre"', 'name = "fibre"\ndelay = "1ms"')
    world.breaking.at = PUT
    refused = world("apply", world.topology(changed), code=1).stderr
    assert "went back" in refused
    world.breaking.at = b""
    delays = {
        (x["name"], x["from"]): x["asked"].get("delay_s") for x in world.json("status")["links"]
    }
    assert delays["radio", "phone"] == delays["radio", "edge"] == 0.005
    assert delays["fibre", "edge"] is None
    assert pids(world) == before
    assert world.json("timeline", "show")["epoch"] == pytest.approx(generation, abs=0.1)


def test_with_keep_partial_the_others_stay_and_the_next_apply_makes_it_whole(world):
    world.breaking.at = PUT
    file = world.topology(MESH + MORE)
    refused = world("apply", file, "--keep-partial", code=1).stderr
    assert "mesh spread is partial: m1, m2 of its machines have settled" in refused
    assert {n: bool(found) for n, found in meshes(world).items()} == {
        "m1": True, "m2": True, "m3": False,
    }  # fmt: skip
    pid = {m.name: m.ask("GET", "/v1/meshes/spread/modules")[0]["pid"] for m in world.all[:2]}
    world.breaking.at = b""
    world("apply", file)
    assert world.json("status")["state"] == "ready"
    assert world.json("timeline", "show")["state"] == "running"
    now = pids(world)
    assert (now["near"], now["far"]) == (pid["m1"], pid["m2"])


def test_with_keep_partial_the_machine_that_the_mesh_leaves_keeps_its_part_too(world):
    """What should run instead of it isn't there."""
    world("apply", world.topology(MESH + MORE))
    before = pids(world)["near"]
    moved = world.topology((MESH + MORE).replace('machine = "m1"', 'machine = "m2"'))
    moved.write_text(moved.read_text().replace('name = "fibre"', 'name = "fibre"\ndelay = "1ms"'))
    world.breaking.at = PUT
    assert "theirs: m1" in world("apply", moved, "--keep-partial", code=1).stderr
    (kept,) = world["m1"].ask("GET", "/v1/meshes/spread/modules")
    assert (kept["state"], kept["pid"]) == ("ready", before)
    world.breaking.at = b""
    assert "m1: was left out of mesh spread" in world("status", code=None).stderr
    world("apply", moved)
    assert meshes(world) == {"m1": [], "m2": ["spread"], "m3": ["spread"]}


def test_what_has_just_failed_is_tried_once_as_the_mesh_leaves_a_machine(world):
    """Two parts follow each other there: one that names the machine, one that doesn't any more."""
    world("apply", world.topology(MESH + MORE))
    tries = world.folder / "tries"
    fails = f'command = ["sh", "-c", "echo x >> {tries}; exit 3"]\nrestart = "no"'
    fails += '\nready = { command = ["false"] }'  # or it is, if its end is seen late
    file = world.topology(MESH.replace('command = ["sleep", "infinity"]', fails, 1))
    assert "near: failed" in world("apply", file, code=1).stderr
    assert tries.read_text() == "x\n"
    assert meshes(world) == {"m1": ["spread"], "m2": ["spread"], "m3": []}
    world("apply", file, code=1)
    assert tries.read_text() == "x\nx\n"


def test_a_machine_that_joins_takes_the_epoch_that_runs(world):
    world("apply", world.topology(MESH))
    before, epoch = pids(world), world.json("timeline", "show")["epoch"]
    world("apply", world.topology(MESH + MORE))
    told = {m.name: m.ask("GET", "/v1/meshes/spread/timeline") for m in world.all}
    assert {one["state"] for one in told.values()} == {"running"}
    for one in told.values():
        assert one["epoch"] == pytest.approx(epoch, abs=0.1)
    now = pids(world)
    assert {name: now[name] for name in before} == before
