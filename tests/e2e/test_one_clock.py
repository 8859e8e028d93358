"""Machines whose clocks differ by seconds: times of messages, deadlines and epochs are of one."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys

import pytest
from helpers.machines import SSHD, machines
from helpers.otter import wait_for

pytestmark = pytest.mark.timed

AHEAD_S = {"m1": 0.0, "m2": 2.5, "m3": -1.5}
_CLOCK = """
import os, time
real = time.time
time.time = lambda: real() + float(os.environ["AHEAD_S"])  # of the machine, before OTTER's is read
import asyncio, json, net
"""
SENDER = (
    _CLOCK
    + """
async def main(mesh):
    number = 0
    while True:
        number += 1
        await mesh.output("numbers").send(number)
        await asyncio.sleep(0.05)

net.run(main)
"""
)
RECEIVER = (
    _CLOCK
    + """
async def main(mesh):
    async for message in mesh.input("numbers"):
        (told,) = mesh.stats()["inputs"]
        print(json.dumps({
            "id": message.id, "took_s": message.received - message.sent, "made": message.made,
            "real": real(), "error_s": told["clock_error_s"], "expired": told["expired"],
        }), flush=True)

net.run(main)
"""
)
TOPOLOGY = f"""
name = "clocks"
[defaults.module]
runtime = "process"
[hosts.phone]
machine = "m3"
[hosts.edge]
machine = "m2"
[hosts.core]
machine = "m1"
[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "20ms"
[[links]]
between = ["edge", "core"]
[modules.sender]
host = "phone"
command = ["{sys.executable}", "sender.py"]
files = {{ "sender.py" = "sender.py" }}
env = {{ AHEAD_S = "{AHEAD_S["m3"]}" }}
ready = {{ sdk = true }}
[modules.receiver]
host = "edge"
command = ["{sys.executable}", "receiver.py"]
files = {{ "receiver.py" = "receiver.py" }}
env = {{ AHEAD_S = "{AHEAD_S["m2"]}" }}
ready = {{ sdk = true }}
[[streams]]
from = "sender.numbers"
to = "receiver.numbers"
transport = "TRANSPORT"
deadline = "2s"
"""


@pytest.fixture(scope="module")
def trio(require):
    """Three machines, each with a clock of its own."""
    require("netns", os.geteuid() == 0 and shutil.which("ip"), "not root")
    require("ssh", SSHD, "no sshd (.ci/debian tests)")
    with machines(3, ahead_s=tuple(AHEAD_S.values())) as world:
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


def taken(world) -> list[dict]:
    lines = world("logs", "receiver", "--tail", "200").stdout.splitlines()
    return [json.loads(line.partition("{")[1] + line.partition("{")[2]) for line in lines]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_message_between_machines_has_times_of_one_clock(world, transport):
    """4 s apart: each would be long past its deadline, or come before it was sent."""
    text = TOPOLOGY.replace("TRANSPORT", transport)
    if transport == "udp":  # links, and what agents say to each other, go over UDP as well
        text = text.replace("[[links]]", '[[links]]\ntunnel = "udp"')
    world("apply", world.topology(text))
    wait_for(lambda: len(taken(world)) > 20, "numbers come")
    talks = world["m1"].ask("GET", "/v1/meshes/clocks")["spec"]["away"]
    kinds = {other["machine"]: other["talk"].get("kind", "vxlan") for other in talks}
    assert kinds == {"m2": "udp" if transport == "udp" else "vxlan", "m3": "vxlan"}
    last = taken(world)[-1]
    assert last["expired"] == 0
    assert 0 < last["error_s"] < 0.5  # on one computer; bounded by what a busy one takes to answer
    assert 0.02 - last["error_s"] <= last["took_s"] < 1.5
    # The mesh's clock is that of its first machine, which is this computer's own.
    assert abs(last["made"] - last["real"]) < 1.5 + last["error_s"]
    traced = world.json("trace", last["id"])
    (hop,) = traced["messages"]
    assert hop["outcome"] == "done"
    assert 0 < hop["clock_error_s"] < 0.5
    assert hop["parts"]["link"] == pytest.approx(last["took_s"], abs=1e-5)
    offsets = {m["name"]: m["clock_offset_s"] for m in world.json("status")["machines"]}
    for name, ahead_s in AHEAD_S.items():
        assert offsets[name] == pytest.approx(ahead_s, abs=0.5)


def test_agents_compare_clocks_without_the_controller_and_say_when_they_cant(world):
    """The file that modules read is kept fresh; a machine that is cut off grows unsure."""
    world("apply", world.topology(TOPOLOGY.replace("TRANSPORT", "tcp")))
    file = world["m2"].root / "lib" / "meshes" / "clocks" / "receiver" / "wiring" / "clock.json"

    def known() -> dict:
        return json.loads(file.read_text())

    def error_s() -> float:
        """None stands for a clock that nobody has compared yet."""
        error = known()["error_s"]
        return math.inf if error is None else error

    wait_for(lambda: error_s() < math.inf, "it is compared")
    assert known()["offset_s"] == pytest.approx(-2.5, abs=0.5)
    before = known()["at_s"]
    wait_for(lambda: known()["at_s"] > before, "it is written anew")
    world["m2"].kill_agent()
    world["m2"].start_agent()
    before = known()["at_s"]
    wait_for(
        lambda: known()["at_s"] > before and error_s() < math.inf, "another life goes on with it"
    )
    assert known()["offset_s"] == pytest.approx(-2.5, abs=0.5)
    world["m2"].cut()
    before = error_s()
    wait_for(lambda: error_s() > before + 2e-4, "nobody answers, so it grows")
    most = error_s()  # it only grows until then
    world["m2"].heal()
    wait_for(lambda: error_s() < most, "it is compared again")


def test_a_mesh_that_shrinks_to_one_machine_goes_by_that_ones_clock(world):
    file = TOPOLOGY.replace("TRANSPORT", "tcp")
    world("apply", world.topology(file))
    alone = file.replace('machine = "m3"', 'machine = "m2"').replace('"m1"', '"m2"')
    world("apply", world.topology(alone))
    written = world["m2"].root / "lib" / "meshes" / "clocks" / "receiver" / "wiring" / "clock.json"
    wait_for(
        lambda: not written.exists() or json.loads(written.read_text())["offset_s"] == 0.0,
        "it is by its own clock",
    )
