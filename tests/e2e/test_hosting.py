"""Hosts placed onto real machines: they stay where they run, and go where they have to."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from helpers.machines import SSHD, machines
from helpers.otter import wait_for

TOPOLOGY = """
name = "free"

[defaults.host]
among = "m*"
[defaults.module]
runtime = "process"

[hosts.camera]
machine = "m1"
[hosts.edge]
[hosts.cloud]
cpu = 0.5

[[links]]
between = ["camera", "edge"]
delay = "5ms"
[[links]]
between = ["edge", "cloud"]
delay = "20ms"

[modules.eye]
command = ["sleep", "infinity"]
host = "camera"
[modules.brain]
command = ["sleep", "infinity"]
host = "cloud"
[modules.somewhere]
command = ["sleep", "infinity"]
beside = "brain"
"""


@pytest.fixture(scope="module")
def pair(require):
    """Two machines for all tests here."""
    require("netns", os.geteuid() == 0 and shutil.which("ip"), "not root")
    require("ssh", SSHD, "no sshd (.ci/debian tests)")
    with machines(2) as world:
        yield world


@pytest.fixture
def world(pair):
    """The two, with no mesh before and nothing left after the test."""
    yield pair
    for machine in pair.all:
        machine.heal()
    pair("destroy", "--all", "--yes", "--no-fetch")
    assert pair.leftovers() == []


def where(world):
    return {host["name"]: host["machine"] for host in world.json("status")["hosts"]}


def held(cpu: float) -> str:
    """A mesh that holds so many cores of m1."""
    return (
        f'name = "other"\n[hosts.h]\nmachine = "m1"\ncpu = {cpu}\n[modules.s]\nhost = "h"\n'
        'runtime = "process"\ncommand = ["sleep", "infinity"]\n'
    )


@pytest.mark.parametrize("named_in", ["site", "topology"])
def test_an_experiment_over_both_leaves_a_folder(world, named_in):
    """Made, ended and fetched on two machines by one command, wherever these are named."""
    apart, env = TOPOLOGY.replace("cpu = 0.5", 'machine = "m2"'), {}
    if named_in == "topology":
        (world.folder / ".ssh").mkdir()
        shutil.copy(world.folder / "ssh_config", world.folder / ".ssh/config")
        tables = (f'\n[machines.{m.name}]\nsocket = "{m.socket}"\n' for m in world.all)
        apart, env = apart + "".join(tables), {"OTTER_SITE": ""}
    said = world("run", world.topology(apart), "--for", "300ms", "--json", env=env)
    (one,) = json.loads(said.stdout)["runs"]
    assert one["ended"] == "time"
    assert {m["state"] for m in one["modules"]} == {"ready"}
    assert {path.name for path in Path(one["folder"], "logs").iterdir()} >= {"eye.log", "brain.log"}
    assert world.json("ls") == []


def test_hosts_go_near_those_they_talk_to_and_stay_there(world):
    """All on one machine while it has room; not moved when another would do as well."""
    file = world.topology(TOPOLOGY)
    planned = world.json("plan", file, "--explain")
    assert planned["machines"] == dict.fromkeys(("camera", "edge", "cloud"), "m1")
    (cloud,) = [one for one in planned["hosting"] if one["host"] == "cloud"]
    assert (cloud["machine"], cloud["why"]) == ("m1", "costs least there")
    assert cloud["others"].keys() == {"m2"}
    world("apply", file)
    assert where(world) == planned["machines"]

    cpus = len(os.sched_getaffinity(0))
    world("apply", world.topology(held(cpus - 0.5), "other.toml"))  # m1 is full now
    again = world("apply", file)
    assert "nothing to change" in again.stdout, again.stdout
    more = TOPOLOGY.replace("cpu = 0.5", "cpu = 0.75")
    before = {m["name"]: m["pid"] for m in world.json("status", "-m", "free")["modules"]}
    said = world("plan", world.topology(more), "--explain").stdout
    assert "host cloud: on machine m2: the only machine that it fits on" in said
    assert "not on m1: has 0.5 of 0.75 cores free" in said
    world("apply", world.topology(more))
    status = world.json("status", "-m", "free")
    assert {h["name"]: h["machine"] for h in status["hosts"]} == {
        "camera": "m1", "edge": "m1", "cloud": "m2",
    }  # fmt: skip
    assert {m["name"]: m["host"] for m in status["modules"]}["somewhere"] == "cloud"
    assert {m["name"]: m["pid"] for m in status["modules"]}["eye"] == before["eye"]
    rtt = world("exec", "-m", "free", "eye", "--", "ping", "-c", "3", "-i", "0.2", "brain").stdout
    assert float(rtt.rsplit("=", 1)[1].split("/")[0]) > 49

    world("destroy", "-m", "other", "--yes", "--no-fetch")
    assert "nothing to change" in world("apply", world.topology(more)).stdout, "it stays on m2"


def test_what_fits_nowhere_is_refused_with_its_line(world):
    file = world.topology(TOPOLOGY.replace("cpu = 0.5", "cpu = 1000"))
    for verb in ("plan", "apply"):
        done = world(verb, file, code=2)
        assert "topology.toml:12: host cloud: fits on no machine (m1 has " in done.stderr
    assert world["m1"].ask("GET", "/v1/meshes") == []


def test_a_machine_that_gives_no_answer_is_left_out(world):
    """Where nothing needs it; what runs there is never planned anew without it."""
    world["m2"].cut()
    file = world.topology(TOPOLOGY)
    done = world("apply", file)
    assert "warning: machine m2 is left out: " in done.stderr
    assert set(where(world).values()) == {"m1"}
    world["m2"].heal()
    wait_for(lambda: world["m2"].reachable, "it is back")
    world("destroy", "--yes", "--no-fetch")

    world("apply", world.topology(TOPOLOGY.replace("cpu = 0.5", 'apart = "camera"')))
    assert where(world)["cloud"] == "m2"
    world["m2"].cut()
    done = world("plan", file, code=1)
    assert "m2" in done.stderr


def test_facts_are_told_of_each_machine(world):
    world("apply", world.topology(TOPOLOGY.replace("cpu = 0.5", 'apart = "camera"')))
    machines_ = {m["name"]: m for m in world.json("status")["machines"]}
    listed = {m["name"]: m for m in world.json("machine", "ls")}
    for name in ("m1", "m2"):
        facts = machines_[name]["facts"]
        assert facts["cpus"] == listed[name]["cpus"] == len(os.sched_getaffinity(0))
        assert facts["arch"] == os.uname().machine
        told = {feature["name"]: feature["usable"] for feature in facts["features"]}
        assert told.keys() >= {"vxlan", "htb", "netem", "nftables", "tun", "cgroup", "bridge"}
        assert told["vxlan"]
        assert listed[name]["features"] == facts["features"]
    checks = {c["name"]: c for c in world.json("machine", "check", "m1", code=None)["checks"]}
    assert checks["vxlan"]["detail"] == "there (for links to other machines)"


HERE = """
name = "near"
[machines.m1]
[defaults.module]
runtime = "process"
[hosts.desk]
cpu = 0.5
[hosts.shelf]
cpu = {shelf}
[[links]]
between = ["desk", "shelf"]
delay = "5ms"
[modules.a]
command = ["sleep", "infinity"]
host = "desk"
[modules.b]
command = ["sleep", "infinity"]
host = "shelf"
"""


@pytest.fixture
def own_agent(world):
    """Ends the agent of this machine that a test had started."""
    yield
    pid = int((world.folder / "c" / "run" / "agent.pid").read_text())
    world("destroy", "--all", "--yes", "--no-fetch")
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "it ends")


def test_a_host_that_says_nothing_is_here_as_long_as_it_fits(world, own_agent):
    """No agent runs here at first: `plan` needs none, `apply` starts it once a host is placed."""
    cpus = len(os.sched_getaffinity(0))
    file = world.topology(HERE.format(shelf=0.5), "near.toml")
    planned = world.json("plan", file)
    assert planned["machines"] == {"desk": "local", "shelf": "local"}
    assert not (world.folder / "c" / "run" / "agent.pid").exists()
    assert "started otter-agent" in world("apply", file).stderr
    assert set(where(world).values()) == {"local"}

    more = world.topology(HERE.format(shelf=cpus), "near.toml")
    world("apply", more)
    assert where(world) == {"desk": "local", "shelf": "m1"}
    assert "nothing to change" in world("apply", more).stdout
