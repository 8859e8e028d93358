"""Conditions, handovers and routes that follow links, where machines have to tell each other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from helpers.machines import SSHD, machines, sh
from helpers.otter import wait_for

SENDER = """
import asyncio, net

async def main(mesh):
    for number in range(100000):
        await mesh.output("numbers").send(number)
        await asyncio.sleep(0.02)

net.run(main)
"""
RECEIVER = """
import net

async def main(mesh):
    await mesh.ready()
    async for message in mesh.input("numbers"):
        pass

net.run(main)
"""
THREE = f"""
name = "spread"
[defaults.module]
runtime = "process"
[hosts.phone]
machine = "m1"
cpu = 0.5
[hosts.edge]
machine = "m2"
[hosts.cloud]
machine = "m3"
cpu = 0.5
[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "5ms"
rate = "50mbit"
[[links]]
name = "fibre"
between = ["edge", "cloud"]
delay = "1ms"
[modules.sender]
host = "phone"
command = ["{sys.executable}", "sender.py"]
files = {{ "sender.py" = "sender.py" }}
ready = {{ sdk = true }}
[modules.receiver]
host = "cloud"
command = ["{sys.executable}", "receiver.py"]
files = {{ "receiver.py" = "receiver.py" }}
ready = {{ sdk = true }}
[modules.shell]
host = "edge"
command = ["sleep", "infinity"]
[[streams]]
from = "sender.numbers"
to = "receiver.numbers"
"""
CONDITIONS = """
[[events]]
when = { stream = "sender.numbers", messages = 50 }
link = "radio"
set = { delay = "30ms" }
[[events]]
when = { stream = "sender.numbers", messages = 50 }
module = "shell"
action = "restart"
[[events]]
when = { module = "shell", state = "stopped" }
host = "phone"
set = { cpu = 0.25 }
[[events]]
when = { link = "fibre:edge>cloud", packets = 20 }
host = "cloud"
set = { cpu = 0.25 }
"""


@pytest.fixture(scope="module")
def trio(require):
    """Three machines for all tests here."""
    require("netns", os.geteuid() == 0 and shutil.which("ip"), "not root")
    require("ssh", SSHD, "no sshd (.ci/debian tests)")
    with machines(3) as world:
        (world.folder / "sender.py").write_text(SENDER)
        (world.folder / "receiver.py").write_text(RECEIVER)
        yield world


@pytest.fixture
def world(trio):
    """The three, with no mesh before and nothing left after the test."""
    yield trio
    for machine in trio.all:
        machine.heal()
    trio("destroy", "--all", "--yes", "--no-fetch")
    assert trio.leftovers() == []


def delays(world) -> dict:
    links = world.json("status")["links"]
    return {(x["name"], x["from"]): x["applied"].get("delay_s") for x in links}


def cpus(world) -> dict:
    return {h["name"]: h["in_force"]["cpu"] for h in world.json("status")["hosts"]}


def modules(world) -> dict:
    return {m["name"]: m for m in world.json("status")["modules"]}


def test_what_one_machine_sees_changes_what_others_have(world):
    """A stream's receiver on m3; links made scarce on m1 and m2; a module on m2, hosts on all."""
    world("apply", world.topology(THREE + CONDITIONS))
    late = {("radio", "phone"): 0.03, ("radio", "edge"): 0.03}
    wait_for(lambda: late.items() <= delays(world).items(), "both machines heard of it")
    asked = "restart was asked for by the timeline"
    wait_for(lambda: asked in world("events").stdout, "m2's module starts anew")
    wait_for(lambda: cpus(world)["cloud"] == 0.25, "its packets were counted on another machine")
    assert cpus(world)["phone"] == 0.5
    shown = world.json("timeline", "show")["conditions"]
    assert sorted(one["fired"] for one in shown) == [0, 1, 1, 1]  # each is looked at once
    # Over the agents' lives, and with nobody else there.
    world["m1"].kill_agent()
    world["m1"].start_agent()
    assert delays(world)["radio", "phone"] == 0.03
    world("stop", "shell")
    wait_for(lambda: cpus(world)["phone"] == 0.25, "m1 heard of m2's module")
    # Another run: nothing has become so yet, whoever remembers what.
    world("timeline", "reset")
    wait_for(lambda: delays(world)["radio", "phone"] == 0.005, "as at first")
    assert cpus(world)["phone"] == 0.5
    assert {one["fired"] for one in world.json("timeline", "show")["conditions"]} == {0}


def test_word_that_could_not_get_through_comes_later(world):
    """The network between machines is cut while it becomes so: it happens when it is whole."""
    event = CONDITIONS.split("[[events]]")[3]
    world("apply", world.topology(f"{THREE}[[events]]{event}"))
    world["m1"].cut()
    world["m2"].ask("POST", "/v1/meshes/spread/modules/shell/stop")
    wait_for(
        lambda: world["m2"].ask("GET", "/v1/meshes/spread/timeline")["conditions"][0]["fired"],
        "m2 sees it",
    )
    budgets = world["m1"].ask("GET", "/v1/meshes/spread/budgets")
    assert {b["name"]: b["in_force"]["cpu"] for b in budgets}["phone"] == 0.5
    world["m1"].heal()
    wait_for(lambda: cpus(world)["phone"] == 0.25, "m1 heard of it after all")


def test_what_no_machine_alone_can_tell_is_refused_by_name(world):
    for when, why in (
        ('link = "radio", packets = 5', 'say "radio:phone>edge" or "radio:edge>phone"'),
        ('stream = "sender.numbers", lost = 5', "its ends are on two machines"),
    ):
        event = f'[[events]]\nwhen = {{ {when} }}\nhost = "cloud"\nset = {{ cpu = 0.25 }}\n'
        for verb in ("plan", "apply"):
            refused = world(verb, world.topology(THREE + event), code=None)
            assert refused.returncode != 0
            assert why in refused.stderr


MOBILE = """
name = "mobile"
[defaults.module]
runtime = "process"
[hosts.phone]
machine = "m3"
[hosts.mast-1]
machine = "m1"
[hosts.mast-2]
machine = "m2"
[hosts.tablet]
machine = "m2"
[hosts.core]
machine = "m1"
[[links]]
between = ["mast-*", "core"]
[cells.near]
host = "mast-1"
members = ["phone"]
uplink = "20mbit"
downlink = "20mbit"
delay = "5ms"
[cells.far]
host = "mast-2"
members = ["tablet"]
uplink = "20mbit"
downlink = "20mbit"
delay = "200ms"
[[events]]
at = "200ms"
host = "phone"
attach = { cell = "far", gap = "40ms" }
[modules.caller]
host = "phone"
command = ["sleep", "1000"]
[modules.called]
host = "core"
command = ["sleep", "1000"]
"""


def least_ms(world, module: str, target: str) -> float:
    said = world("exec", module, "--", "ping", "-c3", "-i0.2", "-W10", target).stdout
    return float(said.rsplit("= ", 1)[1].split("/")[0])


def present(world) -> dict[str, list[str]]:
    return {cell["name"]: cell["present"] for cell in world.json("status")["cells"]}


def test_a_host_hands_over_between_cells_of_two_other_machines(world):
    world("apply", world.topology(MOBILE))
    wait_for(lambda: present(world) == {"near": [], "far": ["tablet", "phone"]}, "no handover")
    assert least_ms(world, "caller", "called") >= 400
    assert least_ms(world, "called", "caller") >= 400
    assert least_ms(world, "called", "tablet") >= 400
    for machine in world.all:
        machine.kill_agent()
        machine.start_agent()
    wait_for(lambda: world.json("status")["state"] == "ready", "they are back")
    assert least_ms(world, "called", "caller") >= 400
    again = world("apply", world.topology(MOBILE))
    assert "nothing to change" in again.stdout
    world("timeline", "reset")
    wait_for(lambda: present(world) == {"near": ["phone"], "far": ["tablet"]}, "not back")
    assert 10 <= least_ms(world, "called", "caller") < 400


RING = """
name = "ring"
[network]
routing = "shortest"
[defaults.module]
runtime = "process"
[hosts.a]
machine = "m1"
[hosts.b]
machine = "m1"
[hosts.c]
machine = "m2"
[hosts.d]
machine = "m3"
[[links]]
between = ["a", "b"]
[[links]]
between = ["b", "c"]
[[links]]
between = ["c", "d"]
delay = "2ms"
[[links]]
between = ["d", "a"]
delay = "2ms"
[modules.near]
host = "a"
command = ["sleep", "1000"]
[modules.far]
host = "c"
command = ["sleep", "1000"]
"""


def first_link(world, machine: str, host: str, target: str) -> str:
    """Over which a host sends to another."""
    address = {h["name"]: h["address"] for h in world.json("status")["hosts"]}[target]
    netns = f"otter-{world[machine].id}+ring+{host}"
    return (
        sh("ip", "netns", "exec", netns, "ip", "route", "get", address).split(" dev ")[1].split()[0]
    )


def reaches(world) -> bool:
    done = world("exec", "near", "--", "ping", "-c1", "-W20", "-q", "far", code=None)
    return done.returncode == 0


def test_routes_of_all_machines_lead_around_a_link_of_any(world):
    """b-c is made scarce on m1 and m2; a on m1 and d on m3 take another way, too."""
    world("apply", world.topology(RING))
    assert first_link(world, "m1", "a", "c") == "a-b"
    assert first_link(world, "m3", "d", "b") == "d-a"
    world("shape", "link", "b-c", "--down", "--direction", "c>b")
    wait_for(lambda: first_link(world, "m2", "c", "b") == "c-d", "c goes the other way")
    assert first_link(world, "m1", "a", "c") == "a-b"  # what goes there isn't touched
    world("shape", "link", "b-c", "--down")
    wait_for(lambda: first_link(world, "m1", "a", "c") == "d-a", "a goes the other way")
    wait_for(lambda: first_link(world, "m1", "b", "c") == "a-b", "b does")
    assert reaches(world)
    # A link of m1 alone: m2 and m3 have to hear of it.
    world("shape", "reset")
    wait_for(lambda: first_link(world, "m1", "a", "c") == "a-b", "all as at first")
    world("shape", "link", "a-b", "--down")
    wait_for(lambda: first_link(world, "m2", "c", "a") == "c-d", "m2 heard of it")
    wait_for(lambda: first_link(world, "m3", "d", "b") == "c-d", "m3 heard of it")
    assert reaches(world)
    # An agent that starts again asks what is down.
    world["m3"].kill_agent()
    world["m3"].start_agent()
    wait_for(lambda: world.json("status")["state"] == "ready", "it is back")
    wait_for(lambda: first_link(world, "m3", "d", "b") == "c-d", "m3 knows it again")
    assert reaches(world)


def test_agents_are_heard_by_nobody_else(world):
    """Their tunnels end in namespaces of their own: nothing listens on a machine's network."""
    world("apply", world.topology(THREE))
    for machine in world.all:
        inside = ["nsenter", f"--net=/run/netns/{machine.netns}"]
        sockets = subprocess.run(
            [*inside, "ss", "-Hluntp"], capture_output=True, text=True, check=True
        ).stdout
        ports = {line.split()[4].rpartition(":")[2] for line in sockets.splitlines()}
        assert ports <= {"22", "14789"}, sockets
    pid = modules(world)["shell"]["pid"]
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "ping", "-c1", "-W1", "192.0.0.7"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    spec = world["m2"].ask("GET", "/v1/meshes/spread")["spec"]
    talks = {other["machine"]: other.get("talk") for other in spec["away"]}
    assert talks["m1"]
    keys = [json.dumps(talk) for talk in talks.values() if talk]
    assert len(keys) == len(set(keys))


KEEPER = """
name = "keeper"
[hosts.edge]
machine = "m2"
[modules.keeper]
runtime = "process"
host = "edge"
command = ["sleep", "infinity"]
mounts = { "/keep" = { volume = "models" } }
"""


def test_what_machines_keep_is_listed_and_removed_from_here(world):
    """The computer that asks has no agent; one that gives no answer hides nothing of the others."""
    world("apply", world.topology(KEEPER))
    kept = world.json("volume", "ls", "--on", "m*")
    assert [(v["machine"], v["name"], v["used_by"]) for v in kept] == [
        ("m2", "models", ["keeper/keeper"])
    ]
    assert "is used by" in world("volume", "rm", "models", "--on", "m2", code=1).stderr
    world("destroy", "--yes", "--no-fetch")
    assert "m1: no volume models" in world("volume", "rm", "models", "--on", "m1", code=1).stderr

    env = {"_OTTERCTL_COMPLETE": "bash_complete", "COMP_CWORD": "5",
           "COMP_WORDS": "otterctl volume rm --on m2 mod"}  # fmt: skip
    wait_for(lambda: "models" in world(env=env).stdout, "it is completed")

    world["m3"].cut()
    shown = world("volume", "ls", "--on", "*", code=1)
    assert "MACHINE" in shown.stdout
    assert "m2" in shown.stdout
    assert "models" in shown.stdout
    assert "m3: can't be reached by SSH" in shown.stderr
    world["m3"].heal()
    wait_for(lambda: world("volume", "ls", "--on", "m3", code=None).returncode == 0, "m3 is back")
    said = world("volume", "rm", "models", "--on", "m*", "--json")
    assert {"machine": "m2", "removed": ["models"]} in json.loads(said.stdout)
    assert world.json("volume", "ls", "--on", "m*") == []
    assert world.json("cache", "ls", "--on", "m1") == []
    assert world.json("image", "ls", "--on", "m?") == []
    pruned = world.json("image", "prune", "--dry-run", "--on", "m*")
    assert {(p["machine"], p["dry_run"]) for p in pruned} == {
        ("m1", True), ("m2", True), ("m3", True),
    }  # fmt: skip
    unused = world.json("cache", "rm", "--unused", "--on", "m2")
    assert [(p["machine"], p["removed"]) for p in unused] == [("m2", [])]
    absent = world("cache", "rm", "wheels/x", "--on", "m2", code=1).stderr
    assert "m2: nothing is called wheels/x" in absent
    unknown = world("volume", "ls", "--on", "pi", code=2).stderr
    assert "no such machine; there are: local, m1, m2, m3" in unknown


STILL = """
name = "still"
[defaults.module]
runtime = "process"
[hosts.phone]
machine = "m1"
[hosts.edge]
machine = "m2"
[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "20ms"
[modules.near]
host = "phone"
command = ["sleep", "infinity"]
[modules.far]
host = "edge"
command = ["sleep", "infinity"]
"""


def kept(world):
    """What the agents remember of meshes, the run folder, their namespaces: all, byte for byte."""
    files = [path for m in world.all for path in m.root.glob("lib/state.sqlite*")]
    files += [path for path in (world.folder / "runs").rglob("*") if path.is_file()]
    found = {str(p): p.read_bytes() for p in files if not p.name.endswith("-shm")}
    return found, sorted(world.leftovers())


def test_a_plan_leaves_a_running_mesh_as_it_is(world):
    file = world.topology(STILL)
    world("apply", file)
    pids = {m["name"]: m["pid"] for m in world.json("status")["modules"]}
    before = kept(world)
    assert any(name.endswith("state.sqlite") for name in before[0])
    world("plan", file, "--detailed-exitcode", "--explain")
    changes = ("--set", "links.radio.delay=30ms", "--set", "hosts.phone.cpu=0.5")
    assert "2 to update" in world("plan", file, *changes, "--detailed-exitcode", code=2).stdout
    assert kept(world) == before
    assert {m["name"]: m["pid"] for m in world.json("status")["modules"]} == pids
